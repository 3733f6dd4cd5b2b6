"""What sends and receives a session's datagrams that are not WireGuard's.

At first a UDP socket has the port (`udp`); later WireGuard has it, and the network helper passes
STUN on (`check_socket`).
"""

from __future__ import annotations

import asyncio
import socket
import time
from typing import NamedTuple, Protocol

from traversal.candidate import Address
from traversal.stun import MAX_SIZE

MAX_WAITING = 512  # datagrams kept for a slow reader; more are dropped, as a full kernel queue does


class Arrival(NamedTuple):
    """A datagram, and the monotonic seconds when it was read (uvloop's own clock is too coarse).

    `port` is the one of ours that it came to, None for the session's own.
    """

    data: bytes
    source: Address
    at: float
    port: int | None = None


class Port(Protocol):
    """`port` is its number, with IPv4 and IPv6 alike."""

    port: int
    inbox: Inbox

    def speaks_to(self, address: Address) -> bool:
        """Whether something sent there can leave this machine."""

    def send(self, data: bytes, address: Address) -> None:
        """No route, a firewall's refusal and a full queue are lost datagrams like any other."""

    def close(self) -> None:
        """Idempotent."""


class Inbox:
    """What has arrived, for one reader; `wake` makes it look up from waiting."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[Arrival] = asyncio.Queue(MAX_WAITING)
        self._awake = asyncio.Event()

    def put(self, data: bytes, source: Address, port: int | None = None) -> None:
        if not self._waiting.full():
            self._waiting.put_nowait(Arrival(data, source, time.monotonic(), port))
        self._awake.set()

    def read(self, made: socket.socket, at_once: int, port: int | None = None) -> None:
        """Take so many datagrams at most from a UDP socket that does not block."""
        for _ in range(at_once):
            try:
                data, source = made.recvfrom(MAX_SIZE + 1)
            except BlockingIOError:
                return
            except OSError:  # a late ICMP error for something we sent
                continue
            self.put(data, Address(source[0].partition("%")[0], source[1]), port)

    def wake(self) -> None:
        self._awake.set()

    def __len__(self) -> int:
        return self._waiting.qsize()

    async def arrivals(self, until: float) -> list[Arrival]:
        """All that waits; none if nothing came, or `wake` was called, until that time."""
        if self._waiting.empty():
            try:
                async with asyncio.timeout(max(0.0, until - time.monotonic())):
                    await self._awake.wait()
            except TimeoutError:
                pass
        self._awake.clear()
        return [self._waiting.get_nowait() for _ in range(self._waiting.qsize())]
