"""The mediator's door: bytes in, bytes out, over HTTP and WebSocket alike.

A 2xx answer to a POST says that the message was accepted; what became of it is for
the dispatcher to say. Any Content-Type is let in, since clients in use send several.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson
from aiohttp import StreamReader, WSMsgType, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage

from mediator.dispatch import Answer, Dispatcher
from mediator.live import Connection, LiveAccounts

log = logging.getLogger(__name__)

BODY_TIMEOUT = 30.0  # seconds for a request's body to arrive
HEARTBEAT = 30.0  # seconds between pings that find dead sockets
GOODBYE = 2.0  # seconds for the other end of a socket to agree that it closes
DRAIN = 10.0  # seconds for requests under way when the mediator stops

Page = Callable[[], Mapping[str, Any]]


class Web:
    """Chooses by method and path; there is too little to choose from for a router."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        live: LiveAccounts,
        *,
        public_url: str,
        max_bytes: int,
        pages: Mapping[str, Page],
    ) -> None:
        prefix = urlsplit(public_url).path.rstrip("/")
        self._inboxes = {"/", prefix or "/", f"{prefix}/"}
        self._sockets = {"/ws", f"{prefix}/ws"}
        self._pages = {f"{p}{path}": page for p in ("", prefix) for path, page in pages.items()}
        self._dispatcher = dispatcher
        self._live = live
        self._max_bytes = max_bytes
        self._open_sockets: set[web.WebSocketResponse] = set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == hdrs.METH_POST and request.path in self._inboxes:
            return await self._post(request)
        if request.method == hdrs.METH_GET and request.path in self._sockets:
            return await self._websocket(request)
        page = self._pages.get(request.path)
        if page is not None and request.method in {hdrs.METH_GET, hdrs.METH_HEAD}:
            return web.Response(body=orjson.dumps(page()), content_type="application/json")
        if page is not None or request.path in self._inboxes | self._sockets:
            return _plain(405, f"{request.method} is nothing for {request.path}")
        return _plain(404, f"nothing at {request.path}")

    async def close_sockets(self) -> None:
        """Tell everyone connected that the mediator goes away; their mail stays."""
        goodbyes = [
            socket.close(code=1001, message=b"the mediator stops") for socket in self._open_sockets
        ]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN):
                await asyncio.gather(*goodbyes, return_exceptions=True)

    async def _post(self, request: web.BaseRequest) -> web.StreamResponse:
        if (request.content_length or 0) > self._max_bytes:
            return self._too_large()
        if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            async with asyncio.timeout(BODY_TIMEOUT):
                data = await request.read()
        except TimeoutError:
            return _plain(408, "the body did not arrive in time")
        except web.HTTPRequestEntityTooLarge:
            return self._too_large()
        return _response(await self._dispatcher.handle(data))

    def _too_large(self) -> web.Response:
        response = _plain(413, f"a message has at most {self._max_bytes} bytes")
        response.force_close()
        return response

    async def _websocket(self, request: web.BaseRequest) -> web.StreamResponse:
        # No compression: a small frame must not become a large message.
        socket = web.WebSocketResponse(
            timeout=GOODBYE, heartbeat=HEARTBEAT, max_msg_size=self._max_bytes, compress=False
        )
        if not socket.can_prepare(request).ok:
            return _plain(426, "this is the address for WebSockets")
        await socket.prepare(request)
        self._open_sockets.add(socket)
        try:
            await self._serve(socket)
        finally:
            self._open_sockets.discard(socket)
        return socket

    async def _serve(self, socket: web.WebSocketResponse) -> None:
        async def send(envelope: bytes) -> None:
            # Text, since some clients read nothing else; an envelope is JSON.
            await socket.send_str(envelope.decode())

        async with asyncio.TaskGroup() as tasks:
            connection = Connection(self._live, send, tasks)
            try:
                await self._read(socket, connection)
            finally:
                connection.close()

    async def _read(self, socket: web.WebSocketResponse, connection: Connection) -> None:
        with contextlib.suppress(ConnectionError):
            async for frame in socket:
                if frame.type not in {WSMsgType.TEXT, WSMsgType.BINARY}:
                    continue
                data = frame.data.encode() if isinstance(frame.data, str) else frame.data
                answer = await self._dispatcher.handle(data, connection)
                if answer.body:
                    await connection.send(answer.body)
                connection.answered()


def _response(answer: Answer) -> web.Response:
    response = web.Response(status=answer.status, body=answer.body)
    if answer.body:
        response.headers[hdrs.CONTENT_TYPE] = answer.media_type
    return response


def _plain(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n")


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
