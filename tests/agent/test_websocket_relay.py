"""A relayed pair whose sides have no UDP: WebSockets to a real mediator, proxies between them."""

import asyncio
import contextlib
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from agent.connection import http_tunnel, websocket_relay
from agent.connection.websocket_relay import WebSocketRelay
from agent.mail.strangers import policy_beside
from mediator.app import Mediator, running
from mediator.entrance import connections, relay_socket
from mediator.settings.config import Config, RelaySettings, Tls
from messaging.protocols.relay import Request, Tickets
from resolvers.guarded import OPEN_INTERNET
from tests.support.certificates import certify
from tests.support.mediator_client import Party
from tests.support.relayed import RelayedSide, packet
from traversal import stun
from traversal.candidate import Address
from traversal.relay import RelayBinding, RelayPair, RelayTicket
from traversal.relay_frames import CLOSE, PING, PONG, Frames, batch, masked_frame, runs_of
from traversal.segments import Data, Run, Segments, single
from traversal.stun import BIND, Class, Message

HOST = "127.0.0.1"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture
def settings() -> RelaySettings:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        first = min(int(probe.getsockname()[1]), 65_000)
    return RelaySettings(kernel=False, ports=range(first, first + 8))


@pytest.fixture
async def mediator(tmp_path: Path, settings: RelaySettings) -> AsyncIterator[Mediator]:
    config = Config(tmp_path / "m.db", HOST, 0, stun_ports=(0, 0), relay=settings)
    async with running(config) as mediator:
        yield mediator


async def test_datagrams_pass_between_two_websockets(mediator: Mediator) -> None:
    pair = await a_pair(mediator)
    async with party(pair, 0) as (one, first), party(pair, 1) as (two, second):
        await bound(first, second)
        one.send(packet(b"hello"))
        assert await two.receive() == packet(b"hello")
        two.send(packet(b"and back"))
        assert await one.receive() == packet(b"and back")


async def test_a_websocket_and_a_udp_side_are_a_pair(mediator: Mediator) -> None:
    pair = await a_pair(mediator)
    other = RelayedSide(pair.side(1, [HOST]), Address(HOST, pair.port))
    async with party(pair, 0) as (one, relay):
        await other.bind()
        await bound(relay)
        one.send(packet(b"hello"))
        assert await other.receive() == packet(b"hello")
        other.send(packet(b"and back"))
        assert await one.receive() == packet(b"and back")
    other.close()


async def test_a_burst_comes_through_whole_and_in_order(mediator: Mediator) -> None:
    pair = await a_pair(mediator)
    async with party(pair, 0) as (one, first), party(pair, 1) as (two, second):
        await bound(first, second)
        sent = [packet(b"%d" % n) for n in range(100)]
        for data in sent:
            one.send(data)
        assert [await two.receive() for _ in sent] == sent


async def test_a_relay_takes_many_in_one_call_and_a_bind_among_them(mediator: Mediator) -> None:
    pair = await a_pair(mediator)
    other = RelayedSide(pair.side(1, [HOST]), Address(HOST, pair.port))
    async with party(pair, 0) as (one, relay):
        await other.bind()
        await bound(relay)
        (bind,) = RelayBinding(other.binding.ticket, other.binding.server, 0.0).datagrams_to_send(
            0.0
        )
        size = len(bind.data)
        before, after = (
            [packet(bytes([n])).ljust(size, b".") for n in nn] for nn in ((1, 2), (3, 4))
        )
        other.send_in_one_call([*before, bind.data, *after])
        got = [await one.receive() for _ in range(4)]
        assert got == [*before, *after], "and the bind is the relay's"
    other.close()


async def test_what_a_wireguard_sends_in_one_call_comes_through_whole_and_in_order(
    mediator: Mediator,
) -> None:
    pair = await a_pair(mediator)
    async with party(pair, 0) as (one, first), party(pair, 1) as (two, second):
        await bound(first, second)
        sent = [packet(bytes([n]) * 1200) for n in range(30)] + [packet(b"last")]
        one.send_in_one_call(sent)
        assert [await two.receive() for _ in sent] == sent


