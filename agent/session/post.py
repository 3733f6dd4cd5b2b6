"""Carries the session's messages between its machine and the mailbox."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from types import TracebackType

from agent.errors import MailboxError
from agent.mail.desk import Desk
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
        self._me = me
        self._on_change = on_change
        self._changed = changed
        self._lifetime = lifetime
        self._desk = Desk(mailbox, self._take_in, on_trouble, self._undeliverable)
        self.failed = self._desk.failed

    async def __aenter__(self) -> Post:
        await self._desk.__aenter__()
        self._desk.start(self._collect())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._desk.__aexit__(kind, error, trace)

    async def flush(self, timeout: float) -> None:
        """Until everything the machine said has been brought, or this many seconds."""
        self._empty_outbox()
        await self._desk.flush(timeout)

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
            self._desk.send(did, to_message(content, frm=self._me, to=did, expires_time=expires))

    def _undeliverable(self, _: str, error: MailboxError) -> None:
        self._desk.fail(error)
