"""A final roster at its host, from the moment it goes out until everybody has signed it."""

from __future__ import annotations

from collections.abc import Mapping

from agent.lobby.echo import all_echo, is_echo, sign
from agent.lobby.events import Gathered
from agent.session.statements import Speaker
from identity.document import DidDocument
from messaging.protocols.lobby import Begin, Settle


class Signing:
    """Echoes are checked as soon as it is known whose key is whose, and false ones dropped."""

    def __init__(self, lobby: str, me: str, speaker: Speaker) -> None:
        self.gathered: Gathered | None = None
        self.confirmed = False  # our owner has seen the roster, and its phrase
        self._lobby, self._me, self._speaker = lobby, me, speaker
        self._echoes: dict[str, str] = {}
        self._unchecked: dict[str, str] = {}
        self._documents: dict[str, DidDocument] = {}

    def start(self, gathered: Gathered) -> None:
        self.stop()
        self.gathered = gathered

    def stop(self) -> None:
        """The roster is not final any more: what was signed counts for nothing."""
        self.gathered = None
        self.confirmed = False
        self._echoes.clear()
        self._unchecked.clear()

    def take(self, guest: str, echo: str) -> None:
        self._unchecked[guest] = echo

    def know(self, documents: Mapping[str, DidDocument]) -> None:
        self._documents.update(documents)

    def has(self, guest: str) -> bool:
        return guest in self._echoes

    def settle(self, seq: int) -> Settle:
        gathered = self.final()
        draft = gathered.draft.to_json()
        nonces, created = gathered.nonces, gathered.created
        return Settle(self._lobby, seq, draft, nonces, created, gathered.claims)

    def begin(self, seq: int) -> Begin | None:
        """Once everybody has signed, and our owner has confirmed."""
        gathered = self.final()
        for guest in self._unchecked.keys() & self._documents.keys():
            echo = self._unchecked.pop(guest)
            if is_echo(echo, self._lobby, gathered, guest, self._documents):
                self._echoes[guest] = echo
        guests = [party for party in gathered.draft.parties if party != self._me]
        if not self.confirmed or not all(map(self.has, guests)):
            return None
        self._echoes[self._me] = sign(self._lobby, gathered, self._me, self._speaker)
        statements = tuple(self._echoes[party] for party in gathered.draft.parties)
        if not all_echo(statements, self._lobby, gathered, self._documents):
            return None
        return Begin(self._lobby, seq, statements)

    def final(self) -> Gathered:
        """The roster that is final, where one is."""
        if self.gathered is None:
            raise RuntimeError("no roster is final")
        return self.gathered
