"""The person at the terminal, asked while mail goes on coming in; or nobody."""

from __future__ import annotations

import asyncio
import os
import sys
from types import TracebackType
from typing import Self

import click

from agent.plain import plain

_YES, _NO = frozenset({"y", "yes", ""}), frozenset({"n", "no"})
MAX_LINE = 4096  # bytes


class Person:
    """An async context manager that reads lines of standard input while it is open.

    `is_there` tells whether questions can be answered: on a terminal they can. Lines that answer
    no question are words of the person's own, see `word`.
    """

    def __init__(self) -> None:
        self.is_there = sys.stdin.isatty() and sys.stderr.isatty()
        self._words: asyncio.Queue[str] = asyncio.Queue()
        self._question: asyncio.Future[str] | None = None
        self._asking = asyncio.Lock()
        self._rest = b""
        self._reads = False

    async def __aenter__(self) -> Self:
        try:
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._read)
            self._reads = True
        except (OSError, ValueError):
            self.is_there = False  # a plain file, or closed: nobody is there
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    async def word(self) -> str:
        """The next line that nobody asked for."""
        return await self._words.get()

    async def line(self, question: str) -> str:
        """One line in answer to a question; one question at a time."""
        async with self._asking:
            click.echo(f"agent: {plain(question)} ", err=True, nl=False)
            self._question = asyncio.get_running_loop().create_future()
            try:
                return await self._question
            finally:
                self._question = None

    async def agrees(self, question: str) -> bool:
        """Yes or no; an empty line is a yes."""
        while True:
            answer = (await self.line(f"{question} [Y/n]")).strip().lower()
            if answer in _YES | _NO:
                return answer in _YES

    def _read(self) -> None:
        try:
            data = os.read(sys.stdin.fileno(), MAX_LINE)
        except OSError:
            data = b""
        if not data:
            self._stop()
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-MAX_LINE:]
        for line in lines:
            self._take(line.decode("utf-8", "replace").strip())

    def _take(self, line: str) -> None:
        if self._question is not None and not self._question.done():
            self._question.set_result(line)
        else:
            self._words.put_nowait(line)

    def _stop(self) -> None:
        if self._reads:
            self._reads = False
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
