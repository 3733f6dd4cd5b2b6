"""The newest message of each kind and party; a session moves on by what hangs here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from agent.session.descriptor import Draft, Proposal, alike
from agent.session.events import State
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

    def missing(self, state: State, session: str | None, all_of: Sequence[str]) -> tuple[str, ...]:
        """Who of these has not sent what this state waits for."""
        match state:
            case State.PROPOSING:
                have = set(self.proposals)
            case State.SIGNING:
                have = self.said(Kind.AGREE) & self.offered(session)
            case State.READY:
                have = self.said(Kind.READY)
            case State.FINISHING:
                have = self.said(Kind.RESULT)
            case _:
                return ()
        return tuple(did for did in all_of if did not in have)

    def results_differ(self, draft: Draft) -> bool:
        """Whether two who learn the same have not the same result; all have said theirs."""
        said = [str(self.statements[did, Kind.RESULT].facts.get("sha256")) for did in draft.parties]
        groups = alike(draft.roles, draft.outputs)
        return any(len({said[rank] for rank in group}) > 1 for group in groups)

    def offered(self, session: str | None) -> set[str]:
        """Who made an offer for this session."""
        return {did for did, offer in self.offers.items() if offer.session == session}


def read_abort(parties: Sequence[str], statement: Statement) -> tuple[str, str, bool]:
    """Why somebody stops, whose fault it is, and whether that one was lost."""
    about = statement.facts.get("about")
    known = isinstance(about, int) and 0 <= about < len(parties)
    party = parties[about] if known and about is not None else parties[statement.rank]
    reason = str(statement.facts.get("reason", "no reason given"))
    return reason, party, statement.facts.get("lost") is True
