"""A running session answers its owner's other commands, over a socket only its owner can open.

The socket is $DIDMESH_HOME/sessions/PID-RANDOM.sock, mode 0600, in a folder of mode 0700. Whoever
connects sends one line, the kind that is wanted, and reads the answer to its end. Keys are told
this way and never written to the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

MAX_QUESTION, MAX_ANSWER = 100, 1024 * 1024  # bytes
ANSWER_SECONDS = 5.0


@contextlib.asynccontextmanager
async def answering(path: Path, answer: Callable[[str], str]) -> AsyncIterator[None]:
    """Answer while entered; `answer` gives the text for any question, perhaps an empty one."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, ValueError):
            async with asyncio.timeout(ANSWER_SECONDS):
                question = (await reader.readline()).decode("ascii").strip()
                writer.write(answer(question).encode())
                await writer.drain()

    with _below(path) as short:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            sock.bind(short)
        finally:
            os.umask(before)
    server = await asyncio.start_unix_server(serve, sock=sock, limit=MAX_QUESTION)
    try:
        yield
    finally:
        server.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 - a socket's name; nothing is waited for


def ask(path: Path, question: str) -> str:
    """What the session behind this socket says; empty if it has no answer.

    Raises: OSError, if it is not there or silent.
    """
    with _below(path) as short, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(ANSWER_SECONDS)
        sock.connect(short)
        sock.sendall(f"{question}\n".encode())
        parts = bytearray()
        while len(parts) <= MAX_ANSWER and (part := sock.recv(65536)):
            parts += part
        return parts.decode()


@contextlib.contextmanager
def _below(path: Path):  # type: ignore[no-untyped-def]
    """A name for this path that fits in 107 bytes, however long its folder's name is."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
