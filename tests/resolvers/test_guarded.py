"""Where a stranger's URL may lead us, and where it may not."""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from resolvers import guarded
from resolvers.guarded import (
    GuardedHttp,
    Policy,
    TargetFailed,
    TargetRefused,
    is_global,
    networks,
    vetted,
)

LOOPBACK = Policy(private=networks(["127.0.0.0/8"]))

REFUSED = {
    "loopback by number": "http://127.0.0.1/",
    "loopback by name": "http://localhost/",
    "loopback as one number": "http://2130706433/",
    "loopback in octal": "http://0177.0.0.1/",
    "loopback in hexadecimal": "http://0x7f.0.0.1/",
    "loopback, shortened": "http://127.1/",
    "loopback, percent-encoded": "http://%31%32%37.0.0.1/",
    "loopback in wide digits": "http://１２７.0.0.1/",
    "loopback with a dot at the end": "http://127.0.0.1./",
    "this network": "http://0.0.0.0/",
    "this network as a number": "http://0/",
    "private, class A": "http://10.0.0.1/",
    "private, class B": "http://172.16.0.1/",
    "private, class C": "http://192.168.1.1/",
    "behind a carrier's NAT": "http://100.64.0.1/",
    "link-local: a cloud's secrets": "http://169.254.169.254/latest/meta-data/",
    "documentation 1": "http://192.0.2.1/",
    "documentation 2": "http://198.51.100.1/",
    "documentation 3": "http://203.0.113.1/",
    "benchmarks": "http://198.18.0.1/",
    "multicast": "http://224.0.0.1/",
    "broadcast": "http://255.255.255.255/",
    "IPv6 loopback": "http://[::1]/",
    "IPv6 unspecified": "http://[::]/",
    "IPv4 mapped": "http://[::ffff:127.0.0.1]/",
    "IPv4 mapped in hexadecimal": "http://[::ffff:7f00:1]/",
    "IPv4 compatible": "http://[::127.0.0.1]/",
    "NAT64": "http://[64:ff9b::7f00:1]/",
    "6to4": "http://[2002:7f00:1::]/",
    "Teredo": "http://[2001:0:7f00:1::1]/",
    "IPv6 link-local": "http://[fe80::1]/",
    "IPv6 link-local with a zone": "http://[fe80::1%25lo]/",
    "site-local": "http://[fec0::1]/",
    "unique local": "http://[fd00::1]/",
    "IPv6 multicast": "http://[ff02::1]/",
    "IPv6 documentation": "http://[2001:db8::1]/",
    "IPv6 documentation, new": "http://[3fff::1]/",
    "SRv6": "http://[5f00::1]/",
    "a file": "file:///etc/passwd",
    "gopher": "gopher://example.com/",
    "no scheme": "//example.com/",
    "no host": "http:///path",
    "a user": "http://example.com@127.0.0.1/",
    "a password": "http://a:b@example.com/",
    "blanks": "http://exa mple.com/",
    "a line feed": "http://example.com\n.evil.example/",
    "an encoded slash": "http://example.com%2f.evil.example/",
    "an encoded NUL": "http://localhost%00.example.com/",
    "much text": "http://example.com/" + "a" * 5000,
    "nothing": "",
}


@pytest.mark.parametrize("url", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("scheme", ["http", "ws"])
async def test_nobody_leads_us_into_a_private_network(url: str, scheme: str) -> None:
    async with GuardedHttp() as http:
        with pytest.raises(TargetRefused):
            await _go(http, scheme, url)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://mediator.example:8443/a/b?c=d",
        "wss://xn--bcher-kva.example/ws",
        "http://9.9.9.9:8080/",
        "http://[2620:fe::fe]/",
        "http://example.com./",
        "https://1password.example/",
    ],
)
def test_the_open_internet_is_let_through(url: str) -> None:
    assert str(vetted(url)).startswith(url.partition("?")[0])


