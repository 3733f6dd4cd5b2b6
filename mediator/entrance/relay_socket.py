"""`GET /relay/1.0`: a side of a relayed pair that has no UDP, on a WebSocket.

Its frames hold batches of datagrams (`traversal/relay_frames.py`), binds among them. What goes to
it is written at once; while the other end does not read, the oldest goes. The stream is read here:
the HTTP library queues and copies each frame, and wakes a task for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import struct
from collections import deque
from collections.abc import Sequence

from aiohttp import hdrs, web

from mediator.entrance.connections import GuardedConnection
from mediator.guard.limits import TokenBuckets
from mediator.relay.service import Relay
from traversal.relay_filter import sorted_out
from traversal.relay_frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    Frames,
    MalformedBatch,
    MalformedFrame,
    OversizedFrame,
    accepted,
    batch,
    frame,
    runs_of,
)
from traversal.relay_server import Channel
from traversal.segments import Data, Run, single

SO_BUF_LOCK = 72  # <asm-generic/socket.h>
MAX_BUFFER = 1024 * 1024  # bytes written and not read yet, over which nothing more is written
MAX_WAITING = 192 * 1024  # bytes that wait then; one frame takes them
FULL_WAIT = 0.005  # seconds until another look at a full buffer
KEPT = 4 * 1024 * 1024  # bytes
# All sockets read into it: each is through with what came before the next one reads.
_ROOM = memoryview(bytearray(256 * 1024))
BINDS, BINDS_AT_ONCE = 5.0, 30  # a second
BIND_WITHIN = 10.0  # seconds; and for as long as it is bound no longer
GOODBYE = 2.0  # seconds for the other end to agree that it closes
# Why a WebSocket is closed, RFC 6455 7.4.1
PROTOCOL, UNSUPPORTED, POLICY, TOO_BIG = 1002, 1003, 1008, 1009


def upgraded(request: web.BaseRequest) -> web.StreamResponse:
    """What says yes to a request for a WebSocket. Source: RFC 6455, section 4.2.2."""
    key = request.headers.get(hdrs.SEC_WEBSOCKET_KEY, "")
    response = web.StreamResponse(status=101)
    response.headers[hdrs.UPGRADE] = "websocket"
    response.headers[hdrs.CONNECTION] = "upgrade"
    response.headers[hdrs.SEC_WEBSOCKET_ACCEPT] = accepted(key)
    response.force_close()
    return response


class RelaySocket(asyncio.BufferedProtocol):
    """One socket, from its first frame to its last; it takes its connection's place for so long."""

    def __init__(self, relay: Relay, connection: GuardedConnection) -> None:
        self._relay = relay
        self._connection = connection
        self._channel = Channel(f"websocket {secrets.token_hex(16)}")
        self._frames = Frames(masked=True)
        self._binds = TokenBuckets(BINDS, BINDS_AT_ONCE)
        self._waiting: deque[Run] = deque()
        self._size_waiting = 0
        self._full = False  # of what the other end has not read
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._closing = False

    async def serve(self) -> None:
        transport = self._connection.transport
        if transport is None:
            return
        _keep_memory()
        _unlock_buffer(transport.get_extra_info("socket"))
        self._relay.enter(self._channel, self._send)
        self._connection.keep_alive(False)
        watching = asyncio.create_task(self._close_unbound())
        try:
            self._connection.set_parser(self)  # type: ignore[arg-type]  # by its two methods
            transport.pause_reading()
            transport.set_protocol(self)
            transport.resume_reading()
            await self._over.wait()
        finally:
            self._relay.leave(self._channel)
            self._clear()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def close(self, *, code: int, message: bytes) -> None:
        """Returns once the other end agrees, or has had its time to."""
        self._hang_up(code, message.decode())
        await self._over.wait()

    # What the transport calls

    def get_buffer(self, _sizehint: int) -> memoryview:
        return _ROOM

    def buffer_updated(self, nbytes: int) -> None:
        if self._connection.arrived(nbytes):
            self._hear(_ROOM[:nbytes])

    def eof_received(self) -> None:
        self._over.set()
        self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._over.set()
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    # What the connection calls, with what came before it was replaced

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._hear(data)
        return self._over.is_set(), b""

    def feed_eof(self) -> None:
        self._over.set()

    def _hear(self, data: Data) -> None:
        whole = False
        try:
            for opcode, content in self._frames.feed(data):
                whole = True
                self._take(opcode, content)
        except OversizedFrame as error:
            self._hang_up(TOO_BIG, str(error))
        except MalformedFrame as error:
            self._hang_up(PROTOCOL, str(error))
        except MalformedBatch as error:
            self._hang_up(UNSUPPORTED, str(error))
        except _TooManyBinds:
            self._hang_up(POLICY, "too many binds")
        if whole:
            self._connection.whole()
            self._connection.finished(self._connection.unfinished - self._frames.pending)

    def _take(self, opcode: int, content: Data) -> None:
        if opcode == CLOSE:
            if not self._closing:
                self._write(frame([bytes(content[:2])], CLOSE))
            self._over.set()
        elif self._closing:
            return
        elif opcode == BINARY:
            self._forward(content)
        elif opcode == PING:
            if not self._binds.take(None):
                self._write(frame([content], PONG))
        elif opcode != PONG:
            self._hang_up(UNSUPPORTED, "binary frames only")

    def _forward(self, content: Data) -> None:
        going: list[Run] = []
        for run in runs_of(content):
            runs, binds = sorted_out(run)
            for bind in binds:
                self._hear_bind(bind)
            going += runs
        flow = self._relay.flow_of(self._channel)
        if flow is not None:
            flow.forward(going)

    def _hear_bind(self, data: bytes) -> None:
        if self._binds.take(None):
            raise _TooManyBinds
        answer = self._relay.handle_bind(data, self._channel, None)
        if answer is not None:
            self._send([single(answer)])

    def _hang_up(self, code: int, why: str) -> None:
        if not self._closing:
            self._closing = True
            self._write(frame([struct.pack("!H", code), why.encode()], CLOSE))
            self._loop.call_later(GOODBYE, self._over.set)

    # What goes to the other end

    def _send(self, runs: Sequence[Run]) -> None:
        transport = self._connection.transport
        if transport is None or transport.is_closing() or self._closing:
            return
        if not self._full and transport.get_write_buffer_size() <= MAX_BUFFER:
            transport.write(frame(batch(runs)))
        else:
            self._keep(runs)

    def _keep(self, runs: Sequence[Run]) -> None:
        # As copies: a view of a small part of a frame would keep all of it.
        self._waiting.extend(Run(run.size, bytes(run.data)) for run in runs)
        self._size_waiting += sum(len(run.data) for run in runs)
        while (excess := self._size_waiting - MAX_WAITING) > 0:
            size, data = self._waiting.popleft()
            going = min(-(-excess // size) * size, len(data))
            self._size_waiting -= going
            if going < len(data):
                self._waiting.appendleft(Run(size, data[going:]))
        if not self._full:
            self._full = True
            self._loop.call_later(FULL_WAIT, self._flush)

    def _flush(self) -> None:
        transport = self._connection.transport
        if transport is None or transport.is_closing() or self._closing:
            self._clear()
        elif transport.get_write_buffer_size() > MAX_BUFFER:
            self._loop.call_later(FULL_WAIT, self._flush)
        else:
            self._full = False
            transport.write(frame(batch(self._waiting)))
            self._clear()

    def _write(self, data: bytes) -> None:
        transport = self._connection.transport
        if transport is not None:
            transport.write(data)

    def _clear(self) -> None:
        self._waiting.clear()
        self._size_waiting = 0

    async def _close_unbound(self) -> None:
        while True:
            await asyncio.sleep(BIND_WITHIN)
            if not self._relay.is_bound(self._channel):
                self._hang_up(POLICY, "not bound")
                return


def _unlock_buffer(connection: socket.socket) -> None:
    """Let the kernel size it by the path again: a fixed one is slow where round trips are long."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_BUFFER)
    with contextlib.suppress(OSError):  # before Linux 5.15 it stays fixed, and larger
        connection.setsockopt(socket.SOL_SOCKET, SO_BUF_LOCK, 0)


def _keep_memory() -> None:
    """Frames are large pieces, which malloc gives back to the system, and gets as page faults.

    One that is larger still, freed once, teaches it to keep them. Source: mallopt(3),
    M_MMAP_THRESHOLD and M_TRIM_THRESHOLD.
    """
    bytes(KEPT)


class _TooManyBinds(Exception):
    """Whoever sends them wants our time, not a relay."""
