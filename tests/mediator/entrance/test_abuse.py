"""Attacks on a mediator, each as it would be made; docs/threat-model.md has the table.

These tests see loopback as the open internet: somewhere else stands a proxy that they are not.
"""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import aiohttp
import pytest

from mediator.app import Mediator, running
from mediator.entrance import connections, web
from mediator.guard.limits import RATE_LIMIT, TOO_MANY_SOCKETS
from mediator.settings.config import Config, Limits
from messaging.message import Message
from messaging.protocols.message_pickup import LiveDeliveryChange
from messaging.protocols.report_problem import ProblemReport
from messaging.protocols.trust_ping import Ping, PingResponse
from tests.support.mediator_client import Party, Reply

ELSEWHERE = ip_network("10.0.0.0/8")
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
LETTER = {"protected": "x"}


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest.fixture
def proxies() -> tuple[str, ...]:
    return ()


@pytest.fixture
async def mediator(
    tmp_path: Path, limits: Limits, proxies: tuple[str, ...]
) -> AsyncIterator[Mediator]:
    config = Config(
        tmp_path / "mediator.db",
        "127.0.0.1",
        0,
        stun_ports=(0,),
        limits=limits,
        trusted_proxies=(ELSEWHERE, *map(ip_network, proxies)),
    )
    async with running(config) as mediator:
        yield mediator


# Rates


class TestRatesOfAnAddress:
    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(address_rate=1, address_burst=5)

    async def test_an_address_has_a_rate_over_all_its_connections(
        self, mediator: Mediator, stranger: Party
    ) -> None:
        replies = [await stranger.post(b"{}") for _ in range(7)]
        assert [reply.status for reply in replies] == [400] * 5 + [429] * 2
        _, answer = await raw(
            mediator, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
        )
        assert answer.startswith(b"HTTP/1.1 429")
        assert b"Retry-After: 1\r\n" in answer

    async def test_another_address_is_not_held_to_account_for_it(
        self, mediator: Mediator, stranger: Party
    ) -> None:
        for _ in range(6):
            await stranger.post(b"{}")
        get = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        _, answer = await raw(mediator, get, source="127.0.0.2")
        assert answer.startswith(b"HTTP/1.1 200")

    async def test_what_a_stranger_says_of_its_address_is_not_believed(
        self, stranger: Party
    ) -> None:
        statuses = {
            (await stranger.post(b"{}", **{"X-Forwarded-For": f"192.0.2.{n}"})).status
            for n in range(9)
        }
        assert statuses == {400, 429}

    async def test_a_socket_that_sends_too_fast_is_not_read_for_a_while(
        self, stranger: Party
    ) -> None:
        async with stranger.socket(live=False) as socket:
            for _ in range(6):  # the handshake was the first
                await socket.connection.send_str("{}")
            for _ in range(4):
                await socket.connection.receive(timeout=0.8)
            with pytest.raises(TimeoutError):
                await socket.connection.receive(timeout=0.4)
            assert (await socket.connection.receive(timeout=5)).type is aiohttp.WSMsgType.TEXT


class TestRatesBehindAProxy:
    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(address_rate=1, address_burst=3)

    @pytest.fixture
    def proxies(self) -> tuple[str, ...]:
        return ("127.0.0.1/32",)

    async def test_each_client_counts_for_itself_and_none_can_be_another(
        self, stranger: Party
    ) -> None:
        async def statuses(*forwarded: str) -> list[int]:
            return [
                (await stranger.post(b"{}", **{"X-Forwarded-For": value})).status
                for value in forwarded
            ]

        assert await statuses(*["192.0.2.1"] * 4) == [400, 400, 400, 429]
        invented = [f"198.51.100.{n}, 192.0.2.1" for n in range(3)]
        assert await statuses(*invented) == [429] * 3
        assert await statuses("192.0.2.2") == [400]


