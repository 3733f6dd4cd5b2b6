"""Connections of strangers: counted, and held to finish what they begin.

Beneath HTTP and WebSocket alike, each connection notes the bytes it has sent that no
handler has dealt with yet. They are bounded over all connections, and a message once
begun has a time by which it must be whole, however its bytes are dripped.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any, cast

from aiohttp import web

from mediator.guard.limits import Guard

IDLE = 75.0  # seconds that a connection may be silent between requests, or before the first
WHOLE = 35.0  # seconds for a message to be whole from when it is noticed
NOTICED = 16 * 1024  # bytes of an unfinished message that nobody minds
SWEEP = 1.0
MAX_HEADERS = 64
SEND_BUFFER = 128 * 1024  # bytes the system keeps for a slow reader, and again as much
LINGER = 2.0  # seconds of reading on what was refused, so that the refusal is read


class GuardedConnection(web.RequestHandler):
    """One connection; its protocol is aiohttp's."""

    __slots__ = ("_counted", "_guard", "_server", "address", "dropped", "peer", "unfinished")

    def __init__(self, server: GuardedServer, **settings: Any) -> None:
        super().__init__(server, **settings)
        self._server = server
        self._guard = server.guard
        self._counted = False
        self.dropped = False
        self.peer: str | None = None
        self.address: str | None = None  # that connections count for
        self.unfinished = 0  # bytes received that no handler is through with

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        name = transport.get_extra_info("peername")
        self.peer = name[0] if isinstance(name, tuple) else None
        self.address = self._guard.client(self.peer)
        self._counted = self._guard.connections.enter(self.address)
        transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER
        )
        super().connection_made(transport)
        if not self._counted:
            self.drop()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._forget()
        if self._counted:
            self._counted = False
            self._guard.connections.leave(self.address)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.arrived(len(data)):
            super().data_received(data)

    def arrived(self, size: int) -> bool:
        """So many bytes more that nobody is through with; False when they were too many."""
        self.unfinished += size
        if self.unfinished > NOTICED:
            self._guard.arriving.hold(self, min(size, self.unfinished - NOTICED), self.drop)
            if self.dropped:
                return False
            self._server.begun.setdefault(self, self._loop.time())
        return True

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is not HTTP is the sender's fault, and no line in our log."""
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        response = web.Response(status=status, text="not HTTP\n")
        response.force_close()
        return response

    def whole(self) -> None:
        """A message has arrived to its end."""
        self._server.begun.pop(self, None)

    def finished(self, size: int) -> None:
        """A message of `size` bytes, and what came around it, is dealt with.

        Frames have heads of up to 14 bytes, and may be many. What is left belongs to
        messages that arrived with it, unless it is too little to matter.
        """
        left = self.unfinished - size - 14 - size // 64
        if self.unfinished > NOTICED:
            self._guard.arriving.release(self, None if left <= NOTICED else size)
        if left <= NOTICED:
            self.unfinished = 0
        else:
            self.unfinished = left
            self._server.begun.setdefault(self, self._loop.time())

    def drop(self) -> None:
        """Without a word: whoever needs dropping does not read it."""
        self.dropped = True
        self._forget()
        transport = self.transport
        self.force_close()
        if transport is not None:  # closing alone would wait until what was written is read
            cast(asyncio.WriteTransport, transport).abort()

    def _forget(self) -> None:
        self._server.begun.pop(self, None)
        self._guard.arriving.release(self)
        self.unfinished = 0


class GuardedServer(web.Server):
    def __init__(self, handler: Any, guard: Guard, **settings: Any) -> None:
        super().__init__(handler, **settings)
        self.guard = guard
        # When the message began that each connection is in the midst of; the oldest first.
        self.begun: dict[GuardedConnection, float] = {}

    def __call__(self) -> web.RequestHandler:
        return GuardedConnection(
            self,
            loop=self._loop,
            access_log=None,
            keepalive_timeout=IDLE,
            lingering_time=LINGER,
            max_headers=MAX_HEADERS,
            auto_decompress=False,
        )

    @contextlib.asynccontextmanager
    async def sweeping(self) -> AsyncIterator[None]:
        """Drops whoever takes too long over a message, for as long as the block lasts."""
        async with asyncio.TaskGroup() as tasks:
            sweeper = tasks.create_task(self._sweep())
            try:
                yield
            finally:
                sweeper.cancel()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            latest = self._loop.time() - WHOLE
            for connection, began in list(self.begun.items()):
                if began > latest:
                    break
                connection.drop()
