"""Carries a lobby's messages between its machine and the mailbox, and keeps its state.

The state is on the disk before anything is sent or acknowledged that depends on it. Mail for other
lobbies, and for sessions, is left for those who read it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

from agent.errors import MailboxError
from agent.mail.desk import Desk
from agent.mail.letters import Received
from agent.mail.mailbox import Mailbox
from messaging.errors import MalformedMessage
from messaging.protocols.lobby import LobbyMessage, from_message, to_message

TICK = 0.25  # seconds
_log = logging.getLogger(__name__)


class Machine(Protocol):
    def handle_message(self, sender: str, message: Any, now: float) -> None: ...
    def handle_timer(self, now: float) -> None: ...
    def next_timer(self) -> float | None: ...
    def messages_to_send(self) -> list[tuple[str, Any]]: ...


class Courier:
    """Runs for as long as it is entered; `failed` becomes an exception if it cannot go on.

    `on_change` is called after whatever may have changed the machine, `aside` gets what is not for
    the machine and says whether it was for us.
    """

    def __init__(
        self,
        machine: Machine,
        mailbox: Mailbox,
        lobby: str,
        expires: int,
        *,
        on_change: Callable[[], None],
        on_trouble: Callable[[str], None],
        aside: Callable[[str, LobbyMessage], bool],
        save: Callable[[], None],
    ) -> None:
        self._machine, self._mailbox = machine, mailbox
        self._lobby, self._expires = lobby, expires
        self._on_change, self._save, self._aside = on_change, save, aside
        self._on_trouble = on_trouble
        self._desk = Desk(mailbox, self._take_in, on_trouble, self._undeliverable)
        self.failed = self._desk.failed
        self.start = self._desk.start
        self.flush = self._desk.flush

    async def __aenter__(self) -> Self:
        self.pump()
        await self._desk.__aenter__()
        self.start(self._tick())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._desk.__aexit__(kind, error, trace)

    def pump(self) -> None:
        """Act on what the machine tells, keep its state, and send what it says."""
        self._on_change()
        self._save()
        for did, content in self._machine.messages_to_send():
            self.send(did, content)

    def send(self, did: str, content: LobbyMessage) -> None:
        expires = max(self._expires, int(time.time()) + 60)
        message = to_message(content, frm=self._mailbox.did, to=did, expires_time=expires)
        self._desk.send(did, message)

    def _take_in(self, received: Received) -> bool:
        """Whether this was for our lobby (or for nobody: it cannot be read)."""
        opened = received.opened
        if opened.sender is None:
            return False
        try:
            content = from_message(opened.message)
        except MalformedMessage as error:
            _log.debug("dropped a malformed lobby message: %s", error)
            return True
        if content is None:
            return False
        if getattr(content, "lobby", None) != self._lobby:
            return self._aside(opened.sender, content)
        self._machine.handle_message(opened.sender, content, time.time())
        self.pump()
        return True

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            now = time.time()
            timer = self._machine.next_timer()
            if timer is not None and now >= timer:
                self._machine.handle_timer(now)
                self.pump()

    def _undeliverable(self, _: str, error: MailboxError) -> None:
        self._on_trouble(str(error))