async def test_a_stream_without_end_leaves_others_their_turn(
    mediator: Mediator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with party(await a_pair(mediator), 0) as (_, relay):
        await bound(relay)
        reads: list[float] = []

        def read() -> int:
            reads.append(time.monotonic())
            assert len(reads) < 100_000, "nobody else had a turn"
            return websocket_relay.READ_AT_ONCE

        monkeypatch.setattr(relay, "_send_what_waits", read)
        relay._look_again()
        await asyncio.sleep(0.02)
        assert len(reads) > 2


async def test_it_goes_through_a_proxy_by_connect(
    mediator: Mediator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = await a_pair(mediator)
    async with connect_proxy() as (port, asked):
        monkeypatch.setenv("http_proxy", f"http://user:p%40ss@{HOST}:{port}")
        async with party(pair, 0) as (one, first), party(pair, 1) as (two, second):
            await bound(first, second)
            one.send(packet(b"hello"))
            assert await two.receive() == packet(b"hello")
        assert asked[0][0] == f"CONNECT {HOST}:{mediator.listens[1]} HTTP/1.1"
        assert "Proxy-Authorization: Basic dXNlcjpwQHNz" in asked[0]  # user:p@ss


async def test_no_proxy_means_none(mediator: Mediator, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = await a_pair(mediator)
    monkeypatch.setenv("http_proxy", f"http://{HOST}:1")
    monkeypatch.setenv("no_proxy", HOST)
    async with party(pair, 0) as (_, relay):
        await bound(relay)


async def test_a_proxy_that_refuses_is_named_as_the_fault(
    mediator: Mediator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = await a_pair(mediator)
    async with connect_proxy(refuses=True) as (port, _):
        monkeypatch.setenv("http_proxy", f"{HOST}:{port}")
        async with party(pair, 0) as (_, relay), asyncio.timeout(5):
            while relay.fault is None:
                await asyncio.sleep(0.01)
        assert relay.fault == "the proxy refuses the connection with status 403"


@pytest.mark.parametrize(
    "url",
    [
        "ws://127.0.0.1:{}/relay/1.0",
        "ws://localhost:{}/relay/1.0",
        "ws://[::1]:{}/relay/1.0",
        "ws://0x7f.1:{}/",
        "ws://10.0.0.1:{}/",
        "ws://169.254.169.254:{}/latest",
    ],
)
async def test_a_url_of_another_party_leads_nowhere_inside(mediator: Mediator, url: str) -> None:
    ticket = (await a_pair(mediator)).side(1, [HOST])
    inside = replace(ticket, websocket=url.format(mediator.listens[1]))
    async with WebSocketRelay(inside, 9, policy=OPEN_INTERNET) as relay:
        async with asyncio.timeout(5):
            while relay.fault is None:
                await asyncio.sleep(0.01)
        assert not relay.bound
        assert "address" in relay.fault


async def test_it_leads_to_where_our_own_mediator_is(mediator: Mediator) -> None:
    ticket = (await a_pair(mediator)).side(1, [HOST])
    policy = await policy_beside(mediator.identity.public_url)
    async with WebSocketRelay(ticket, 9, policy=policy) as relay:
        await bound(relay)


async def test_tls_is_used_where_the_url_says_so_and_strangers_certificates_are_not_taken(
    tmp_path: Path, settings: RelaySettings
) -> None:
    certificate = certify(tmp_path)
    tls = Tls(certificate, certificate)
    config = Config(tmp_path / "m.db", HOST, 0, stun_ports=(0, 0), relay=settings, tls=tls)
    trust = ssl.create_default_context(cafile=certificate)
    async with running(config) as mediator:
        pair = await a_pair(mediator, trust)
        assert (pair.websocket or "").startswith("wss://")
        async with party(pair, 0, trust) as (one, first), party(pair, 1, trust) as (two, second):
            await bound(first, second)
            one.send(packet(b"hello"))
            assert await two.receive() == packet(b"hello")
        async with party(pair, 0) as (_, relay), asyncio.timeout(5):
            while relay.fault is None:
                await asyncio.sleep(0.01)
        assert "certificate" in relay.fault.lower()
        await asyncio.sleep(0.1)  # until the mediator has closed what was not to be


async def test_it_connects_again_when_the_mediator_was_restarted(
    tmp_path: Path, settings: RelaySettings
) -> None:
    config = Config(tmp_path / "m.db", HOST, 0, stun_ports=(0, 0), relay=settings, drain=0.2)
    async with contextlib.AsyncExitStack() as sides:
        async with running(config) as mediator:
            pair = await a_pair(mediator)
            one, first = await sides.enter_async_context(party(pair, 0))
            two, second = await sides.enter_async_context(party(pair, 1))
            await bound(first, second)
        again = replace(config, port=mediator.listens[1])
        async with running(again):
            await bound(first, second)
            one.send(packet(b"hello"))
            assert await two.receive() == packet(b"hello")


async def test_only_the_local_port_it_serves_may_send(mediator: Mediator) -> None:
    pair = await a_pair(mediator)
    async with party(pair, 0) as (one, first), party(pair, 1) as (two, second):
        await bound(first, second)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as neighbour:
            neighbour.sendto(packet(b"mine"), tuple(first.local))
        one.send(packet(b"hers"))
        assert await two.receive() == packet(b"hers")


# Attacks on the mediator's end


async def closed_with(url: str, *frames: bytes | str) -> int | None:
    async with aiohttp.ClientSession() as http, http.ws_connect(url) as ws:
        for frame in frames:
            if isinstance(frame, str):
                await ws.send_str(frame)
            else:
                await ws.send_bytes(frame)
        async with asyncio.timeout(10):
            while (await ws.receive()).type is aiohttp.WSMsgType.BINARY:
                pass
        return ws.close_code


def a_bind(ticket: RelayTicket) -> bytes:
    attributes = {"USERNAME": f"{ticket.id}:{ticket.side}", "PADDING": bytes(240)}
    return stun.serialize(Message(Class.REQUEST, os.urandom(12), attributes, BIND))


ATTACKS: dict[str, Callable[[RelayTicket], tuple[int, list[bytes | str]]]] = {
    "text": lambda _: (1003, ["hello"]),
    "half a head": lambda _: (1003, [b"\0\2\0"]),
    "a run beyond the frame": lambda _: (1003, [b"\0\2\xff\xffxx"]),
    "a run of nothing": lambda _: (1003, [b"\0\0\0\2xx"]),
    "a datagram longer than its run": lambda _: (1003, [b"\0\3\0\2xx"]),
    "a flood of binds": lambda ticket: (1008, [batched(*[a_bind(ticket)] * 100)]),
    "a frame that is too long": lambda _: (1009, [bytes(300_000)]),
}


@pytest.mark.parametrize("name", ATTACKS)
async def test_whoever_sends_nonsense_is_hung_up_on(mediator: Mediator, name: str) -> None:
    pair = await a_pair(mediator)
    code, frames = ATTACKS[name](pair.side(0, [HOST]))
    assert await closed_with(pair.websocket or "", *frames) == code


async def test_a_ping_is_answered_by_its_pong(mediator: Mediator) -> None:
    pair = await a_pair(mediator)
    async with raw(pair) as (stream, read):
        stream.transport.write(masked_frame([b"there?"], PING))
        assert await read() == (PONG, b"there?")


@pytest.mark.parametrize(
    "data", [b"\x02\x81maskx", b"\x80\x81maskx", b"\x82\x01x", b"\xc2\x81maskx"]
)
async def test_frames_that_are_none_of_ours_end_the_connection(
    mediator: Mediator, data: bytes
) -> None:
    """In parts, an end without a beginning, without a mask, with an extension."""
    pair = await a_pair(mediator)
    async with raw(pair) as (stream, read):
        stream.transport.write(data)
        opcode, content = await read()
        assert (opcode, content[:2]) == (CLOSE, (1002).to_bytes(2))
        stream.transport.write(masked_frame([content[:2]], CLOSE))
        async with asyncio.timeout(5):
            await stream.lost.wait()


async def test_a_frame_without_an_end_is_not_waited_for_for_ever(
    mediator: Mediator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "WHOLE", 0.5)
    monkeypatch.setattr(connections, "SWEEP", 0.1)
    monkeypatch.setattr(relay_socket, "BIND_WITHIN", 60.0)
    pair = await a_pair(mediator)
    async with raw(pair) as (stream, _):
        whole = masked_frame([bytes(200_000)])
        began, at = time.monotonic(), 100_000
        stream.transport.write(whole[:at])
        async with asyncio.timeout(8):
            while not stream.lost.is_set():
                await asyncio.sleep(0.02)
                stream.transport.write(whole[at : at + 1])
                at += 1
        assert time.monotonic() - began > 0.4


async def test_what_drips_is_counted_as_unfinished(
    mediator: Mediator, monkeypatch: pytest.MonkeyPatch
) -> None:
    sockets = sockets_of(monkeypatch)
    pair = await a_pair(mediator)
    async with raw(pair) as (stream, _):
        whole = masked_frame([bytes(200_000)])
        for at in range(0, 100_000, 500):
            stream.transport.write(whole[at : at + 500])
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            while sockets[0]._frames.pending < 100_000:
                await asyncio.sleep(0.01)
        assert sockets[0]._connection.unfinished >= 100_000
        stream.transport.write(whole[100_000:])
        async with asyncio.timeout(5):
            while sockets[0]._frames.pending:
                await asyncio.sleep(0.01)
        assert sockets[0]._connection.unfinished == 0


async def test_whoever_does_not_bind_is_hung_up_on(
    mediator: Mediator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_socket, "BIND_WITHIN", 0.1)
    pair = await a_pair(mediator)
    assert await closed_with(pair.websocket or "", batched(packet(b"let me in"))) == 1008


async def test_a_challenge_of_one_socket_is_worth_nothing_on_another(mediator: Mediator) -> None:
    pair = await a_pair(mediator)
    ticket = pair.side(0, [HOST])
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(pair.websocket or "") as one,
        http.ws_connect(pair.websocket or "") as other,
    ):
        await one.send_bytes(batched(a_bind(ticket)))
        nonce = stun.parse(alone(await one.receive_bytes())).attributes["NONCE"]
        attributes = {"USERNAME": f"{ticket.id}:0", "NONCE": nonce, "PADDING": bytes(240)}
        request = Message(Class.REQUEST, os.urandom(12), attributes, BIND)
        await other.send_bytes(batched(stun.serialize(request, ticket.secret.encode())))
        answer = stun.parse(alone(await other.receive_bytes()))
        assert answer.attributes["ERROR-CODE"] == (438, "")


async def test_what_comes_right_behind_the_request_for_a_websocket_is_not_lost(
    mediator: Mediator,
) -> None:
    pair = await a_pair(mediator)
    url = urlsplit(pair.websocket or "")
    request = f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nUpgrade: websocket\r\n"
    request += "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    request += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    first = masked_frame([batched(a_bind(pair.side(0, [HOST])))])
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    with contextlib.closing(writer):
        writer.write(request.encode() + first)
        async with asyncio.timeout(5):
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            challenge = await reader.readexactly(2 + 6)
    assert challenge[0] == 0x82


async def test_for_a_side_that_does_not_read_little_is_kept(
    mediator: Mediator, monkeypatch: pytest.MonkeyPatch
) -> None:
    sockets = sockets_of(monkeypatch)
    pair = await a_pair(mediator)
    unread = await a_side_that_does_not_read(pair.side(1, [HOST]))
    async with party(pair, 0) as (one, first):
        await bound(first)
        most = 0
        for _ in range(400):  # 24 MiB
            for _ in range(50):
                one.send(packet(b"")[:4] + bytes(1200))
            await asyncio.sleep(0.001)
            transport = sockets[0]._connection.transport
            assert transport is not None
            most = max(most, transport.get_write_buffer_size())
            assert sockets[0]._size_waiting <= relay_socket.MAX_WAITING
        assert relay_socket.MAX_BUFFER < most < 2 * relay_socket.MAX_BUFFER
        assert first.bound, "the other side is served on"
    unread.abort()


async def test_what_waits_for_a_side_that_does_not_read_holds_no_more_than_itself(
    mediator: Mediator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One datagram that is passed on, in a large frame of others that are not, keeps no frame."""
    async with nothing_passes(mediator, monkeypatch) as (stream, other):
        small, junk = single(packet(b"")[:32]), single(bytes(60_000))
        for _ in range(100):
            stream.transport.write(masked_frame(batch([small, junk])))
        async with asyncio.timeout(5):
            while len(other._waiting) < 100:
                await asyncio.sleep(0.01)
        held = {id(owner): len(owner) for owner in map(owner_of, other._waiting)}
        assert sum(held.values()) == 3200


async def test_of_more_than_may_wait_the_newest_waits(
    mediator: Mediator, monkeypatch: pytest.MonkeyPatch
) -> None:
    datagrams = [packet(number.to_bytes(2)).ljust(1200, b"x") for number in range(200)]
    async with nothing_passes(mediator, monkeypatch) as (stream, other):
        for some in (datagrams[:20], datagrams[20:]):
            stream.transport.write(masked_frame(batch(map(single, some))))
        most = relay_socket.MAX_WAITING // 1200
        async with asyncio.timeout(5):
            while other._size_waiting < most * 1200:
                await asyncio.sleep(0.01)
        assert [data for run in other._waiting for data in run.datagrams()] == datagrams[-most:]


@contextlib.asynccontextmanager
async def nothing_passes(
    mediator: Mediator, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[http_tunnel.Stream, relay_socket.RelaySocket]]:
    """A bound side, and the mediator's socket of the other, for which everything waits."""
    sockets = sockets_of(monkeypatch)
    pair = await a_pair(mediator)
    unread = await a_side_that_does_not_read(pair.side(1, [HOST]))
    async with raw(pair) as (stream, read):
        await bind(pair.side(0, [HOST]), stream, read)
        monkeypatch.setattr(relay_socket, "MAX_BUFFER", -1)
        yield stream, sockets[0]
    unread.abort()


def owner_of(run: Run) -> Data:
    """Whose memory it is that a run keeps."""
    return run.data.obj if isinstance(run.data, memoryview) else run.data


# Helpers


def sockets_of(monkeypatch: pytest.MonkeyPatch) -> list[relay_socket.RelaySocket]:
    """Those that a mediator serves from now on."""
    sockets: list[relay_socket.RelaySocket] = []
    serve = relay_socket.RelaySocket.serve

    async def noted(self: relay_socket.RelaySocket) -> None:
        sockets.append(self)
        await serve(self)

    monkeypatch.setattr(relay_socket.RelaySocket, "serve", noted)
    return sockets


@contextlib.asynccontextmanager
async def raw(
    pair: RelayPair,
) -> AsyncIterator[tuple[http_tunnel.Stream, Callable[[], Awaitable[tuple[int, bytes]]]]]:
    """A connection without a client behind it, and what reads its next frame."""
    stream = await http_tunnel.connect(pair.websocket or "", ssl.create_default_context())
    frames, found = Frames(masked=False), asyncio.Queue[tuple[int, bytes]]()

    def take(data: memoryview) -> None:
        for opcode, content in frames.feed(data):
            found.put_nowait((opcode, bytes(content)))

    stream.hand_over(take)
    try:
        yield stream, lambda: asyncio.wait_for(found.get(), 5)
    finally:
        stream.transport.abort()


async def bind(
    ticket: RelayTicket,
    stream: http_tunnel.Stream,
    read: Callable[[], Awaitable[tuple[int, bytes]]],
) -> None:
    binding = RelayBinding(ticket, Address(HOST, 1), 0.0)
    while not binding.bound:
        for datagram in binding.datagrams_to_send(0.0):
            stream.transport.write(masked_frame([batched(datagram.data)]))
            _, content = await read()
            binding.handle_datagram(alone(content), Address(HOST, 1), 0.0)


def batched(*datagrams: bytes) -> bytes:
    return b"".join(batch(map(single, datagrams)))


def alone(content: bytes) -> bytes:
    [run] = runs_of(content)
    return bytes(run.data)


async def a_side_that_does_not_read(ticket: RelayTicket) -> asyncio.Transport:
    """Only the answers to its two binds."""
    stream = await http_tunnel.connect(ticket.websocket or "", ssl.create_default_context())
    binding, frames = RelayBinding(ticket, Address(HOST, 1), 0.0), Frames(masked=False)
    answered = asyncio.Event()

    def take(data: memoryview) -> None:
        for _, content in frames.feed(data):
            for run in runs_of(content):
                binding.handle_datagram(bytes(run.data), Address(HOST, 1), 0.0)
        answered.set()

    stream.hand_over(take)
    while not binding.bound:
        for datagram in binding.datagrams_to_send(0.0):
            stream.transport.write(masked_frame(batch([single(datagram.data)])))
        await answered.wait()
        answered.clear()
    stream.transport.pause_reading()
    return stream.transport


async def a_pair(mediator: Mediator, trust: ssl.SSLContext | None = None) -> RelayPair:
    connector = aiohttp.TCPConnector(ssl=trust or True)
    async with aiohttp.ClientSession(connector=connector) as http:
        alice = Party(http, mediator.identity.did, mediator.identity.public_url)
        await alice.register()
        answer = await alice.ask(Request("ab" * 32, 1).to_message())
        return Tickets.from_message(answer).pairs[0]


class Wireguard:
    """The local port that the relay serves."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((HOST, 0))
        self.socket.setblocking(False)
        self.port = int(self.socket.getsockname()[1])
        self.endpoint = ("", 0)

    def send_in_one_call(self, datagrams: list[bytes]) -> None:
        Segments(self.socket.sendmsg, self.endpoint).send(map(single, datagrams))

    def send(self, data: bytes) -> None:
        self.socket.sendto(data, self.endpoint)

    async def receive(self) -> bytes:
        async with asyncio.timeout(5):
            return await asyncio.get_running_loop().sock_recv(self.socket, 65536)


@contextlib.asynccontextmanager
async def party(
    pair: RelayPair, side: int, trust: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Wireguard, WebSocketRelay]]:
    wireguard = Wireguard()
    async with WebSocketRelay(pair.side(side, [HOST]), wireguard.port, trust) as relay:
        wireguard.endpoint = (relay.local.host, relay.local.port)
        yield wireguard, relay
    wireguard.socket.close()


async def bound(*relays: WebSocketRelay) -> None:
    """Until all are, and know of each other where there are two."""
    async with asyncio.timeout(10):
        while not all(relay.bound for relay in relays):
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def connect_proxy(*, refuses: bool = False) -> AsyncIterator[tuple[int, list[list[str]]]]:
    """A small real one; yields its port and the heads of what it was asked."""
    asked: list[list[str]] = []
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        asked.append(head)
        if refuses:
            writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            writer.close()
            return
        host, _, port = head[0].split()[1].rpartition(":")
        there = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(task := asyncio.ensure_future(serve(reader, writer)))
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1], asked
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
    finally:
        writer.transport.abort()
