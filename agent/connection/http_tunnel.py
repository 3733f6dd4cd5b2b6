"""A WebSocket of our own: through a proxy by CONNECT, with TLS where the URL says so.

The HTTP library speaks CONNECT for TLS only, and copies every frame several times.
Source: RFC 6455, sections 4 and 5; RFC 9110, section 9.3.6.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import os
import socket
import ssl
import urllib.request
from collections.abc import Callable
from typing import cast
from urllib.parse import SplitResult, unquote, urlsplit

from resolvers.guarded import Policy, vetted
from traversal.relay_frames import accepted

READ_SIZE = 256 * 1024  # bytes taken from the kernel at once
MAX_HEAD = 16 * 1024  # bytes of an answer's head
PORTS = {"ws": 80, "wss": 443, "http": 80}


class Refused(Exception):
    """Somebody on the way answers, but not what a WebSocket needs."""


class Stream(asyncio.BufferedProtocol):
    """One connection: answers of HTTP are awaited, then `take` gets every piece as it comes.

    A piece is a view of one buffer, which the next is read into. `asyncio`'s own streams copy each
    piece three times, and wake a task for it.
    """

    transport: asyncio.Transport  # from `connection_made` on

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(READ_SIZE))
        self._read = bytearray()
        self._came = asyncio.Event()
        self._take: Callable[[memoryview], None] | None = None
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = self._buffer[:nbytes]
        if self._take is None:
            self._read += data
            self._came.set()
            if len(self._read) > MAX_HEAD:
                self.transport.abort()
        else:
            self._take(data)

    def connection_lost(self, _exc: Exception | None) -> None:
        self.lost.set()
        self._came.set()

    async def head(self) -> list[str]:
        """The lines of an answer's head. Raises: Refused."""
        while (end := self._read.find(b"\r\n\r\n")) < 0:
            if self.lost.is_set():
                raise Refused("an answer without an end")
            self._came.clear()
            await self._came.wait()
        lines = self._read[:end].decode("latin-1").split("\r\n")
        del self._read[: end + 4]
        return lines

    async def start_tls(self, context: ssl.SSLContext, hostname: str | None) -> None:
        loop = asyncio.get_running_loop()
        transport = await loop.start_tls(self.transport, self, context, server_hostname=hostname)
        if transport is None:
            raise Refused("the connection ended before TLS began")
        self.transport = transport

    def hand_over(self, take: Callable[[memoryview], None]) -> None:
        """From now on; what has come already first."""
        self._take = take
        if self._read:
            take(memoryview(bytes(self._read)))
            self._read.clear()


async def connect(url: str, context: ssl.SSLContext, policy: Policy | None = None) -> Stream:
    """An open WebSocket, after its handshake; where the policy, if any, allows it.

    Raises: Refused, TargetRefused, OSError.
    """
    if policy is not None:
        vetted(url, policy)
    target = urlsplit(url)
    proxy = _proxy_for(target)
    host, port = _place(target if proxy is None else proxy)
    if proxy is None and policy is not None:
        host = await _allowed_address(host, port, policy)
    _, stream = await asyncio.get_running_loop().create_connection(Stream, host, port)
    try:
        if proxy is not None:
            await _ask_proxy(stream, proxy, target)
        if target.scheme == "wss":
            await stream.start_tls(context, target.hostname)
        await _shake_hands(stream, target)
    except BaseException:
        stream.transport.abort()
        raise
    return stream


async def _allowed_address(host: str, port: int, policy: Policy) -> str:
    """The one to connect to; a name stands for all of its addresses, and one refused is enough."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for *_, place in found:
        policy.check(ipaddress.ip_address(str(place[0]).partition("%")[0]), port)
    return str(found[0][4][0])


def _proxy_for(target: SplitResult) -> SplitResult | None:
    """As HTTP_PROXY, HTTPS_PROXY and NO_PROXY say. Raises: Refused."""
    host, _ = _place(target)
    if urllib.request.proxy_bypass(host):
        return None
    scheme = "https" if target.scheme == "wss" else "http"
    named = urllib.request.getproxies_environment().get(scheme)
    if named is None:
        return None
    proxy = urlsplit(named if "://" in named else f"http://{named}")
    if proxy.scheme != "http" or not proxy.hostname:
        raise Refused(f"{scheme.upper()}_PROXY is not the URL of an HTTP proxy")
    return proxy


async def _ask_proxy(stream: Stream, proxy: SplitResult, target: SplitResult) -> None:
    authority = _authority(target)
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if proxy.username is not None:
        credentials = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        lines.append(
            f"Proxy-Authorization: Basic {base64.b64encode(credentials.encode()).decode()}"
        )
    status, _ = await _exchange(stream, lines)
    if not 200 <= status < 300:
        raise Refused(f"the proxy refuses the connection with status {status}")


async def _shake_hands(stream: Stream, target: SplitResult) -> None:
    key = base64.b64encode(os.urandom(16)).decode()
    path = target.path or "/"
    status, headers = await _exchange(
        stream,
        [
            f"GET {path}{'?' + target.query if target.query else ''} HTTP/1.1",
            f"Host: {_authority(target)}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        ],
    )
    if status != 101 or headers.get("sec-websocket-accept") != accepted(key):
        raise Refused(f"no WebSocket is opened: status {status}")


async def _exchange(stream: Stream, lines: list[str]) -> tuple[int, dict[str, str]]:
    """Send a request without a body; status and headers of the answer."""
    stream.transport.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    first, *rest = await stream.head()
    words = first.split()
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdecimal():
        raise Refused("not an answer of HTTP")
    headers = (line.partition(":") for line in rest)
    return int(words[1]), {name.strip().lower(): value.strip() for name, _, value in headers}


def _authority(target: SplitResult) -> str:
    host, port = _place(target)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _place(parts: SplitResult) -> tuple[str, int]:
    return parts.hostname or "", parts.port or PORTS[parts.scheme]