@pytest.mark.parametrize("url", ["http://0177.0.0.1/", "http://2130706433/", "http://127.1/"])
def test_a_strange_spelling_is_refused_even_of_an_address_that_is_allowed(url: str) -> None:
    with pytest.raises(TargetRefused):
        vetted(url, LOOPBACK)


def test_a_network_that_is_allowed_allows_no_other() -> None:
    vetted("http://127.0.0.1/", LOOPBACK)
    for url in ("http://169.254.169.254/", "http://[::1]/", "http://[::ffff:127.0.0.1]/"):
        with pytest.raises(TargetRefused):
            vetted(url, LOOPBACK)


def test_everything_that_python_calls_special_is_special_here() -> None:
    for text in ("240.0.0.1", "192.0.0.8", "2001:10::1", "100::1", "fc00::1", "::ffff:1.1.1.1"):
        assert not is_global(ipaddress.ip_address(text))
    assert is_global(ipaddress.ip_address("1.1.1.1"))
    assert is_global(ipaddress.ip_address("2606:4700::1111"))


async def test_one_private_address_among_those_of_a_name_is_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _names(monkeypatch, {"rebind.example": ["9.9.9.9", "10.0.0.1"]})
    async with GuardedHttp() as http:
        with pytest.raises(TargetRefused):
            await http.get("http://rebind.example/")


async def test_a_name_that_changes_its_mind_is_asked_once(
    monkeypatch: pytest.MonkeyPatch, server: Callable[..., Awaitable[int]]
) -> None:
    """What was judged is what is connected to: the second answer of the name is never heard."""
    port = await server(lambda _: web.Response(text="hello"))
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])
    asked = _names(monkeypatch, {"rebind.example": lambda: next(answers)})
    async with GuardedHttp(LOOPBACK) as http:
        assert (await http.get(f"http://rebind.example:{port}/")).body == b"hello"
    assert asked == ["rebind.example"]


async def test_where_the_socket_is_made_the_address_is_judged_again(
    monkeypatch: pytest.MonkeyPatch, server: Callable[..., Awaitable[int]]
) -> None:
    """Even if everything before it were deceived."""
    port = await server(lambda _: web.Response(text="secret"))
    monkeypatch.setattr(guarded, "literal_of", lambda _: None)
    async with GuardedHttp() as http:
        with pytest.raises(TargetRefused):
            await http.get(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("scheme", ["http", "ws"])
async def test_redirects_are_not_followed(
    scheme: str, server: Callable[..., Awaitable[int]]
) -> None:
    asked = []

    def answer(request: web.BaseRequest) -> web.Response:
        asked.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    port = await server(answer)
    async with GuardedHttp(LOOPBACK) as http:
        with pytest.raises(TargetFailed, match="redirect"):
            await _go(http, scheme, f"http://127.0.0.1:{port}/")
    assert asked == ["/"]


async def test_an_answer_has_an_end(server: Callable[..., Awaitable[int]]) -> None:
    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b"x" * 65536)
        return response

    port = await server(endless)
    async with GuardedHttp(LOOPBACK) as http:
        with pytest.raises(TargetFailed, match="more than 1000 bytes"):
            await http.get(f"http://127.0.0.1:{port}/", max_bytes=1000)


async def test_an_answer_of_exactly_the_limit_is_read(
    server: Callable[..., Awaitable[int]],
) -> None:
    port = await server(lambda _: web.Response(body=b"x" * 1000))
    async with GuardedHttp(LOOPBACK) as http:
        assert len((await http.get(f"http://127.0.0.1:{port}/", max_bytes=1000)).body) == 1000
        with pytest.raises(TargetFailed):
            await http.get(f"http://127.0.0.1:{port}/", max_bytes=999)


