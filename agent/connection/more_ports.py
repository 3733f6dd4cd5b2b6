"""Ports beside the session's own, for birthday attempts: ordinary sockets, and STUN through them.

What WireGuard sends along a path that such a port has found is rewritten by the network helper,
which wants the very socket (`at`) as a proof that the port is ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Collection

from agent.connection.port import Inbox
from traversal.candidate import Address

READ_AT_ONCE = 8  # datagrams of one socket in one turn of the loop; there are hundreds of sockets


class MorePorts:
    """What arrives goes to `inbox`, with the port it came to."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._sockets: dict[int, socket.socket] = {}
        self._loop = asyncio.get_running_loop()

    def open(self, count: int, version: int) -> list[int]:
        """So many, or fewer where the system gives no more."""
        made = []
        with contextlib.suppress(OSError):
            for _ in range(count):
                made.append(self._open(version))
        return made

    def send(self, data: bytes, destination: Address, port: int) -> None:
        """No route and a full queue are lost datagrams like any other; so is a port given back."""
        sender = self._sockets.get(port)
        if sender is not None:
            with contextlib.suppress(OSError):
                sender.sendto(data, tuple(destination))

    def at(self, port: int) -> socket.socket | None:
        return self._sockets.get(port)

    def keep(self, needed: Collection[int]) -> None:
        """Give back all others."""
        for port in self._sockets.keys() - set(needed):
            made = self._sockets.pop(port)
            self._loop.remove_reader(made)
            made.close()

    def close(self) -> None:
        self.keep(())

    def _open(self, version: int) -> int:
        made = socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            made.setblocking(False)
            made.bind(("::" if version == 6 else "0.0.0.0", 0))  # noqa: S104  any interface
        except OSError:
            made.close()
            raise
        port: int = made.getsockname()[1]
        self._sockets[port] = made
        self._loop.add_reader(made, self._inbox.read, made, READ_AT_ONCE, port)
        return port
