"""The one UDP port of a session: STUN uses it first, WireGuard takes its number over.

The NAT mapping belongs to the port, so what was learnt through these sockets stays true when they
are closed and WireGuard opens the same number at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from typing import Self

from agent.connection.interfaces import source_towards
from agent.connection.port import Inbox
from traversal.candidate import Address

READ_AT_ONCE = 64  # datagrams taken from the kernel in one turn of the loop
ATTEMPTS = 20  # random ports, until one is free with both families


class UdpPort:
    """One port, IPv4 and, where the system has it, IPv6; `inbox` fills while it is open."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self.port: int = sockets[0].getsockname()[1]
        self.inbox = Inbox()
        self._sockets = {made.family: made for made in sockets}
        self._loop = asyncio.get_running_loop()
        for made in sockets:
            made.setblocking(False)
            self._loop.add_reader(made, self.inbox.read, made, READ_AT_ONCE)

    @classmethod
    async def bind(cls, port: int = 0) -> Self:
        """Raises: OSError, if the port is taken."""
        for _ in range(ATTEMPTS - 1):
            with contextlib.suppress(OSError):
                return cls(_bound(port))
        return cls(_bound(port))

    def speaks_to(self, address: Address) -> bool:
        return _family(address) in self._sockets and source_towards(address) is not None

    def send(self, data: bytes, address: Address) -> None:
        sender = self._sockets.get(_family(address))
        if sender is not None:
            with contextlib.suppress(OSError):
                sender.sendto(data, (address.host, address.port))

    def close(self) -> None:
        """From now on WireGuard may have the port."""
        for made in self._sockets.values():
            if made.fileno() >= 0:
                self._loop.remove_reader(made)
                made.close()


def _bound(port: int) -> list[socket.socket]:
    """Sockets of both families, or of IPv4 alone. Raises: OSError."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]
    try:
        sockets[0].bind(("0.0.0.0", port))  # noqa: S104  every interface is meant
        if six := _ipv6_socket():
            sockets.append(six)
            six.bind(("::", sockets[0].getsockname()[1]))
    except OSError:
        for made in sockets:
            made.close()
        raise
    return sockets


def _ipv6_socket() -> socket.socket | None:
    """None where the system has no IPv6."""
    made = None
    try:
        made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        if made is not None:
            made.close()
        return None
    return made


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if address.version == 6 else socket.AF_INET
