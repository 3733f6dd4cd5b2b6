import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediator.entrance.stun_answer import Asked
from mediator.entrance.stun_answer import answer as answer_of
from mediator.entrance.stun_server import CHANGED_BURST, StunServer
from traversal import stun
from traversal.candidate import Address
from traversal.stun import CHANGE_ADDRESS, CHANGE_PORT, Class, Message

ID = bytes(range(12))
SOURCE = Address("203.0.113.7", 40000)
LOOPBACK = "127.0.0.1"


@pytest.mark.parametrize("source", [SOURCE, Address("2001:db8::7", 40000)])
def test_a_binding_request_is_answered_with_its_source(source: Address) -> None:
    reply = answer(request(), source)
    assert reply is not None
    parsed = stun.parse(reply)
    assert (parsed.cls, parsed.transaction) == (Class.SUCCESS, ID)
    assert dict(parsed.attributes) == {"XOR-MAPPED-ADDRESS": source}


def test_an_answer_holds_the_address_and_nothing_else() -> None:
    assert len(answer(request(), SOURCE) or b"") == 20 + 12
    assert len(answer(request(fingerprint=True), SOURCE) or b"") == 20 + 12 + 8


def test_who_sends_a_fingerprint_gets_one() -> None:
    assert "FINGERPRINT" in stun.parse(answer(request(fingerprint=True), SOURCE) or b"").attributes


def test_an_unknown_required_attribute_is_refused_by_number() -> None:
    data = bytes.fromhex("000100082112a442") + ID + bytes.fromhex("0004000400000000")
    parsed = stun.parse(answer(data, SOURCE) or b"")
    assert parsed.cls is Class.ERROR
    assert parsed.attributes["ERROR-CODE"][0] == 420
    assert parsed.attributes["UNKNOWN-ATTRIBUTES"] == (4,)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        bytes(1400),
        b"\x01\x00\x00\x00" + bytes(144),
        stun.serialize(Message(Class.INDICATION, ID)),
        stun.serialize(Message(Class.SUCCESS, ID, {"XOR-MAPPED-ADDRESS": SOURCE})),
        stun.serialize(Message(Class.ERROR, ID, {"ERROR-CODE": (400, "")})),
        stun.serialize(Message(Class.REQUEST, ID, method=3)),
        stun.serialize(Message(Class.REQUEST, ID))[:-1] + b"\0",
    ],
    ids=[
        "empty",
        "text",
        "zeros",
        "wireguard",
        "indication",
        "answer",
        "error",
        "other method",
        "wrong fingerprint",
    ],
)
def test_anything_but_a_binding_request_is_not_answered(data: bytes) -> None:
    assert answer(data, SOURCE) is None


@given(st.binary(max_size=1300))
def test_no_bytes_crash_the_server_or_are_answered_at_length(data: bytes) -> None:
    reply = answer(data, SOURCE)
    assert reply is None or len(reply) <= len(data) + 12


@given(st.lists(st.integers(0, 0x7FFF), min_size=1, max_size=100))
def test_a_refusal_is_hardly_longer_than_its_request(numbers: list[int]) -> None:
    body = b"".join(number.to_bytes(2, "big") + bytes(2) for number in numbers)
    data = b"\x00\x01" + len(body).to_bytes(2, "big") + stun.COOKIE + ID + body
    reply = answer(data, SOURCE)
    assert reply is None or len(reply) <= len(data) + 12


async def test_both_ports_answer_until_the_server_is_closed() -> None:
    server = StunServer()
    await server.start([LOOPBACK], [0, 0])
    ports = server.ports
    assert len(set(ports)) == 2
    for port in ports:
        assert (await ask(port)).attributes["XOR-MAPPED-ADDRESS"].host == LOOPBACK
    server.close()
    server.close()
    assert server.ports == ()
    await asyncio.sleep(0)
    for port in ports:
        with pytest.raises(OSError):
            await ask(port)


@pytest.mark.parametrize("listening", ["0.0.0.0", "::"])
@pytest.mark.parametrize("asked", ["127.0.0.1", "127.0.0.2", "127.9.8.7"])
async def test_an_answer_leaves_from_the_address_that_was_asked(listening: str, asked: str) -> None:
    async with serving(listening) as port:
        data, source = await exchange(asked, port)
    assert source == asked
    assert stun.parse(data).attributes["XOR-MAPPED-ADDRESS"].host == "127.0.0.1"


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
@pytest.mark.parametrize("listening", ["::", "::1"])
async def test_it_answers_over_ipv6_with_the_source_there(listening: str) -> None:
    async with serving(listening) as port:
        data, source = await exchange("::1", port)
    assert source == "::1"
    assert stun.parse(data).attributes["XOR-MAPPED-ADDRESS"].host == "::1"


async def test_a_flood_is_answered_to_the_end() -> None:
    async with serving(LOOPBACK) as port:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect((LOOPBACK, port))
            for _ in range(100):
                sock.send(request())
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(5):
                for _ in range(100):
                    stun.parse(await loop.sock_recv(sock, 1500))


async def test_a_taken_port_is_an_error_and_leaves_nothing_open() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((LOOPBACK, 0))
        server = StunServer()
        with pytest.raises(OSError):
            await server.start([LOOPBACK], [0, taken.getsockname()[1]])
        assert server.ports == ()
        await asyncio.sleep(0)


# -- from elsewhere (RFC 5780)

ROOMY = "didmesh" + " " * 89
HERE = Asked(Address("198.51.100.1", 3478), 3479, "192.0.2.1")
ALONE = Asked(Address("198.51.100.1", 3478), 3479)
ORIGINS = {
    CHANGE_PORT: Address("198.51.100.1", 3479),
    CHANGE_ADDRESS: Address("192.0.2.1", 3478),
    CHANGE_ADDRESS | CHANGE_PORT: Address("192.0.2.1", 3479),
}


