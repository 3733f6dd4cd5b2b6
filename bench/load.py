"""Posting over a few connections at once, as cheaply as this language can: a load generator
shares the machine with what it measures.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

CONNECTIONS = 8
TICKS = os.sysconf("SC_CLK_TCK")


class Refused(Exception):
    """An answer that is not 2xx, or to a forward one with a body (a problem report)."""


async def post_all(url: str, envelopes: Iterable[bytes], *, silent: bool = True) -> list[float]:
    """Post each once; the seconds each took, in the order of their answers.

    `silent`: nothing may come back with the 2xx, since a problem report would.

    Raises: Refused, in an ExceptionGroup.
    """
    waiting = iter(envelopes)
    latencies: list[float] = []

    async def connection() -> None:
        target = urlsplit(url)
        reader, writer = await asyncio.open_connection(target.hostname, target.port)
        for envelope in waiting:
            began = time.perf_counter()
            writer.write(_request(target.path, target.netloc, envelope))
            head = await reader.readuntil(b"\r\n\r\n")
            latencies.append(time.perf_counter() - began)
            body = await _body(reader, head)
            if head[9:10] != b"2" or (silent and body not in {b"", b"null"}):
                raise Refused((head + body[:500]).decode(errors="replace"))
        writer.close()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CONNECTIONS):
            tasks.create_task(connection())
    return latencies


def cpu_seconds(pid: int) -> float:
    """User and system time of a process with all its threads, so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def tree_cpu_seconds(pid: int) -> float:
    """Also of its children, those that ended included: a database server has one a connection."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(_cpu_with_ended(int(one)) for one in [pid, *children])


def _cpu_with_ended(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS


def _request(path: str, host: str, body: bytes) -> bytes:
    return (
        b"POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n"
        b"Content-Type: application/didcomm-encrypted+json\r\n\r\n"
        % ((path or "/").encode(), host.encode(), len(body))
        + body
    )


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    lines = head.lower().split(b"\r\n")
    if b"transfer-encoding: chunked" not in lines:
        lengths = [int(line[15:]) for line in lines if line.startswith(b"content-length:")]
        return await reader.readexactly(sum(lengths))
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return body
