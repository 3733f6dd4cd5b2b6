"""The newest message of each kind and party; a session moves on by what hangs here."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.session.descriptor import Proposal
from agent.session.statements import Kind, Statement
from messaging.protocols.session import Offer, Say

MAX_EARLY = 4 * len(Kind)  # statements of one party that we cannot read yet


@dataclass
class Board:
    """By party, as DID."""

    proposals: dict[str, Proposal] = field(default_factory=dict)
    offers: dict[str, Offer] = field(default_factory=dict)
    statements: dict[tuple[str, Kind], Statement] = field(default_factory=dict)
    _early: dict[tuple[str, str], Say] = field(default_factory=dict)

    def remember_early(self, sender: str, said: Say) -> None:
        """Keep the few newest statements of each party that we cannot read yet."""
        mine = [key for key in self._early if key[0] == sender]
        if len(mine) >= MAX_EARLY:
            del self._early[mine[0]]
        self._early[sender, said.statement] = said

    def early(self, session: str) -> list[tuple[str, Say]]:
        """What was remembered of this session, with its senders."""
        kept = self._early.items()
        return [(sender, said) for (sender, _), said in kept if said.session == session]

    def said(self, kind: Kind) -> set[str]:
        """Who made this statement."""
        return {did for did, said in self.statements if said is kind}

    def offered(self, session: str | None) -> set[str]:
        """Who made an offer for this session."""
        return {did for did, offer in self.offers.items() if offer.session == session}
