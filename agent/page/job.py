"""A command that the page started: its events, what it is answered, and how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agent.network_helper.client import HANDED_OVER
from agent.page.orders import Order
from agent.profile import PASSPHRASE_VARIABLE

MAX_LINE = 16 * 1024 * 1024  # bytes of an event; a result is the longest
MAX_EVENTS = 20_000  # kept for a page that is loaded again
SECONDS_TO_ANSWER = 120.0
AGENT = (sys.executable, "-I", "-m", "agent")


class Job:
    """One command with --json; `changed` is set and renewed whenever something happened."""

    def __init__(self, order: Order) -> None:
        self.id = secrets.token_urlsafe(8)
        self.words = order.words
        self.events: list[dict[str, Any]] = []
        self.code: int | None = None
        self.changed = asyncio.Event()
        self.interrupted = False
        self._order = order
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def run(self, helper: socket.socket | None) -> None:
        """To its end, or until cancelled: then it is interrupted as by a person, and waited for."""
        words = list(self.words)
        handed = []  # files of ours that it reads
        for option, text in (
            ("--input=@", "\n".join(self._order.inputs)),
            ("--claim=", self._order.claim),
        ):
            if text:
                handed.append(_memory_file(text))
                words.insert(1, f"{option}/proc/self/fd/{handed[-1]}")
        passed = [*handed]
        environment = dict(os.environ)
        if helper is not None:
            environment[HANDED_OVER] = str(helper.fileno())
            passed.append(helper.fileno())
        try:
            self._process = await asyncio.create_subprocess_exec(
                *AGENT,
                *words,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                pass_fds=passed,
                env=environment,
                limit=MAX_LINE,
            )
        finally:
            for number in handed:
                os.close(number)
            if helper is not None:
                helper.close()
        try:
            await self._read(self._process.stdout)
            self.code = await self._process.wait()
        finally:
            if self.code is None:
                self.interrupt()
                self.code = await asyncio.shield(self._process.wait())
            self._tell()

    def answer(self, told: Mapping[str, Any]) -> None:
        """One line on its standard input; a command that has ended hears nothing."""
        if self._process is not None and self._process.stdin is not None and self.code is None:
            with contextlib.suppress(ConnectionError, RuntimeError):
                self._process.stdin.write(json.dumps(told).encode() + b"\n")

    def interrupt(self) -> None:
        self.interrupted = True
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT)

    async def news(self, since: int, timeout: float) -> None:
        """Until there are events after the first `since`, or it has ended, or time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while len(self.events) <= since and self.code is None:
                    await self.changed.wait()

    async def _read(self, output: asyncio.StreamReader | None) -> None:
        assert output is not None  # noqa: S101 - we asked for a pipe
        while line := await output.readline():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict) and len(self.events) < MAX_EVENTS:
                    self.events.append(event)
                    self._tell()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


async def ask(order: Order) -> tuple[int, str]:
    """A command that ends by itself: its exit code, and its standard output."""
    environment = dict(os.environ)
    if order.passphrase is not None:
        environment[PASSPHRASE_VARIABLE] = order.passphrase
    with _folder_of(order.files) as folder:
        process = await asyncio.create_subprocess_exec(
            *AGENT,
            *order.words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            cwd=folder,
            env=environment,
        )
        try:
            async with asyncio.timeout(SECONDS_TO_ANSWER):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    return int(process.returncode or 0), output.decode("utf-8", "replace")


@contextlib.contextmanager
def _folder_of(files: Mapping[str, str]) -> Iterator[str | None]:
    """A folder that holds just these for a while, if there are any."""
    if not files:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="didmesh-") as folder:
        for name, text in files.items():
            Path(folder, name).write_text(text, "utf-8", "replace")
        yield folder


def _memory_file(text: str) -> int:
    """A file without a name that holds this; other users of the machine cannot read it."""
    number = os.memfd_create("handed")
    os.write(number, text.encode())
    return number
