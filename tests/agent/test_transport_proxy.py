"""Mail goes through the proxy that the environment names, and past it to this machine itself."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from agent.mail.transport import EndpointRefused, Transport, proxy_for

PROXY = "http://127.0.0.1:3128"


@pytest.mark.parametrize(
    ("environment", "uri", "proxy"),
    [
        ({}, "http://mediator.example/", None),
        ({"http_proxy": PROXY}, "http://mediator.example/", PROXY),
        ({"http_proxy": PROXY}, "ws://mediator.example/", PROXY),
        ({"http_proxy": PROXY}, "https://mediator.example/", None),
        ({"https_proxy": PROXY}, "https://mediator.example/", PROXY),
        ({"https_proxy": PROXY}, "wss://mediator.example/", PROXY),
        ({"HTTPS_PROXY": "proxy.example:3128"}, "https://a.example/", "http://proxy.example:3128"),
        ({"http_proxy": PROXY, "no_proxy": "example"}, "http://mediator.example/", None),
        ({"http_proxy": PROXY}, "http://localhost:8080/", None),
        ({"http_proxy": PROXY}, "http://127.0.0.1:8080/", None),
        ({"http_proxy": PROXY}, "http://[::1]:8080/", None),
    ],
)
def test_the_environment_says_which_proxy_leads_where(
    environment: dict[str, str], uri: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _only(environment, monkeypatch)
    assert proxy_for(uri) == proxy


@pytest.fixture
async def asked(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[bytes]]:
    """The first lines of what a proxy was asked; it refuses everything."""
    lines = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append((await reader.readuntil(b"\r\n\r\n")).splitlines()[0])
        writer.write(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        _only({"http_proxy": url, "https_proxy": url}, monkeypatch)
        yield lines


async def test_an_envelope_goes_through_the_proxy(asked: list[bytes]) -> None:
    async with Transport() as transport:
        with pytest.raises(EndpointRefused, match="503"):
            await transport.post("http://mediator.invalid/didcomm", b"{}")
    assert asked == [b"POST http://mediator.invalid/didcomm HTTP/1.1"]


async def test_an_encrypted_connection_is_only_passed_on_by_the_proxy(asked: list[bytes]) -> None:
    async with Transport() as transport:
        with pytest.raises(Exception, match="cannot reach mediator"):
            await transport.post("https://mediator.invalid/didcomm", b"{}")
    assert asked == [b"CONNECT mediator.invalid:443 HTTP/1.1"]


def _only(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
