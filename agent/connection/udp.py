"""The one UDP port of a session: STUN and checks use it first, WireGuard takes its number over.

The NAT mapping belongs to the port, so what was learnt through this socket stays true when it is
closed and WireGuard opens the same number at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import time
from typing import NamedTuple, Self

from traversal.candidate import Address
from traversal.stun import MAX_SIZE

READ_AT_ONCE = 64  # datagrams taken from the kernel in one turn of the loop
MAX_WAITING = 512  # datagrams kept for a slow reader; more are dropped, as a full kernel queue does


class Arrival(NamedTuple):
    """A datagram, and the monotonic seconds when it was read (uvloop's own clock is too coarse)."""

    data: bytes
    source: Address
    at: float


class UdpPort:
    """`datagrams` fills while the port is open. IPv4; a second socket joins it for IPv6."""

    def __init__(self, sock: socket.socket) -> None:
        self.port: int = sock.getsockname()[1]
        self.datagrams: asyncio.Queue[Arrival] = asyncio.Queue(MAX_WAITING)
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._read)

    @classmethod
    async def bind(cls, port: int = 0, host: str = "0.0.0.0") -> Self:  # noqa: S104  every interface is meant
        """Raises: OSError, if the port is taken."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.bind((host, port))
            return cls(sock)
        except BaseException:
            sock.close()
            raise

    def speaks_to(self, address: Address) -> bool:
        """Whether the address is of the port's family."""
        return ipaddress.ip_address(address.host).version == 4

    def send(self, data: bytes, address: Address) -> None:
        """No route, a firewall's refusal and a full queue are lost datagrams like any other."""
        with contextlib.suppress(OSError):
            self._socket.sendto(data, (address.host, address.port))

    def close(self) -> None:
        """Idempotent; from now on WireGuard may have the port."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _read(self) -> None:
        for _ in range(READ_AT_ONCE):
            try:
                data, source = self._socket.recvfrom(MAX_SIZE + 1)
            except BlockingIOError:
                return
            except OSError:  # a late ICMP error for something we sent
                continue
            if not self.datagrams.full():
                arrival = Arrival(data, Address(source[0], source[1]), time.monotonic())
                self.datagrams.put_nowait(arrival)
