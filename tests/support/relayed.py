"""A party of a relayed pair on a real UDP socket: binds, sends, receives."""

from __future__ import annotations

import asyncio
import socket
import time

from traversal.candidate import Address
from traversal.relay import RelayBinding, RelayTicket
from traversal.segments import Segments, single

WIREGUARD = b"\x04\0\0\0"  # how WireGuard's data begins


class RelayedSide:
    """One side of a pair, from a port of its own on `host`."""

    def __init__(self, ticket: RelayTicket, server: Address, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.socket.setblocking(False)
        self.binding = RelayBinding(ticket, server, time.monotonic())

    async def bind(self, seconds: float = 5.0) -> None:
        """Until bound or refused. Raises: TimeoutError."""
        async with asyncio.timeout(seconds):
            while not self.binding.bound and self.binding.refusal is None:
                self.send_binds()
                await self._take(0.05)

    def send_binds(self) -> None:
        for datagram in self.binding.datagrams_to_send(time.monotonic()):
            self.socket.sendto(datagram.data, tuple(datagram.destination))

    def send(self, data: bytes) -> None:
        self.socket.sendto(data, tuple(self.binding.server))

    def send_in_one_call(self, datagrams: list[bytes]) -> None:
        Segments(self.socket.sendmsg, tuple(self.binding.server)).send(map(single, datagrams))

    async def receive(self, seconds: float = 2.0) -> bytes | None:
        """The next datagram that is not the relay's own word; None if none comes."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            data = await self._take(deadline - time.monotonic())
            if data is not None:
                return data
        return None

    def close(self) -> None:
        self.socket.close()

    async def _take(self, seconds: float) -> bytes | None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                data, source = await loop.sock_recvfrom(self.socket, 65536)
        except TimeoutError:
            return None
        address = Address(source[0], source[1])
        return None if self.binding.handle_datagram(data, address, time.monotonic()) else data


def packet(words: bytes) -> bytes:
    """What a relay takes for WireGuard's."""
    return WIREGUARD + words.ljust(60, b".")
