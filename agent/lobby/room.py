"""What both sides of a lobby stand on, and how a lobby can end without a session."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agent.claims.issuers import Issuers
from agent.claims.wallet import Wallet
from agent.contacts import Contacts
from agent.errors import AgentError, Exit
from agent.lobby.files import LobbyFile
from agent.mail.mailbox import Mailbox
from agent.person import Person
from agent.report import Report
from agent.session.descriptor import Descriptor
from agent.words import phrase
from identity.document import DidDocument
from resolvers.resolver import Resolver


class LobbyOver(AgentError):
    """No session comes of it: refused, closed, expired."""

    exit_code = Exit.REFUSED


class WentAway(AgentError):
    """Our owner interrupted us; the lobby goes on without us for a while."""


@dataclass(frozen=True)
class Room:
    me: str
    mailbox: Mailbox
    resolver: Resolver
    contacts: Contacts
    person: Person
    report: Report
    file: LobbyFile
    issuers: Issuers
    wallet: Wallet
    trusting: bool  # everything is agreed to beforehand: nobody is asked

    def tell(self, what: str, text: str, **facts: object) -> None:
        self.report.event("lobby", what=what, text=text, **facts)

    def trouble(self, text: str) -> None:
        self.tell("mail", text)

    async def documents(self, parties: Sequence[str]) -> dict[str, DidDocument]:
        return {did: await self.resolver.resolve(did) for did in parties}

    async def same_phrase(self, descriptor: Descriptor) -> bool:
        """Show the phrase; whether the others read the same, as far as there is one to ask."""
        words = await asyncio.to_thread(phrase, descriptor.id)
        self.report.event("phrase", words=words, session=descriptor.id)
        if self.trusting or not self.person.is_there:
            return True
        return await self.person.agrees("Do the others read the same words?", "phrase", words=words)


@contextlib.contextmanager
def interruptible(over: asyncio.Future[Any], hint: str) -> Iterator[None]:
    """Let an interrupt end the wait for `over`, rather than the process."""

    def stop() -> None:
        if not over.done():
            over.set_exception(WentAway("you left the lobby waiting", hint))

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
