"""What a session's machine wants to have brought, and what it has had mailed already."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from agent.session.statements import Statement
from messaging.protocols.session import Say, SessionMessage


class Outbox:
    def __init__(self, others: Sequence[str]) -> None:
        self._others = tuple(others)
        self._messages: list[tuple[str, SessionMessage]] = []
        self._mailed: set[tuple[str, str]] = set()

    def put(self, party: str, message: SessionMessage) -> None:
        self._messages.append((party, message))

    def put_all(self, message: SessionMessage) -> None:
        """The same for everybody."""
        self._messages += [(party, message) for party in self._others]

    def put_once(self, parties: Collection[str], said: Statement) -> None:
        """For those of these parties to whom it was not mailed before."""
        for party in self._others:
            if party in parties and (party, said.text) not in self._mailed:
                self._mailed.add((party, said.text))
                self.put(party, Say(said.session, said.text))

    def take(self) -> list[tuple[str, SessionMessage]]:
        """(party's DID, message) pairs; each is handed out once."""
        taken, self._messages = self._messages, []
        return taken
