"""Carries the session's messages between its machine and the mailbox.

Messages to one party leave in the order in which the machine made them; a slow mediator of one
party delays nobody else's, and one that is away is asked again for as long as the message lives.
What was taken in is acknowledged afterwards, so that a crash in between only means to see it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any

from agent.mail.delivery import NotDelivered
from agent.mail.letters import Received
from agent.mail.mailbox import Mailbox
from agent.session.machine import SessionMachine
from messaging.errors import MalformedMessage
from messaging.protocols.session import SessionMessage, from_message, to_message

LIFETIME = 600  # seconds after which a mediator may drop one of our messages, at least
PATIENCE = 15.0  # seconds of trying before a person hears of it
_log = logging.getLogger(__name__)


class Post:
    """Runs for as long as it is entered; `on_change` is called after every message taken in.

    `failed` becomes an exception if it cannot go on; `on_trouble` gets words for a person.
    """

    def __init__(
        self,
        machine: SessionMachine,
        mailbox: Mailbox,
        me: str,
        on_change: Callable[[], None],
        on_trouble: Callable[[str], None],
        lifetime: int,
    ) -> None:
        self._machine = machine
        self._mailbox = mailbox
        self._me = me
        self._on_change = on_change
        self._on_trouble = on_trouble
        self._lifetime = lifetime
        self._bags: dict[str, asyncio.Queue[SessionMessage]] = {}
        self._carriers: list[asyncio.Task[None]] = []
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
        for task in self._carriers:
            task.cancel()
        await asyncio.gather(*self._carriers, return_exceptions=True)

    async def flush(self, timeout: float) -> None:
        """Until everything the machine said has been brought, or this many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                self._empty_outbox()
                for bag in self._bags.values():
                    await bag.join()

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
            await asyncio.sleep(0.02)

    def _empty_outbox(self) -> None:
        for did, message in self._machine.messages_to_send():
            if did not in self._bags:
                self._bags[did] = asyncio.Queue()
                self._start(self._carry(did, self._bags[did]))
            self._bags[did].put_nowait(message)

    async def _carry(self, did: str, bag: asyncio.Queue[SessionMessage]) -> None:
        while True:
            content = await bag.get()
            try:
                await self._bring(did, content)
            finally:
                bag.task_done()

    async def _bring(self, did: str, content: SessionMessage) -> None:
        """Raises: MailboxError, if it can never be brought, or not as long as it is of use."""
        expires = int(time.time()) + self._lifetime
        message = to_message(content, frm=self._me, to=did, expires_time=expires)
        while True:
            try:
                return await self._mailbox.send(message, did, expires, seconds=PATIENCE)
            except NotDelivered as error:
                if time.time() > expires:
                    raise
                self._on_trouble(f"{error}; trying again")

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(self._note_end)
        self._carriers.append(task)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and not self.failed.done():
            error = task.exception()
            if error is not None:
                self.failed.set_exception(error)