class TestRatesOfSenders:
    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(account_rate=1, account_burst=6, pair_rate=1, pair_burst=2)

    async def test_an_account_has_a_rate_and_is_told(self, alice: Party, bob: Party) -> None:
        statuses = [
            (await alice.post(await alice.seal(Ping().to_message()))).status for _ in "12345"
        ]
        assert statuses == [200] * 4 + [429]  # registering took two
        assert await alice.problem(Ping().to_message()) == RATE_LIMIT
        assert (await bob.ask(Ping().to_message())).type == PingResponse.TYPE

    async def test_one_known_sender_cannot_flood_one_recipient(
        self, alice: Party, bob: Party, stranger: Party
    ) -> None:
        replies = [await send(stranger, alice, number, known=True) for number in range(3)]
        assert [reply.status for reply in replies] == [200, 200, 429]
        report = (await stranger.open(replies[-1].body)).message
        assert ProblemReport.from_message(report).code == RATE_LIMIT
        assert (await send(stranger, bob, 1, known=True)).status == 200
        assert (await send(bob, alice, 4, known=True)).status == 200

    async def test_nor_can_one_address_that_says_no_name(
        self, alice: Party, bob: Party, stranger: Party
    ) -> None:
        statuses = [(await send(stranger, alice, number)).status for number in range(3)]
        assert statuses == [200, 200, 429]
        assert (await send(stranger, bob, 1)).status == 200

    async def test_the_fragment_of_a_key_makes_no_other_recipient(
        self, alice: Party, stranger: Party
    ) -> None:
        statuses = [
            (await stranger.forward(f"{alice.did}#key-{n}", {"n": n})).status for n in range(3)
        ]
        assert statuses == [200, 200, 429]


# How many at once


class TestConnections:
    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(connections=12, address_connections=5, account_sockets=2)

    async def test_an_address_has_so_many_connections_and_others_have_theirs(
        self, mediator: Mediator
    ) -> None:
        kept = [await asyncio.open_connection(*mediator.listens) for _ in range(5)]
        await asyncio.sleep(0.05)
        get = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert (await raw(mediator, get))[1] == b""
        assert b" 200 " in (await raw(mediator, get, source="127.0.0.2"))[1]
        await closed(kept)
        assert b" 200 " in (await raw(mediator, get))[1]

    async def test_all_addresses_together_have_so_many(self, mediator: Mediator) -> None:
        kept = [
            await asyncio.open_connection(*mediator.listens, local_addr=(f"127.0.0.{n}", 0))
            for n in (2, 3, 4)
            for _ in range(4)
        ]
        await asyncio.sleep(0.05)
        get = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert (await raw(mediator, get))[1] == b""
        await closed(kept)
        assert b" 200 " in (await raw(mediator, get))[1]

    async def test_an_account_has_so_many_live_sockets_and_the_newcomer_is_told(
        self, alice: Party
    ) -> None:
        """Not the oldest closed: two clients of one DID would push each other out for ever."""
        async with alice.socket() as first, alice.socket() as second:
            async with alice.socket(live=False) as third:
                answer = await third.ask(LiveDeliveryChange(True).to_message())
                assert ProblemReport.from_message(answer).code == TOO_MANY_SOCKETS
            await send(alice, alice, 1)
            await first.delivered(1)
            await second.delivered(1)
        async with alice.socket() as later:
            assert later.status is not None
            assert later.status.live_delivery


class TestSocketsBehindAProxy:
    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(address_connections=3)

    @pytest.fixture
    def proxies(self) -> tuple[str, ...]:
        return ("127.0.0.1/32",)

    async def test_one_client_has_so_many_sockets(self, mediator: Mediator) -> None:
        async with aiohttp.ClientSession() as http, contextlib.AsyncExitStack() as stack:

            async def open_socket(address: str) -> None:
                await stack.enter_async_context(
                    http.ws_connect(
                        f"{mediator.identity.public_url}/ws", headers={"X-Forwarded-For": address}
                    )
                )

            for _ in range(3):
                await open_socket("192.0.2.1")
            with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
                await open_socket("192.0.2.1")
            await open_socket("192.0.2.2")


# Slow and unfinished


async def test_headers_that_never_end_are_not_waited_for(
    mediator: Mediator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "IDLE", 0.3)
    reader, writer = await asyncio.open_connection(*mediator.listens)
    writer.write(b"POST / HTTP/1.1\r\n")
    began = asyncio.get_running_loop().time()
    with contextlib.suppress(ConnectionError):
        while not reader.at_eof() and asyncio.get_running_loop().time() - began < 5:
            writer.write(b"X-Slow: 1\r\n")
            with contextlib.suppress(TimeoutError):
                assert not await asyncio.wait_for(reader.read(1), 0.1)
    assert asyncio.get_running_loop().time() - began < 4
    writer.close()


