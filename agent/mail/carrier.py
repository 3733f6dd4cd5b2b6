"""Brings messages to parties, and does not give up on one before its time is over.

Messages to one party leave in the order in which they were put in; a slow mediator of one party
delays nobody else's, and one that is away is asked again for as long as the message lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from agent.errors import MailboxError
from agent.mail.delivery import NotDelivered
from agent.mail.mailbox import Mailbox
from messaging.message import Message

PATIENCE = 15.0  # seconds of trying before a person hears of it


class Carrier:
    """Runs for as long as it is entered.

    `on_trouble` gets words for a person; `on_failure` a party that something can never be brought
    to, and why.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        on_trouble: Callable[[str], None],
        on_failure: Callable[[str, MailboxError], None],
    ) -> None:
        self._mailbox = mailbox
        self._on_trouble = on_trouble
        self._on_failure = on_failure
        self._bags: dict[str, asyncio.Queue[Message]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def put(self, did: str, message: Message) -> None:
        """`message` has an expiry: until then it is tried."""
        if did not in self._bags:
            self._bags[did] = asyncio.Queue()
            self._tasks.append(asyncio.create_task(self._carry(did, self._bags[did])))
        self._bags[did].put_nowait(message)

    async def flush(self, timeout: float) -> None:
        """Until everything has been brought, or this many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                for bag in self._bags.values():
                    await bag.join()

    async def _carry(self, did: str, bag: asyncio.Queue[Message]) -> None:
        while True:
            message = await bag.get()
            try:
                await self._bring(did, message)
            except MailboxError as error:
                self._on_failure(did, error)
            finally:
                bag.task_done()

    async def _bring(self, did: str, message: Message) -> None:
        """Raises: MailboxError, if it can never be brought, or not as long as it is of use."""
        while True:
            try:
                return await self._mailbox.send(message, did, seconds=PATIENCE)
            except NotDelivered as error:
                if time.time() > (message.expires_time or 0):
                    raise
                self._on_trouble(f"{error}; trying again")
