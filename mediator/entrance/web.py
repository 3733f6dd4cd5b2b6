"""The mediator's door: bytes in, bytes out, over HTTP and WebSocket alike.

A 2xx answer to a POST says that the message was accepted; what became of it is for
the dispatcher to say. Any Content-Type is let in, since clients in use send several.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, cast
from urllib.parse import urlsplit

from aiohttp import StreamReader, WSMsgType, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage

from mediator.delivery.live import Connection, LiveAccounts
from mediator.delivery.outbound import HOPS, MAX_HOPS
from mediator.entrance.connections import GuardedConnection
from mediator.entrance.relay_socket import RelaySocket, upgraded
from mediator.guard.limits import TOO_MANY_REQUESTS, Guard, TokenBuckets
from mediator.handlers.dispatch import Answer, Dispatcher
from mediator.relay.rules import PATH as RELAY_PATH
from mediator.relay.service import Relay

log = logging.getLogger(__name__)

BODY_TIMEOUT = 30.0  # seconds for a request's body to arrive
HEARTBEAT = 30.0  # seconds between pings that find dead sockets
SEND_TIMEOUT = 30.0  # seconds for somebody to read what was sent
SMALL = 16 * 1024  # bytes of an answer that nobody needs to watch
PINGS = 2.0  # a second, over time, that a client may send on a socket
GOODBYE = 2.0  # seconds for the other end of a socket to agree that it closes

MESSAGES = {WSMsgType.TEXT, WSMsgType.BINARY}
# Wallets in browsers come from any page: an envelope says who sends it, no cookie does.
ANY_ORIGIN = {hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*"}
PREFLIGHT = {
    **ANY_ORIGIN,
    hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, POST",
    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "*",
    hdrs.ACCESS_CONTROL_MAX_AGE: "86400",
}
Page = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Web:
    """Chooses by method and path; there is too little to choose from for a router."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        live: LiveAccounts,
        guard: Guard,
        *,
        public_url: str,
        max_bytes: int,
        pages: Mapping[str, Page],
        responded: Callable[[int], None],
        relay: Relay | None,
    ) -> None:
        prefix = urlsplit(public_url).path.rstrip("/")
        self._relay = relay
        self._relays = set() if relay is None else {RELAY_PATH, f"{prefix}{RELAY_PATH}"}
        self._inboxes = {"/", prefix or "/", f"{prefix}/"}
        self._sockets = {"/ws", f"{prefix}/ws"}
        self._pages = {f"{p}{path}": page for p in ("", prefix) for path, page in pages.items()}
        self._pages |= {prefix: pages["/"]} if prefix else {}
        self._responded = responded
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False
        self.dispatcher = dispatcher
        self.live = live
        self.guard = guard
        self._max_bytes = max_bytes
        self._open_sockets: set[web.WebSocketResponse[Literal[False]] | RelaySocket] = set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._under_way += 1
        self._idle.clear()
        try:
            response = await self._handle(request)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()
        if self._draining:
            response.force_close()
        self._responded(response.status)
        return response

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = cast(GuardedConnection, request.protocol)
        forwarded = request.headers.getall(hdrs.X_FORWARDED_FOR, ())
        address = self.guard.client(connection.peer, forwarded) if forwarded else connection.address
        if wait := self.guard.wait_of_address(address):
            connection.whole()
            return _busy(TOO_MANY_REQUESTS, "too many requests from your address", wait)
        try:
            return await self._choose(request, connection, address)
        except (ConnectionError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not connection.dropped:
                raise
            connection.drop()  # whoever asked has gone, or had to
            return web.Response()
        finally:
            connection.whole()
            connection.finished(connection.unfinished)

    async def _choose(
        self, request: web.BaseRequest, connection: GuardedConnection, address: str | None
    ) -> web.StreamResponse:
        if request.method == hdrs.METH_POST and request.path in self._inboxes:
            return await self._post(request, connection, address)
        if request.method == hdrs.METH_GET and request.path in self._sockets:
            return await self._websocket(request, connection, address)
        if request.method == hdrs.METH_GET and request.path in self._relays:
            return await self._websocket(request, connection, address, self._relay)
        if request.method == hdrs.METH_OPTIONS and request.path in self._inboxes | set(self._pages):
            return web.Response(status=204, headers=PREFLIGHT)
        page = self._pages.get(request.path)
        if page is not None and request.method in {hdrs.METH_GET, hdrs.METH_HEAD}:
            response = await page(request)
            response.headers.update(ANY_ORIGIN)
            return response
        if page is not None or request.path in self._inboxes | self._sockets | self._relays:
            return _plain(405, f"{request.method} is nothing for {request.path}")
        return _plain(404, f"nothing at {request.path}")

    async def drain(self, seconds: float) -> None:
        """Finish what is under way, and tell everyone connected to go; their mail stays."""
        self._draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                goodbyes = [
                    socket.close(code=1001, message=b"the mediator stops")
                    for socket in self._open_sockets
                ]
                await asyncio.gather(self._idle.wait(), *goodbyes, return_exceptions=True)

    async def _post(
        self, request: web.BaseRequest, connection: GuardedConnection, address: str | None
    ) -> web.StreamResponse:
        if (request.content_length or 0) > self._max_bytes:
            return self._too_large()
        if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
            return _refused(415, "a message comes as it is, without an encoding of its content")
        if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            data = await _body(request, self._max_bytes)
        except TimeoutError:
            return _plain(408, "the body did not arrive in time")
        if len(data) > self._max_bytes:
            return self._too_large()
        connection.whole()
        answer = await self.dispatcher.handle(data, address=address, hops=_hops(request))
        response = _response(answer)
        if len(answer.body) > SMALL:
            await self._send(request, response, len(answer.body))
        return response

    async def _send(self, request: web.BaseRequest, response: web.Response, size: int) -> None:
        """Wait for the other end to read, but not for ever, and with so many at most."""
        drop = cast(GuardedConnection, request.protocol).drop
        with self.guard.leaving.holding(size, drop):
            try:
                async with asyncio.timeout(SEND_TIMEOUT):
                    await response.prepare(request)
                    await response.write_eof()
            except TimeoutError:
                drop()

    def _too_large(self) -> web.Response:
        return _refused(413, f"a message has at most {self._max_bytes} bytes")

    async def _websocket(
        self,
        request: web.BaseRequest,
        connection: GuardedConnection,
        address: str | None,
        relay: Relay | None = None,
    ) -> web.StreamResponse:
        """For messages or, with `relay`, for a side of a relayed pair."""
        # No compression: a small frame must not become a large message.
        socket: web.WebSocketResponse[Literal[False]] = web.WebSocketResponse(
            timeout=GOODBYE,
            heartbeat=HEARTBEAT,
            max_msg_size=self._max_bytes,
            compress=False,
            autoping=False,
            decode_text=False,
        )
        if not _can_prepare(socket, request):
            return _plain(426, "this is the address for WebSockets")
        if not self.guard.sockets.enter(address):
            return _busy(503, "too many sockets", HEARTBEAT)
        response = socket if relay is None else upgraded(request)
        closing = socket if relay is None else RelaySocket(relay, connection)
        try:
            await response.prepare(request)
            connection.finished(connection.unfinished)
            self._open_sockets.add(closing)
            if isinstance(closing, RelaySocket):
                await closing.serve()
            else:
                await _OneSocket(self, socket, connection, address, _hops(request)).serve()
        finally:
            self.guard.sockets.leave(address)
            self._open_sockets.discard(closing)
        return response


class _OneSocket:
    """A WebSocket for as long as it is open: reads, has it answered, and sends."""

    def __init__(
        self,
        door: Web,
        socket: web.WebSocketResponse[Literal[False]],
        connection: GuardedConnection,
        address: str | None,
        hops: int,
    ) -> None:
        self._hops = hops
        self._dispatcher = door.dispatcher
        self._live = door.live
        self._guard = door.guard
        self._socket = socket
        self._connection = connection
        self._address = address
        self._pings = TokenBuckets(PINGS, 100)

    async def serve(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            connection = Connection(self._live, self._send, tasks)
            try:
                with contextlib.suppress(ConnectionError):
                    await self._read(connection)
            finally:
                connection.close()

    async def _send(self, envelope: bytes) -> None:
        """Returns when the other end reads; one that never does is dropped with its socket.

        Raises: ConnectionError.
        """
        with self._guard.leaving.holding(len(envelope), self._connection.drop):
            try:
                async with asyncio.timeout(SEND_TIMEOUT):
                    # Text, since some clients read nothing else; an envelope is JSON.
                    await self._socket.send_frame(envelope, WSMsgType.TEXT)
            except TimeoutError as error:
                self._connection.drop()
                raise ConnectionResetError("the other end does not read") from error

    async def _read(self, connection: Connection) -> None:
        async for frame in self._socket:
            data = frame.data
            if frame.type not in {*MESSAGES, WSMsgType.PING, WSMsgType.PONG}:
                continue
            if frame.type in MESSAGES:
                self._connection.whole()
                await self._wait_for_turn()
                answer = await self._dispatcher.handle(data, connection, self._address, self._hops)
                if answer.body:
                    await self._send(answer.body)
                connection.answered()
            elif self._pings.take(None):
                await self._socket.close(code=1008, message=b"too many pings")
            elif frame.type is WSMsgType.PING:
                await self._socket.pong(data)
            self._connection.finished(len(data))

    async def _wait_for_turn(self) -> None:
        """Who sends too fast is not read for a while; TCP tells the sender."""
        wait = self._guard.wait_of_address(self._address)
        while wait:
            await asyncio.sleep(wait)
            wait = self._guard.wait_of_address(self._address)


async def _body(request: web.BaseRequest, max_bytes: int) -> bytes:
    """All of it, or more than is allowed.

    Raises: TimeoutError.
    """
    if request.content.is_eof():  # all of it is there: mostly so, and there is nothing to wait for
        return request.content.read_nowait()
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            while len(body) <= max_bytes and (chunk := await request.content.readany()):
                body += chunk
    except BaseException:
        body.clear()  # the error's traceback may stay for a while, and must not keep it
        raise
    return bytes(body)


def _response(answer: Answer) -> web.Response:
    response = web.Response(status=answer.status, body=answer.body, headers=ANY_ORIGIN)
    if answer.body:
        response.headers[hdrs.CONTENT_TYPE] = answer.media_type
    return response


def _busy(status: int, text: str, wait: float) -> web.Response:
    response = _refused(status, text)
    response.headers[hdrs.RETRY_AFTER] = str(math.ceil(wait))
    return response


def _refused(status: int, text: str) -> web.Response:
    """What is still to come of the request is not read."""
    response = _plain(status, text)
    response.force_close()
    return response


def _can_prepare(socket: web.WebSocketResponse[Literal[False]], request: web.BaseRequest) -> bool:
    try:
        return bool(socket.can_prepare(request))
    except ValueError:  # a key that is not ASCII
        return False


def _plain(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n", headers=ANY_ORIGIN)


def _hops(request: web.BaseRequest) -> int:
    """How many mediators passed it on, as the last of them says."""
    text = request.headers.get(HOPS, "0")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 4 else MAX_HOPS


def limited_request(max_bytes: int) -> Callable[..., web.BaseRequest]:
    """A request factory that stops reading a body at the limit."""

    def make(
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        loop = asyncio.get_running_loop()
        return web.BaseRequest(
            message, payload, protocol, writer, task, loop, client_max_size=max_bytes
        )

    return make