async def test_a_compressed_answer_is_refused(server: Callable[..., Awaitable[int]]) -> None:
    import zlib

    bomb = zlib.compress(b" " * 1_000_000)
    port = await server(lambda _: web.Response(body=bomb, headers={"Content-Encoding": "deflate"}))
    async with GuardedHttp(LOOPBACK) as http:
        with pytest.raises(TargetFailed, match="compressed"):
            await http.get(f"http://127.0.0.1:{port}/")


async def test_who_does_not_answer_is_given_up(server: Callable[..., Awaitable[int]]) -> None:
    async def hang(_: web.BaseRequest) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    port = await server(hang)
    async with GuardedHttp(LOOPBACK, timeout=0.1) as http:
        with pytest.raises(TargetFailed):
            await http.get(f"http://127.0.0.1:{port}/")
        with pytest.raises(TargetFailed):
            await http.send_frame(f"ws://127.0.0.1:{port}/", "x")


async def test_a_proxy_of_the_environment_is_not_used(
    monkeypatch: pytest.MonkeyPatch, server: Callable[..., Awaitable[int]]
) -> None:
    seen = []

    def proxy(request: web.BaseRequest) -> web.Response:
        seen.append(request.path)
        return web.Response()

    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{await server(proxy)}")
    port = await server(lambda _: web.Response(text="direct"))
    async with GuardedHttp(LOOPBACK) as http:
        assert (await http.get(f"http://127.0.0.1:{port}/")).body == b"direct"
    assert seen == []


async def test_our_own_door_is_not_knocked_at(server: Callable[..., Awaitable[int]]) -> None:
    port = await server(lambda _: web.Response())
    own = Policy(LOOPBACK.private, lambda address, at: (str(address), at) == ("127.0.0.1", port))
    async with GuardedHttp(own) as http:
        for host in ("127.0.0.1", "localhost"):
            with pytest.raises(TargetRefused):
                await http.get(f"http://{host}:{port}/")


async def test_a_frame_arrives_before_the_socket_closes(
    server: Callable[..., Awaitable[int]],
) -> None:
    frames: list[str] = []

    async def door(request: web.BaseRequest) -> web.StreamResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        async for frame in websocket:
            await asyncio.sleep(0.05)
            frames.append(frame.data)
        return websocket

    port = await server(door)
    async with GuardedHttp(LOOPBACK) as http:
        await http.send_frame(f"ws://127.0.0.1:{port}/", "letter")
        assert frames == ["letter"]


async def test_a_socket_that_dies_with_a_frame_in_it_is_a_failure(
    server: Callable[..., Awaitable[int]],
) -> None:
    async def door(request: web.BaseRequest) -> web.StreamResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        assert request.transport is not None
        request.transport.abort()
        return websocket

    port = await server(door)
    async with GuardedHttp(LOOPBACK) as http:
        with pytest.raises(TargetFailed):
            await http.send_frame(f"ws://127.0.0.1:{port}/", "letter")


@pytest.fixture
async def server() -> AsyncIterator[Callable[..., Awaitable[int]]]:
    """Starts a server on loopback that answers with what it is given; its port."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(answer: Callable[[web.BaseRequest], object]) -> int:
            async def handle(request: web.BaseRequest) -> web.StreamResponse:
                response = answer(request)
                return await response if asyncio.iscoroutine(response) else response

            runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            listener = socket.create_server(("127.0.0.1", 0))
            await web.SockSite(runner, listener).start()
            return int(listener.getsockname()[1])

        yield start


async def _go(http: GuardedHttp, scheme: str, url: str) -> None:
    if scheme == "http":
        await http.post(url, b"{}")
    else:
        await http.send_frame(url.replace("http:", "ws:", 1), "{}")


def _names(monkeypatch: pytest.MonkeyPatch, names: dict[str, object]) -> list[str]:
    """Let these names have these addresses; the list of names that were asked for."""
    asked: list[str] = []

    async def getaddrinfo(
        host: str, port: int, **_: object
    ) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        asked.append(host)
        found = names[host]
        addresses = found() if callable(found) else found
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return asked
