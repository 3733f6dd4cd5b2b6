"""Memory under attack: a real process, and what it held at the worst moment.

Each attack offers several times what is allowed. Without its limit the process would hold it all.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from messaging.message import Message
from messaging.protocols.message_pickup import LiveDeliveryChange
from messaging.protocols.trust_ping import Ping, PingResponse
from tests.support.mediator_client import Party
from tests.support.mediator_process import facts, folder, process, run_argv

MIB = 1024 * 1024
BUFFERED = 32 * MIB  # what the mediator of these tests may hold
ALLOWED = 120 * MIB  # that, what the interpreter keeps, and what arrives in one turn of its loop
CONNECTIONS = 300
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Target:
    pid: int
    alice: Party
    host: str
    port: int

    async def connect(self) -> Connection:
        """One whose own side holds next to nothing."""
        own = socket.socket()
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        own.setblocking(False)
        await asyncio.get_running_loop().sock_connect(own, (self.host, self.port))
        return await asyncio.open_connection(sock=own, limit=1024)

    def resident(self, name: str = "VmHWM") -> int:
        """Bytes in memory: VmHWM the most there ever were, VmRSS now."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(name)


@contextlib.asynccontextmanager
async def attacked() -> AsyncIterator[Target]:
    with folder() as data:
        argv = [*run_argv(data / "m.db"), "--metrics", "off", "--limits-buffered", str(BUFFERED)]
        with process(argv) as started:
            there = facts(started)
            async with aiohttp.ClientSession() as http:
                alice = Party(http, there["did"], there["http"])
                await alice.register()
                host, _, port = there["http"].removeprefix("http://").rpartition(":")
                yield Target(started.pid, alice, host, int(port))


Attack = Callable[[Target, list[Connection]], Awaitable[None]]


async def unfinished_bodies(target: Target, kept: list[Connection]) -> None:
    """300 bodies of almost 1 MiB whose last bytes never come."""
    for _ in range(CONNECTIONS):
        await offer(
            target,
            kept,
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1048000\r\n\r\n" + b" " * 1_000_000,
        )


async def unfinished_chunks(target: Target, kept: list[Connection]) -> None:
    """The same without a length."""
    chunk = b"FFFF\r\n" + b" " * 0xFFFF + b"\r\n"
    for _ in range(CONNECTIONS):
        head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        await offer(target, kept, head + chunk * 15)


async def unfinished_headers(target: Target, kept: list[Connection]) -> None:
    head = b"GET / HTTP/1.1\r\n" + (b"X-Header: " + b"y" * 8000 + b"\r\n") * 60
    for _ in range(CONNECTIONS):
        await offer(target, kept, head)


async def unfinished_frames(target: Target, kept: list[Connection]) -> None:
    frame = struct.pack("!BBQI", 0x82, 0xFF, 1_048_000, 0) + b"x" * 1_000_000
    for _ in range(CONNECTIONS):
        await offer(target, kept, HANDSHAKE + frame)


async def unfinished_fragments(target: Target, kept: list[Connection]) -> None:
    first = struct.pack("!BBHI", 0x02, 0xFE, 50_000, 0) + b"x" * 50_000
    later = struct.pack("!BBHI", 0x00, 0xFE, 50_000, 0) + b"x" * 50_000
    for _ in range(CONNECTIONS):
        await offer(target, kept, HANDSHAKE + first + later * 19)


async def bombs(target: Target, kept: list[Connection]) -> None:
    """Bodies that grow a thousand times when they are unpacked."""
    import zlib

    bomb = zlib.compress(b" " * (64 * MIB), 9)
    for _ in range(10):
        head = (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: deflate\r\nContent-Length: %d\r\n\r\n"
        )
        await offer(target, kept, head % len(bomb) + bomb)


async def nested_and_huge_rubbish(target: Target, kept: list[Connection]) -> None:
    for rubbish in (
        b"[" * MIB,
        b'{"a":' * 200_000,
        b"0," * (MIB // 2),
        b'"' + b"\\u0000" * 170_000,
    ):
        for _ in range(10):
            assert (await target.alice.post(rubbish)).status == 400


async def pipelined_requests(target: Target, kept: list[Connection]) -> None:
    get = b"GET /invitation HTTP/1.1\r\nHost: x\r\n\r\n"
    for _ in range(100):
        await offer(target, kept, get * 25_000)


async def answers_that_nobody_reads(target: Target, kept: list[Connection]) -> None:
    """A delivery of 0.7 MiB, asked for over 200 connections that do not read."""
    alice = target.alice
    assert (await alice.forward(alice.did, {"x": "y" * 700_000})).status == 200
    for number in range(200):
        ask = Message(
            "https://didcomm.org/messagepickup/3.0/delivery-request",
            {"limit": 1},
            id=str(number),
            return_route="all",
        )
        body = await alice.seal(ask)
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        await offer(target, kept, head + body)


async def pushes_that_nobody_reads(target: Target, kept: list[Connection]) -> None:
    """Accounts that are live on 10 sockets each and read none of them."""
    for _ in range(8):
        sleepy = Party(target.alice.http, target.alice.mediator, target.alice.url)
        await sleepy.register()
        for _ in range(10):
            live = await sleepy.seal(LiveDeliveryChange(True).to_message())
            await offer(
                target, kept, HANDSHAKE + struct.pack("!BBHI", 0x82, 0xFE, len(live), 0) + live
            )
        await asyncio.sleep(0.05)
        for number in range(3):
            letter = {"n": number, "x": "y" * 700_000}
            assert (await sleepy.forward(sleepy.did, letter)).status == 200


async def mail_for_everybody(target: Target, kept: list[Connection]) -> None:
    """Forwards for 500 DIDs that nobody has: no name may stay in memory for long."""
    for number in range(500):
        await target.alice.forward(f"did:example:{number}{'x' * 3000}", {"n": 1})


@pytest.mark.slow
@pytest.mark.parametrize(
    "attack",
    [
        unfinished_bodies,
        unfinished_chunks,
        unfinished_headers,
        unfinished_frames,
        unfinished_fragments,
        bombs,
        nested_and_huge_rubbish,
        pipelined_requests,
        answers_that_nobody_reads,
        pushes_that_nobody_reads,
        mail_for_everybody,
    ],
    ids=lambda attack: attack.__name__.replace("_", " "),
)
async def test_memory_is_bounded_under(attack: Attack) -> None:
    async with attacked() as target:
        await target.alice.ask(Ping().to_message())
        before = target.resident()
        kept: list[Connection] = []
        await attack(target, kept)
        await asyncio.sleep(0.5)
        grown = target.resident() - before
        print(
            f"{attack.__name__}: {before // MIB} MiB before, {grown // MIB} MiB more at the worst"
        )
        answer = await asyncio.wait_for(target.alice.ask(Ping().to_message()), 10)
        assert answer.type == PingResponse.TYPE
        assert grown < ALLOWED
        for _, writer in kept:
            writer.transport.abort()


async def offer(target: Target, kept: list[Connection], data: bytes) -> None:
    """Send what the other end takes, and read nothing."""
    with contextlib.suppress(ConnectionError):
        reader, writer = await target.connect()
        kept.append((reader, writer))
        writer.transport.pause_reading()
        writer.write(data)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(writer.drain(), 0.05)
