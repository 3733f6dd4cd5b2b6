"""`GET /relay/1.0`: a side of a relayed pair that has no UDP, on a WebSocket.

Its frames hold batches of datagrams (`traversal/relay_frames.py`), binds among them. What goes to
it is written once a turn of the loop; while the other end does not read, the oldest goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections import deque
from collections.abc import Sequence
from typing import Literal

from aiohttp import WSMsgType, web

from mediator.entrance.connections import GuardedConnection
from mediator.guard.limits import TokenBuckets
from mediator.relay.service import Relay
from traversal.relay_frames import MalformedBatch, batch, datagrams_of, frame
from traversal.relay_server import Channel, is_bind

MAX_BUFFER = 1024 * 1024  # bytes written and not read yet, over which nothing more is written
MAX_WAITING = 256  # datagrams that wait then
FULL_WAIT = 0.005  # seconds until another look at a full buffer
BATCH = 64 * 1024  # bytes of a frame, about
BINDS, BINDS_AT_ONCE = 5.0, 30  # a second
BIND_WITHIN = 10.0  # seconds; and for as long as it is bound no longer
POLICY, UNSUPPORTED = 1008, 1003  # why a WebSocket is closed, RFC 6455 7.4.1


class RelaySocket:
    """One socket, from its first frame to its last."""

    def __init__(
        self,
        relay: Relay,
        websocket: web.WebSocketResponse[Literal[False]],
        connection: GuardedConnection,
    ) -> None:
        self._relay = relay
        self._socket = websocket
        self._connection = connection
        self._channel = Channel(f"websocket {secrets.token_hex(16)}")
        self._binds = TokenBuckets(BINDS, BINDS_AT_ONCE)
        self._waiting: deque[bytes] = deque(maxlen=MAX_WAITING)
        self._planned = False
        self._loop = asyncio.get_running_loop()

    async def serve(self) -> None:
        transport = self._connection.transport
        if transport is not None:
            transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_BUFFER
            )
        self._relay.enter(self._channel, self._send)
        watching = asyncio.create_task(self._close_unbound())
        try:
            with contextlib.suppress(ConnectionError):
                await self._read()
        finally:
            self._relay.leave(self._channel)
            self._waiting.clear()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _read(self) -> None:
        async for message in self._socket:
            data = message.data
            if message.type is WSMsgType.BINARY:
                self._connection.whole()
                try:
                    self._forward(data)
                except MalformedBatch:
                    await self._socket.close(code=UNSUPPORTED, message=b"not a batch")
                except _TooManyBinds:
                    await self._socket.close(code=POLICY, message=b"too many binds")
            elif message.type is WSMsgType.TEXT:
                await self._socket.close(code=UNSUPPORTED, message=b"binary frames only")
            elif message.type is WSMsgType.PING and not self._binds.take(None):
                await self._socket.pong(data)
            self._connection.finished(len(data) if isinstance(data, bytes) else 0)

    def _forward(self, content: bytes) -> None:
        datagrams: list[bytes] = []
        for data in datagrams_of(content):
            if is_bind(data):
                self._pass_on(datagrams)
                datagrams = []
                self._hear_bind(data)
            else:
                datagrams.append(data)
        self._pass_on(datagrams)

    def _pass_on(self, datagrams: list[bytes]) -> None:
        flow = self._relay.flow_of(self._channel)
        if flow is not None:
            flow.forward(datagrams)

    def _hear_bind(self, data: bytes) -> None:
        if self._binds.take(None):
            raise _TooManyBinds
        answer = self._relay.handle_bind(data, self._channel, None)
        if answer is not None:
            self._send([answer])

    def _send(self, datagrams: Sequence[bytes]) -> None:
        self._waiting.extend(datagrams)
        if not self._planned:
            self._planned = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._planned = False
        transport = self._connection.transport
        if transport is None or transport.is_closing() or self._socket.closed:
            self._waiting.clear()
            return
        if transport.get_write_buffer_size() > MAX_BUFFER:
            self._planned = True
            self._loop.call_later(FULL_WAIT, self._flush)
            return
        while self._waiting:
            size, now = 0, []
            while self._waiting and size < BATCH:
                now.append(self._waiting.popleft())
                size += len(now[-1])
            transport.write(frame(batch(now)))

    async def _close_unbound(self) -> None:
        while True:
            await asyncio.sleep(BIND_WITHIN)
            if not self._relay.is_bound(self._channel):
                await self._socket.close(code=POLICY, message=b"not bound")
                return


class _TooManyBinds(Exception):
    """Whoever sends them wants our time, not a relay."""
