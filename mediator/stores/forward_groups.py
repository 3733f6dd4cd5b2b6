"""Forwards in groups, each one call and one commit of the database.

What arrives while a group is under way forms the next one, in its order, so groups
grow with the load and nobody waits for a timer. A forward is answered when its group
is committed, never before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mediator.stores.interface import StoreUnavailable

MAX_GROUP = 64
MAX_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Forwarded:
    """One request, ready to be written; digests are taken outside the group."""

    recipient: bytes
    envelopes: Sequence[bytes]
    digests: Sequence[bytes]
    sender: bytes | None
    expires: int
    now: int


Outcome = Any
# Writes a group in one transaction; an outcome each, in their order.
Write = Callable[[Sequence[Forwarded]], Awaitable[Sequence[Outcome]]]


class ForwardGroups:
    """Use as an async context manager; on exit what was handed in is written."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._pending: list[tuple[Forwarded, asyncio.Future[Outcome]]] = []
        self._work = asyncio.Event()
        self._closing = False

    async def __aenter__(self) -> ForwardGroups:
        self._writer = asyncio.create_task(self._write_groups())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        self._work.set()
        await self._writer

    async def run(self, forwarded: Forwarded) -> Outcome:
        """Raises: StoreUnavailable, or what went wrong with this one alone."""
        if self._closing:
            raise StoreUnavailable("the store is closed")
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._pending.append((forwarded, future))
        self._work.set()
        return await future

    async def _write_groups(self) -> None:
        while self._pending or not self._closing:
            await self._work.wait()
            self._work.clear()
            while self._pending:
                count = self._group_size()
                group, self._pending = self._pending[:count], self._pending[count:]
                await self._write_group(group)

    def _group_size(self) -> int:
        size = 0
        for count, (forwarded, _) in enumerate(self._pending[:MAX_GROUP]):
            size += sum(map(len, forwarded.envelopes))
            if count and size > MAX_BYTES:
                return count
        return min(len(self._pending), MAX_GROUP)

    async def _write_group(self, group: list[tuple[Forwarded, asyncio.Future[Outcome]]]) -> None:
        try:
            outcomes = await self._write([forwarded for forwarded, _ in group])
        except Exception as error:  # whatever it was: it must not end the writer
            if len(group) == 1 or isinstance(error, StoreUnavailable):
                outcomes = [error] * len(group)
            else:  # nor take the neighbours with it
                for one in group:
                    await self._write_group([one])
                return
        for (_, future), outcome in zip(group, outcomes, strict=True):
            if future.done():  # whoever asked has gone; what is written stands
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