@pytest.mark.parametrize("change", ORIGINS)
def test_whoever_asks_is_answered_from_elsewhere_and_told_from_where(change: int) -> None:
    reply = answer_of(changing(change), SOURCE, HERE)
    assert reply is not None
    assert reply.change == change
    attributes = stun.parse(reply.data).attributes
    assert attributes["RESPONSE-ORIGIN"] == ORIGINS[change]
    assert attributes["XOR-MAPPED-ADDRESS"] == SOURCE


def test_an_answer_with_room_names_the_other_address_and_port() -> None:
    reply = answer_of(changing(0), SOURCE, HERE)
    assert reply is not None
    assert reply.change == 0
    assert stun.parse(reply.data).attributes["OTHER-ADDRESS"] == Address("192.0.2.1", 3479)
    alone = answer_of(changing(0), SOURCE, ALONE)
    assert alone is not None
    assert "OTHER-ADDRESS" not in stun.parse(alone.data).attributes


REFUSED = {
    "no second address": (CHANGE_ADDRESS, ALONE, ROOMY),
    "neither address nor port": (CHANGE_PORT, Asked(Address("198.51.100.1", 3478)), ROOMY),
    "an answer larger than the request": (CHANGE_PORT, HERE, ""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nothing_else_is_answered_from_elsewhere(name: str) -> None:
    change, asked, room = REFUSED[name]
    reply = answer_of(changing(change, room), SOURCE, asked)
    assert reply is not None
    assert reply.change == 0
    parsed = stun.parse(reply.data)
    assert parsed.attributes["ERROR-CODE"][0] == 420
    assert parsed.attributes["UNKNOWN-ATTRIBUTES"] == (3,)


@given(st.integers(0, 0xFFFF_FFFF), st.text("x", max_size=200), st.booleans())
def test_no_answer_from_elsewhere_is_larger_than_its_request(
    change: int, room: str, fingerprint: bool
) -> None:
    attributes = {"CHANGE-REQUEST": change, **({"SOFTWARE": room} if room else {})}
    data = stun.serialize(Message(Class.REQUEST, ID, attributes), fingerprint=fingerprint)
    reply = answer_of(data, Address("2001:db8::7", 40000), HERE)
    assert reply is not None
    assert reply.change == 0 or len(reply.data) <= len(data)


async def test_answers_come_from_the_four_sockets_and_go_to_the_source_alone() -> None:
    server = StunServer()
    await server.start(["127.0.0.1", "127.0.0.2"], [0, 0])
    first, second = server.ports
    from_where = {0: ("127.0.0.1", first)} | {
        CHANGE_PORT: ("127.0.0.1", second),
        CHANGE_ADDRESS: ("127.0.0.2", first),
        CHANGE_ADDRESS | CHANGE_PORT: ("127.0.0.2", second),
    }
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.bind((LOOPBACK, 0))
            for change, source in from_where.items():
                assert await exchanged(sock, changing(change), (LOOPBACK, first)) == source
    finally:
        server.close()


async def test_one_port_of_a_wildcard_answers_for_the_other() -> None:
    server = StunServer()
    await server.start(["0.0.0.0"], [0, 0])
    first, second = server.ports
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.bind((LOOPBACK, 0))
            source = await exchanged(sock, changing(CHANGE_PORT), ("127.0.0.9", first))
    finally:
        server.close()
    assert source == ("127.0.0.9", second)


async def test_one_host_gets_so_many_answers_from_elsewhere_and_then_an_error() -> None:
    server = StunServer()
    await server.start([LOOPBACK], [0, 0])
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.bind((LOOPBACK, 0))
            sources = [
                await exchanged(sock, changing(CHANGE_PORT), (LOOPBACK, server.ports[0]))
                for _ in range(CHANGED_BURST * 2)
            ]
    finally:
        server.close()
    assert len(set(sources)) == 2  # the last ones come from where they were asked: errors


def changing(change: int, room: str = ROOMY) -> bytes:
    attributes = {"CHANGE-REQUEST": change, **({"SOFTWARE": room} if room else {})}
    return stun.serialize(Message(Class.REQUEST, ID, attributes))


async def exchanged(sock: socket.socket, data: bytes, to: tuple[str, int]) -> tuple[str, int]:
    loop = asyncio.get_running_loop()
    await loop.sock_sendto(sock, data, to)
    _, source = await asyncio.wait_for(loop.sock_recvfrom(sock, 1500), 2.0)
    return source[0], source[1]


def answer(data: bytes, source: Address) -> bytes | None:
    """The bytes alone, of a server that has no other address or port."""
    reply = answer_of(data, source)
    return None if reply is None else reply.data


@asynccontextmanager
async def serving(host: str) -> AsyncIterator[int]:
    server = StunServer()
    await server.start([host], [0])
    try:
        yield server.ports[0]
    finally:
        server.close()


async def exchange(host: str, port: int) -> tuple[bytes, str]:
    """The answer and where it came from, which may be anywhere: the socket is not connected."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind(("::1" if ":" in host else LOOPBACK, 0))
        loop = asyncio.get_running_loop()
        await loop.sock_sendto(sock, request(), (host, port))
        data, source = await asyncio.wait_for(loop.sock_recvfrom(sock, 1500), 2.0)
        return data, source[0]


def request(*, fingerprint: bool = False) -> bytes:
    return stun.serialize(Message(Class.REQUEST, ID), fingerprint=fingerprint)


async def ask(port: int) -> Message:
    """A closed port is an OSError, by the kernel's own refusal."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((LOOPBACK, port))
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, request())
        return stun.parse(await asyncio.wait_for(loop.sock_recv(sock, 1500), 2.0))
