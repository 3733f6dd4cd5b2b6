"""The newest message of each kind and party; a session moves on by what hangs here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.session.descriptor import Descriptor, Draft, Proposal, alike
from agent.session.events import State
from agent.session.statements import FalseStatement, Kind, Statement, clip, verify
from identity.document import DidDocument
from messaging.protocols.session import Offer, Say

MAX_EARLY = 4 * len(Kind)  # statements of one party that we cannot read yet
MAX_OFFERS = 4  # of one party, for as many sessions: somebody may be starting over just now


@dataclass
class Board:
    """By party, as DID."""

    documents: Mapping[int, DidDocument]  # by rank
    proposals: dict[str, Proposal] = field(default_factory=dict)
    statements: dict[tuple[str, Kind], Statement] = field(default_factory=dict)
    _offers: dict[tuple[str, str], Offer] = field(default_factory=dict)  # by session, too
    _early: dict[tuple[str, str], Say] = field(default_factory=dict)

    def pin_statement(self, sender: str, said: Say, descriptor: Descriptor) -> Statement | None:
        """What the sender signed for this session; the first of each kind is kept.

        None, if it did not, or not for the present epoch.
        """
        try:
            statement = verify(said.statement, self.documents)
        except FalseStatement:
            return None
        named = statement.session, statement.epoch, descriptor.parties[statement.rank]
        if named != (descriptor.id, descriptor.epoch, sender):
            return None
        self.statements.setdefault((sender, statement.kind), statement)
        return statement

    def statements_of(self, session: str | None) -> list[Statement]:
        """By rank and kind."""
        ours = [said for said in self.statements.values() if said.session == session]
        return sorted(ours, key=lambda said: (said.rank, list(Kind).index(said.kind)))

    def over(self, descriptor: Descriptor, me: str, *, agreed: bool) -> frozenset[str]:
        """The nonces that end with this session, which had everybody's signature or not.

        Without it, somebody may be in another session with the nonce that it has here, and may be
        met in the next epoch with the same; but not who has stopped.
        """
        nonces = zip(descriptor.parties, descriptor.content["nonces"], strict=True)
        stopped = self.said(Kind.ABORT) | {me}
        return frozenset(nonce for did, nonce in nonces if agreed or did in stopped)

    def pin_offer(self, sender: str, offer: Offer) -> None:
        """Keep the newest of each session, also of one that we do not know yet."""
        self._offers.pop((sender, offer.session), None)
        mine = [key for key in self._offers if key[0] == sender]
        if len(mine) >= MAX_OFFERS:
            del self._offers[mine[0]]
        self._offers[sender, offer.session] = offer

    def offers(self, session: str) -> dict[str, Offer]:
        """Everybody's for this session, by DID."""
        kept = self._offers.items()
        return {sender: offer for (sender, named), offer in kept if named == session}

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
        return set() if session is None else set(self.offers(session))


def abort_facts(
    parties: Sequence[str], reason: str, party: str | None, *, lost: bool
) -> dict[str, Any]:
    """What an `abort` says: why we stop, whose fault it is, and whether that one was lost."""
    facts: dict[str, Any] = {"reason": clip(reason)}
    if party is not None:
        facts["about"] = parties.index(party)
    return {**facts, "lost": True} if lost else facts


def read_abort(parties: Sequence[str], statement: Statement) -> tuple[str, str, bool]:
    """What somebody's `abort` says: as `abort_facts` has it."""
    about = statement.facts.get("about")
    known = isinstance(about, int) and 0 <= about < len(parties)
    party = parties[about] if known and about is not None else parties[statement.rank]
    reason = str(statement.facts.get("reason", "no reason given"))
    return reason, party, statement.facts.get("lost") is True
