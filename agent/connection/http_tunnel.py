"""A WebSocket of our own: through a proxy by CONNECT, with TLS where the URL says so.

The HTTP library speaks CONNECT for TLS only, and copies every frame several times.
Source: RFC 6455, sections 4 and 5; RFC 9110, section 9.3.6.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ipaddress
import os
import socket
import ssl
import urllib.request
from urllib.parse import SplitResult, unquote, urlsplit

from agent.connection.masking import MASK_SIZE, unmasked
from resolvers.guarded import Policy, vetted
from traversal.relay_frames import MAX_FRAME

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MAX_HEAD = 16 * 1024  # bytes of an answer's head
PORTS = {"ws": 80, "wss": 443, "http": 80}


class Refused(Exception):
    """Somebody on the way answers, but not what a WebSocket needs."""


async def connect(
    url: str, context: ssl.SSLContext, policy: Policy | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
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
    reader, writer = await asyncio.open_connection(host, port, limit=2 * MAX_FRAME)
    try:
        if proxy is not None:
            await _ask_proxy(reader, writer, proxy, target)
        if target.scheme == "wss":
            await writer.start_tls(context, server_hostname=target.hostname)
        await _shake_hands(reader, writer, target)
    except BaseException:
        writer.transport.abort()
        raise
    return reader, writer


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Opcode and content of one whole frame. Raises: Refused, IncompleteReadError."""
    first, second = await reader.readexactly(2)
    size = second & 0x7F
    if size > 125:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8))
    if size > MAX_FRAME or not first & 0x80:
        raise Refused("a frame that is too long, or in parts")
    mask = await reader.readexactly(MASK_SIZE) if second & 0x80 else None
    content = await reader.readexactly(size)
    return first & 0xF, content if mask is None else unmasked(content, mask)


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


async def _ask_proxy(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    proxy: SplitResult,
    target: SplitResult,
) -> None:
    authority = _authority(target)
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if proxy.username is not None:
        credentials = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        lines.append(
            f"Proxy-Authorization: Basic {base64.b64encode(credentials.encode()).decode()}"
        )
    status, _ = await _exchange(reader, writer, lines)
    if not 200 <= status < 300:
        raise Refused(f"the proxy refuses the connection with status {status}")


async def _shake_hands(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: SplitResult
) -> None:
    key = base64.b64encode(os.urandom(16)).decode()
    path = target.path or "/"
    status, headers = await _exchange(
        reader,
        writer,
        [
            f"GET {path}{'?' + target.query if target.query else ''} HTTP/1.1",
            f"Host: {_authority(target)}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        ],
    )
    wanted = base64.b64encode(hashlib.sha1(f"{key}{GUID}".encode()).digest()).decode()  # noqa: S324  RFC 6455 wants it
    if status != 101 or headers.get("sec-websocket-accept") != wanted:
        raise Refused(f"no WebSocket is opened: status {status}")


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lines: list[str]
) -> tuple[int, dict[str, str]]:
    """Send a request without a body; status and headers of the answer."""
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise Refused("an answer without an end") from error
    first, *rest = head[:MAX_HEAD].decode("latin-1").split("\r\n")
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
