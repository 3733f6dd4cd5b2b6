"""What a session's machine says: signed for the record, or put out to be brought to others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from agent.session.board import Board
from agent.session.descriptor import Descriptor
from agent.session.statements import Kind, Speaker, Statement
from messaging.protocols.session import Say, SessionMessage


class Voice:
    def __init__(self, speaker: Speaker, me: str, others: Sequence[str], board: Board) -> None:
        self._speaker, self._me, self._others = speaker, me, tuple(others)
        self._board = board
        self._messages: list[tuple[str, SessionMessage]] = []
        self._mailed: set[tuple[str, str]] = set()

    def sign(
        self, kind: Kind, facts: Mapping[str, Any], descriptor: Descriptor, now: float
    ) -> Statement:
        """Pin it for the record; it travels in an offer or by pulse, unless it is put out."""
        rank, session, epoch = descriptor.rank(self._me), descriptor.id, descriptor.epoch
        statement = self._speaker.say(kind, session, rank, int(now), facts, epoch)
        self._board.statements[self._me, kind] = statement
        return statement

    def last(self) -> Statement | None:
        """The last thing we said for the record; it can be repeated on any path.

        Without `agree`: whoever has our offer, has it too, and nobody can go on without the offer.
        """
        mine = [
            said
            for (did, kind), said in self._board.statements.items()
            if did == self._me and kind is not Kind.AGREE
        ]
        return mine[-1] if mine else None

    def put(self, party: str, message: SessionMessage) -> None:
        self._messages.append((party, message))

    def put_all(self, message: SessionMessage) -> None:
        """The same for everybody."""
        self._messages += [(party, message) for party in self._others]

    def put_last(self, parties: Collection[str]) -> None:
        """What we said last, for those of these parties to whom it was not put before."""
        said = self.last()
        for party in self._others:
            if said and party in parties and (party, said.text) not in self._mailed:
                self._mailed.add((party, said.text))
                self.put(party, Say(said.session, said.text))

    def take(self) -> list[tuple[str, SessionMessage]]:
        """(party's DID, message) pairs; each is handed out once."""
        taken, self._messages = self._messages, []
        return taken
