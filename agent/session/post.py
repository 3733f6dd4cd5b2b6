"""Carries the session's messages between its machine and the mailbox.

Messages to one party leave in the order in which the machine made them; a slow mediator of one
party delays nobody else's. What was taken in is acknowledged afterwards, so that a crash in
between only means to see it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from types import TracebackType

from agent.errors import MailboxError
from agent.mail.mailbox import Mailbox, Received
from agent.session.machine import SessionMachine
from messaging.errors import MalformedMessage
from messaging.protocols.session import SessionMessage, from_message, to_message

LIFETIME = 600  # seconds after which a mediator may drop one of our messages, at least
_log = logging.getLogger(__name__)


class Post:
    """Runs for as long as it is entered; `on_change` is called after every message taken in."""

    def __init__(
        self,
        machine: SessionMachine,
        mailbox: Mailbox,
        me: str,
        on_change: Callable[[], None],
        lifetime: int = LIFETIME,
    ) -> None:
        self._machine = machine
        self._mailbox = mailbox
        self._me = me
        self._on_change = on_change
        self._lifetime = lifetime
        self._bags: dict[str, asyncio.Queue[SessionMessage]] = {}
        self._carriers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Post:
        self._carriers = [
            asyncio.create_task(self._receive()),
            asyncio.create_task(self._collect()),
        ]
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
                self._carriers.append(asyncio.create_task(self._carry(did, self._bags[did])))
            self._bags[did].put_nowait(message)

    async def _carry(self, did: str, bag: asyncio.Queue[SessionMessage]) -> None:
        while True:
            content = await bag.get()
            expires = int(time.time()) + self._lifetime
            message = to_message(content, frm=self._me, to=did, expires_time=expires)
            try:
                await self._mailbox.send(message, did, expires)
            except MailboxError as error:
                _log.warning("could not bring a message: %s", error)
            finally:
                bag.task_done()
