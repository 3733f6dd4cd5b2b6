"""Grouped commits: many changes, one synchronisation with the disk.

Statements are quick and run in the event loop, between two awaits; the commit is
slow (it waits for the disk) and runs in a thread of its own. What arrives while a
commit is under way forms the next group, so groups grow with the load and nobody
waits for a timer. A change is answered when its group is on disk, never before.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from mediator.stores.interface import StoreRefusal, StoreUnavailable

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]

# A group is executed without giving way to anybody else, so it has an end.
MAX_GROUP = 64
_BY_TRIGGER = "SQLITE_CONSTRAINT_TRIGGER"


@dataclass(frozen=True)
class _Pending:
    operation: Operation[Any]
    future: asyncio.Future[Any]


class GroupCommit:
    """Owns the one connection that writes; use as an async context manager."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._pending: list[_Pending] = []
        self._work = asyncio.Event()
        self._closing = False

    async def __aenter__(self) -> GroupCommit:
        self._thread = ThreadPoolExecutor(1, "commit")
        self._writer = asyncio.create_task(self._write_groups())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Commit what was handed in, then stop."""
        self._closing = True
        self._work.set()
        await self._writer
        self._thread.shutdown()

    async def run(self, operation: Operation[T]) -> T:
        """The operation's result, once it is on disk.

        An operation that raises a StoreRefusal must leave the data as it wants them
        kept: its group is committed all the same.
        """
        if self._closing:
            raise sqlite3.ProgrammingError("the store is closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._pending.append(_Pending(operation, future))
        self._work.set()
        return await future

    async def _write_groups(self) -> None:
        while self._pending or not self._closing:
            await self._work.wait()
            self._work.clear()
            while self._pending:
                group, self._pending = self._pending[:MAX_GROUP], self._pending[MAX_GROUP:]
                try:
                    await self._write(group)
                except Exception:  # whatever it was: it must not take its neighbours with it
                    for pending in group:
                        await self._write_alone(pending)

    async def _write_alone(self, pending: _Pending) -> None:
        try:
            await self._write([pending])
        except Exception as error:
            if not pending.future.done():
                pending.future.set_exception(_known(error))

    async def _write(self, group: list[_Pending]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            outcomes = [_attempt(pending.operation, self._connection) for pending in group]
            await asyncio.get_running_loop().run_in_executor(
                self._thread, self._connection.execute, "COMMIT"
            )
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise
        for pending, outcome in zip(group, outcomes, strict=True):
            _answer(pending.future, outcome)


def _known(error: Exception) -> Exception:
    refused = isinstance(error, sqlite3.IntegrityError) and error.sqlite_errorname == _BY_TRIGGER
    if not isinstance(error, sqlite3.OperationalError) and not refused:
        return error
    known = StoreUnavailable(str(error))  # the disk is full, or gone; or all has moved elsewhere
    known.__cause__ = error
    return known


def _attempt(operation: Operation[Any], connection: sqlite3.Connection) -> Any:
    try:
        return operation(connection)
    except StoreRefusal as refusal:
        return refusal


def _answer(future: asyncio.Future[Any], outcome: Any) -> None:
    if future.done():  # whoever asked has gone; the change stands
        return
    if isinstance(outcome, StoreRefusal):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