async def test_an_idle_connection_is_closed(
    mediator: Mediator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "IDLE", 0.3)
    reader, writer = await asyncio.open_connection(*mediator.listens)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"alive" in await asyncio.wait_for(reader.read(), 3)
    writer.close()


async def test_a_body_that_is_dripped_is_answered_408(
    mediator: Mediator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "BODY_TIMEOUT", 0.3)
    reader, writer = await asyncio.open_connection(*mediator.listens)
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    for _ in range(3):
        await asyncio.sleep(0.05)
        writer.write(b" ")
    assert b" 408 " in await asyncio.wait_for(reader.readline(), 3)
    writer.close()


@pytest.mark.parametrize("attack", ["one frame", "fragments", "fragments and pings"])
async def test_a_frame_that_never_ends_is_not_waited_for(
    mediator: Mediator, alice: Party, monkeypatch: pytest.MonkeyPatch, attack: str
) -> None:
    monkeypatch.setattr(connections, "WHOLE", 0.5)
    monkeypatch.setattr(connections, "SWEEP", 0.1)
    reader, writer = await asyncio.open_connection(*mediator.listens)
    writer.write(HANDSHAKE + b"\r\n")
    await reader.readuntil(b"\r\n\r\n")
    if attack == "one frame":
        writer.write(frame_head(2, 1_000_000, final=True) + b"x" * 100_000)
    else:
        writer.write(frame_head(2, 50_000, final=False) + b"x" * 50_000)
        for _ in range(3):
            writer.write(frame_head(0, 10_000, final=False) + b"x" * 10_000)
            if attack == "fragments and pings":
                writer.write(frame_head(9, 4, final=True) + b"ping")
    with contextlib.suppress(ConnectionError):
        await asyncio.wait_for(reader.read(), 4)
    writer.close()
    assert (await alice.ask(Ping().to_message())).type == PingResponse.TYPE


async def test_a_frame_in_many_pieces_is_read_if_it_ends(alice: Party, mediator: Mediator) -> None:
    envelope = await alice.seal(Ping().to_message())
    reader, writer = await asyncio.open_connection(*mediator.listens)
    writer.write(HANDSHAKE + b"\r\n")
    await reader.readuntil(b"\r\n\r\n")
    for place in range(0, len(envelope), 100):
        piece = envelope[place : place + 100]
        final = place + 100 >= len(envelope)
        writer.write(frame_head(0 if place else 1, len(piece), final=final) + piece)
    assert (await asyncio.wait_for(reader.readexactly(1), 3)) == b"\x81"
    writer.close()


async def test_a_storm_of_pings_closes_the_socket(alice: Party) -> None:
    async with alice.http.ws_connect(f"{alice.url}/ws", autoping=False) as socket:
        for _ in range(150):
            await socket.ping()
        frame = await socket.receive(timeout=5)
        while frame.type is aiohttp.WSMsgType.PONG:
            frame = await socket.receive(timeout=5)
        assert frame.data == 1008


async def test_pings_are_answered(alice: Party) -> None:
    async with alice.http.ws_connect(f"{alice.url}/ws", autoping=False) as socket:
        await socket.ping(b"there?")
        answer = await socket.receive(timeout=5)
        assert (answer.type, answer.data) == (aiohttp.WSMsgType.PONG, b"there?")


