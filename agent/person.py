"""The person we work for, asked while mail goes on coming in: at the terminal or by a program.

With `--answers` questions are events, `{"event": "question", "question": 3, "text": "Let bob in?",
"kind": "admit", …}`, and standard input takes JSON lines: `{"question": 3, "answer": "yes"}`, or
`{"say": "lock"}` for what a person would type unasked. An answer names its question, so that a
click that comes late agrees to nothing else.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
from types import TracebackType
from typing import Self

import click

from agent.plain import plain
from agent.report import Report

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

    async def line(self, question: str, kind: str, **about: object) -> str:  # noqa: ARG002
        """One line in answer to a question; one question at a time.

        `kind` and `about` are for programs: what the question's text says to a person.
        """
        async with self._asking:
            click.echo(f"agent: {plain(question)} ", err=True, nl=False)
            self._question = asyncio.get_running_loop().create_future()
            try:
                return await self._question
            finally:
                self._question = None

    async def agrees(self, question: str, kind: str, **about: object) -> bool:
        """Yes or no; an empty line is a yes."""
        while True:
            answer = (await self.line(f"{question} [Y/n]", kind, **about)).strip().lower()
            if answer in _YES | _NO:
                return answer in _YES

    def _read(self) -> None:
        try:
            data = os.read(sys.stdin.fileno(), MAX_LINE)
        except OSError:
            data = b""
        if not data:
            self._stop()
            self._hang_up()
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-MAX_LINE:]
        for line in lines:
            self._take(line.decode("utf-8", "replace").strip())

    def _hang_up(self) -> None:
        """No more lines will come; what runs goes on without anybody to ask."""

    def _take(self, line: str) -> None:
        if self._question is not None and not self._question.done():
            self._question.set_result(line)
        else:
            self._words.put_nowait(line)

    def _stop(self) -> None:
        if self._reads:
            self._reads = False
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())


class PersonBehindProgram(Person):
    """Asks by events of the report; several questions may be open at a time."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.is_there = True
        self._report = report
        self._numbers = itertools.count(1)
        self._open: dict[int, asyncio.Future[str]] = {}

    async def line(self, question: str, kind: str, **about: object) -> str:
        number = next(self._numbers)
        self._open[number] = asyncio.get_running_loop().create_future()
        self._report.event("question", question=number, text=question, kind=kind, **about)
        try:
            return await self._open[number]
        finally:
            del self._open[number]
            self._report.event("answered", question=number)

    async def agrees(self, question: str, kind: str, **about: object) -> bool:
        """Only a clear yes is one: no person has typed this line."""
        return (await self.line(question, kind, **about)) == "yes"

    def _hang_up(self) -> None:
        """The program that asked for us is gone: as if a terminal had closed."""
        signal.raise_signal(signal.SIGINT)

    def _take(self, line: str) -> None:
        try:
            told = json.loads(line)
        except (ValueError, RecursionError):
            return
        match told:
            case {"say": str(words)}:
                self._words.put_nowait(words)
            case {"question": int(number), "answer": str(answer)}:
                waiting = self._open.get(number)
                if waiting is not None and not waiting.done():
                    waiting.set_result(answer)


def person_for(report: Report, *, answers: bool) -> Person:
    """Whom to ask, as the option --answers says."""
    return PersonBehindProgram(report) if answers else Person()
