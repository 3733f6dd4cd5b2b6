"""The session's port once WireGuard has it: STUN goes through the network helper, both ways."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from agent.connection.interfaces import source_towards
from agent.connection.port import Inbox
from agent.network_helper import checks
from agent.network_helper.checks import Check, MalformedCheck
from traversal.candidate import Address

READ_AT_ONCE = 64


class CheckSocket:
    """`made` comes from the helper's `checks`, and is closed with us."""

    def __init__(self, made: socket.socket, port: int) -> None:
        self.port = port
        self.inbox = Inbox()
        self._socket = made
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(made, self._read)

    def speaks_to(self, address: Address) -> bool:
        return source_towards(address) is not None

    def send(self, data: bytes, address: Address) -> None:
        with contextlib.suppress(OSError):
            self._socket.send(checks.serialize(Check(address.host, address.port, data)))

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _read(self) -> None:
        for _ in range(READ_AT_ONCE):
            try:
                data = self._socket.recv(checks.MAX_SIZE)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:  # the helper is gone, and the session with it
                self._loop.remove_reader(self._socket)
                return
            with contextlib.suppress(MalformedCheck):
                host, port, message = checks.parse(data)
                self.inbox.put(message, Address(host, port))