async def test_no_socket_is_compressed(mediator: Mediator) -> None:
    offer = HANDSHAKE + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    reader, writer = await asyncio.open_connection(*mediator.listens)
    writer.write(offer)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101")
    assert b"permessage-deflate" not in head.lower()
    writer.close()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 100 + b"\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"b" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["many headers", "a long one", "a long path", "two framings", "two lengths", "TLS"],
)
async def test_what_is_not_proper_http_is_refused_without_a_word_in_the_log(
    mediator: Mediator, head: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    _, answer = await raw(mediator, head)
    assert answer.split(b"\r\n")[0].startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
    assert not caplog.records


@pytest.mark.parametrize(
    "data",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        HANDSHAKE + b"\r\n\x81\xfe\x10",
        HANDSHAKE.replace(b"AAAA", "ÄÄÄÄ".encode()) + b"\r\n",
    ],
    ids=["a body", "a chunk", "a frame", "a handshake"],
)
async def test_who_leaves_in_the_middle_leaves_no_trace_in_the_log(
    mediator: Mediator, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    _, writer = await asyncio.open_connection(*mediator.listens)
    writer.write(data)
    await asyncio.sleep(0.05)
    writer.transport.abort()
    await asyncio.sleep(0.05)
    assert not caplog.records


async def test_pipelined_requests_are_answered_one_by_one(mediator: Mediator) -> None:
    get = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    _, answer = await raw(mediator, get * 500 + last)
    assert answer.count(b"HTTP/1.1 200 OK") == 501


# What a recipient does to others


async def test_a_recipient_that_does_not_read_harms_nobody_else(
    mediator: Mediator, party: Callable[[], Party], bob: Party
) -> None:
    """Neither its senders, nor who is live beside it; its mail stays."""
    sleepy = party()
    await sleepy.register()
    _, writer = await asyncio.open_connection(*mediator.listens, limit=1024)
    writer.transport.pause_reading()
    writer.write(HANDSHAKE + b"\r\n")
    live = await sleepy.seal(LiveDeliveryChange(True).to_message())
    writer.write(frame_head(2, len(live), final=True) + live)
    async with bob.socket() as awake:
        for number in range(40):
            large = {"n": number, "x": "y" * 100_000}
            assert (await bob.forward(sleepy.did, large)).status == 200
            assert (await bob.forward(bob.did, {"n": number})).status == 200
            [push] = await asyncio.wait_for(awake.delivered(1), 2)
            assert push.json == {"n": number}
    writer.close()
    assert (await sleepy.status()).message_count == 40


async def test_who_does_not_read_is_dropped_in_the_end(
    mediator: Mediator, alice: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "SEND_TIMEOUT", 0.3)
    for number in range(60):
        assert (await alice.forward(alice.did, {"n": number, "x": "y" * 500_000})).status == 200
    reader, writer = await asyncio.open_connection(*mediator.listens, limit=1024)
    writer.write(HANDSHAKE + b"\r\n")
    ask = Message("https://didcomm.org/messagepickup/3.0/delivery-request", {"limit": 1})
    writer.transport.pause_reading()
    for _ in range(60):
        request = await alice.seal(replace(ask, id=str(_), return_route="all"))
        writer.write(frame_head(2, len(request), final=True) + request)
    await asyncio.sleep(1.5)
    writer.transport.resume_reading()
    with contextlib.suppress(ConnectionError):
        assert len(await asyncio.wait_for(reader.read(), 3)) < 60 * 500_000
    writer.close()


# Below the tests


async def send(sender: Party, recipient: Party, number: int, *, known: bool = False) -> Reply:
    envelope = await sender.sealed_forward(recipient.did, {**LETTER, "n": number}, known=known)
    return await sender.post(envelope)


async def raw(
    mediator: Mediator, data: bytes, *, source: str = "127.0.0.1"
) -> tuple[asyncio.StreamWriter, bytes]:
    """Send these bytes over a connection of their own; what comes back until it is closed."""
    reader, writer = await asyncio.open_connection(*mediator.listens, local_addr=(source, 0))
    writer.write(data)
    answer = b""
    with contextlib.suppress(ConnectionError):
        answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return writer, answer


async def closed(kept: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
    for _, writer in kept:
        writer.close()
    await asyncio.sleep(0.1)


def frame_head(opcode: int, size: int, *, final: bool) -> bytes:
    """Masked with zeros, which change nothing."""
    first = (0x80 if final else 0) | opcode
    if size < 126:
        return struct.pack("!BBI", first, 0x80 | size, 0)
    if size < 65536:
        return struct.pack("!BBHI", first, 0x80 | 126, size, 0)
    return struct.pack("!BBQI", first, 0x80 | 127, size, 0)
