"""An HTTP proxy, for places where nothing else leads out: CONNECT, and plain requests.

Only TCP passes, and only to ports that such proxies let through. A connection serves one
destination, and what follows its first request is passed on as it is, upgrades included.

    python -m lab.proxy PORT     # runs until it is ended
"""

import asyncio
import contextlib
import sys
from typing import NamedTuple
from urllib.parse import urlsplit

PORTS = (80, 443)  # where it connects to
CHUNK = 1 << 16


class Request(NamedTuple):
    """Where to, and what to send there first; None for CONNECT, which wants an answer instead."""

    host: str
    port: int
    head: bytes | None


def read_request(head: bytes) -> Request:
    """Raises: ValueError, for a request that no proxy serves."""
    first, _, rest = head.partition(b"\r\n")
    method, target, version = first.decode("ascii").split(" ")
    if method == "CONNECT":
        host, _, port = target.rpartition(":")
        return Request(host.strip("[]"), int(port), None)
    url = urlsplit(target)
    if url.scheme != "http" or url.hostname is None:
        raise ValueError(target)
    path = f"{url.path or '/'}{'?' if url.query else ''}{url.query}"
    first_line = f"{method} {path} {version}".encode()
    return Request(url.hostname, url.port or 80, b"\r\n".join([first_line, *_fields(rest)]))


def _fields(rest: bytes) -> list[bytes]:
    """The header's lines; the server is to close after its answer unless it is an upgrade."""
    lines = rest.split(b"\r\n")
    names = [line.partition(b":")[0].lower() for line in lines]
    if b"upgrade" in names:
        return lines
    kept = [line for line, name in zip(lines, names, strict=True) if b"connection" not in name]
    return [b"Connection: close", *kept]


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
        try:
            request = read_request(await reader.readuntil(b"\r\n\r\n"))
        except ValueError:
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            return
        if request.port not in PORTS:
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        await _connect(request, reader, writer)


async def _connect(
    request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        inward, outward = await asyncio.open_connection(request.host, request.port)
    except OSError:
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        return
    if request.head is None:
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    else:
        outward.write(request.head)
    with contextlib.closing(outward):
        await asyncio.gather(_pass_on(reader, outward), _pass_on(inward, writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()


async def run(port: int) -> None:
    async with await asyncio.start_server(_serve, "0.0.0.0", port) as server:
        print("ready", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1])))
