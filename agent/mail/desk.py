"""Where one conversation's mail is read and written, and its other work done, for as long as it is.

What was taken in is acknowledged afterwards, so that a crash in between only means to see it again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from agent.errors import MailboxError
from agent.mail.carrier import Carrier
from agent.mail.letters import Received
from agent.mail.mailbox import Mailbox
from messaging.message import Message


class Desk:
    """Runs for as long as it is entered; `failed` becomes an exception if it cannot go on.

    `take_in` says of a letter whether it was ours; what was not is left for others. `on_trouble`
    gets words for a person; `on_failure` a party that something can never be brought to, and why.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        take_in: Callable[[Received], bool],
        on_trouble: Callable[[str], None],
        on_failure: Callable[[str, MailboxError], None],
    ) -> None:
        self._mailbox = mailbox
        self._take_in = take_in
        self._carrier = Carrier(mailbox, on_trouble, on_failure)
        self._tasks: set[asyncio.Task[None]] = set()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> Self:
        self.start(self._receive())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._carrier.__aexit__(kind, error, trace)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run beside; an error of it is an error of the conversation."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._note_end)

    def send(self, did: str, message: Message) -> None:
        """`message` has an expiry: until then it is tried."""
        self._carrier.put(did, message)

    async def flush(self, seconds: float) -> None:
        """Until everything has been brought, or so many seconds."""
        await self._carrier.flush(seconds)

    def fail(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    async def _receive(self) -> None:
        async with contextlib.aclosing(self._mailbox.received()) as letters:
            async for received in letters:
                if self._take_in(received):
                    await received.acknowledge()
                else:
                    received.leave()

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fail(error)
