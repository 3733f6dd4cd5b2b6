"""Carries the session's messages between its machine and the mailbox.

What was taken in is acknowledged afterwards, so that a crash in between only means to see it again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any

from agent.errors import MailboxError
from agent.mail.carrier import Carrier
from agent.mail.letters import Received
from agent.mail.mailbox import Mailbox
from agent.session.machine import SessionMachine
from messaging.errors import MalformedMessage
from messaging.protocols.session import from_message, to_message

LIFETIME = 600  # seconds after which a mediator may drop one of our messages, at least
_log = logging.getLogger(__name__)


class Post:
    """Runs for as long as it is entered; `on_change` is called after every message taken in.

    `changed` is set whenever the machine may have something to say.
    `failed` becomes an exception if it cannot go on; `on_trouble` gets words for a person.
    """

    def __init__(
        self,
        machine: SessionMachine,
        mailbox: Mailbox,
        me: str,
        on_change: Callable[[], None],
        changed: asyncio.Event,
        on_trouble: Callable[[str], None],
        lifetime: int,
    ) -> None:
        self._machine = machine
        self._mailbox = mailbox
        self._me = me
        self._on_change = on_change
        self._changed = changed
        self._lifetime = lifetime
        self._carrier = Carrier(mailbox, on_trouble, self._undeliverable)
        self._tasks: list[asyncio.Task[None]] = []
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> Post:
        self._start(self._receive())
        self._start(self._collect())
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
        await self._carrier.__aexit__(kind, error, trace)

    async def flush(self, timeout: float) -> None:
        """Until everything the machine said has been brought, or this many seconds."""
        self._empty_outbox()
        await self._carrier.flush(timeout)

    async def _receive(self) -> None:
        async for received in self._mailbox.received():
            if self._take_in(received):
                await received.acknowledge()

    def _take_in(self, received: Received) -> bool:
        """Whether this was for our session (or for nobody: it cannot be read)."""
        opened = received.opened
        if opened.sender is None:
            return False
        try:
            message = from_message(opened.message)
        except MalformedMessage as error:
            _log.debug("dropped a malformed session message: %s", error)
            return True
        if message is None or not self._machine.concerns(opened.sender, message):
            return False
        self._machine.handle_message(opened.sender, message, time.time())
        self._on_change()
        self._empty_outbox()
        return True

    async def _collect(self) -> None:
        """Look for new messages also when it was not a message that made them."""
        while True:
            self._empty_outbox()
            await self._changed.wait()
            self._changed.clear()

    def _empty_outbox(self) -> None:
        expires = int(time.time()) + self._lifetime
        for did, content in self._machine.messages_to_send():
            message = to_message(content, frm=self._me, to=did, expires_time=expires)
            self._carrier.put(did, message)

    def _undeliverable(self, _: str, error: MailboxError) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(self._note_end)
        self._tasks.append(task)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and not self.failed.done():
            error = task.exception()
            if error is not None:
                self.failed.set_exception(error)
