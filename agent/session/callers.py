"""Which proposal of each party stands: the newest, once, if it is like ours and not withdrawn.

Proposals and withdrawals may come late, twice, or the later one first; a party may have been killed
and have called again, and then the newest call counts. A word that would end everything is believed
only if nothing follows that takes it back: a **verdict** is spoken after `VERDICT_DELAY`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from agent.session.descriptor import Proposal
from agent.session.proposals import objections, wants_another
from messaging.protocols.session import Propose, SessionMessage, Withdraw

VERDICT_DELAY = 1.5  # seconds in which a withdrawal may still follow a proposal that differs
MAX_PROPOSALS = 30  # of one party: each makes all others sign, and tell everybody, again
MAX_AGE = 25 * 3600  # seconds; a proposal from further away in time is nobody's clock skew
MAX_WITHDRAWN = 4  # nonces of one party, the last that it took back


class Call(Enum):
    """What a proposal is to us."""

    STANDS = auto()  # its party wants what we want
    DIFFERS = auto()  # its party wants something else; a verdict waits
    OUTDATED = auto()  # its party has called again since
    TAKEN_BACK = auto()  # its party's newest, which it withdrew before it came
    DROPPED = auto()  # known already, of an epoch before, or of another year
    ENDLESS = auto()  # one more of too many


@dataclass(frozen=True)
class Verdict:
    """Why the session will end, unless `party` takes back its word."""

    party: str
    at: float  # when it is spoken
    reason: str
    nonce: str  # of the proposal that this party made
    refused: str  # of the proposal that is refused


class Callers:
    def __init__(self, own: Proposal, spent: frozenset[str]) -> None:
        """`spent` are the nonces of the epochs before."""
        self._own, self._spent = own, spent
        self._heard: dict[str, dict[str, int]] = {}  # by party: nonce -> created
        self._withdrawn: dict[str, list[str]] = {}
        self._verdicts: dict[str, Verdict] = {}
        self._late: dict[str, Propose] = {}

    def has_met(self, party: str) -> bool:
        """Whether a process of this party has called already, and may have heard from us."""
        return party in self._heard

    def knows(self, party: str, nonce: str) -> bool:
        """Whether this party has proposed with this nonce, now or in an epoch before."""
        late = self._late.get(party)
        return (
            nonce in self._spent
            or nonce in self._heard.get(party, ())
            or (late is not None and late.nonce == nonce)
        )

    def take(self, party: str, proposal: Proposal, now: float) -> Call:
        """Judge a proposal, and remember it."""
        heard = self._heard.get(party, {})
        if (
            proposal.nonce in self._spent
            or proposal.nonce in heard
            or abs(proposal.created / 1000 - now) > MAX_AGE
        ):
            return Call.DROPPED
        if len(heard) >= MAX_PROPOSALS:
            return Call.ENDLESS
        newest = max(heard.values(), default=0)
        self._heard[party] = {**heard, proposal.nonce: proposal.created}
        if proposal.created <= newest:
            return Call.OUTDATED
        return self._judge(party, proposal, now)

    def take_back(self, party: str, message: Withdraw, now: float) -> None:
        """Its proposal of this nonce stands no more, whether it came already or not."""
        verdict = self._verdicts.get(party)
        if verdict is not None and verdict.nonce == message.nonce:
            del self._verdicts[party]
        else:
            verdict = None
        self._note_withdrawn(party, message.nonce)
        if message.refused is not None and not self.is_outdated(party, message.nonce):
            reason = verdict.reason if verdict else message.reason
            at = min(now + VERDICT_DELAY, verdict.at if verdict else now + VERDICT_DELAY)
            self._verdicts[party] = Verdict(party, at, reason, message.nonce, message.refused)

    def is_outdated(self, party: str, nonce: str) -> bool:
        """Whether this party has called again since it made this nonce."""
        heard = self._heard.get(party, {})
        return nonce in heard and heard[nonce] < max(heard.values())

    def words_about(self, party: str) -> str | None:
        """What is held against this party, if anything is."""
        verdict = self._verdicts.get(party)
        return verdict.reason if verdict else None

    def next_verdict(self) -> float | None:
        return min((verdict.at for verdict in self._verdicts.values()), default=None)

    def verdict(self, now: float) -> Verdict | None:
        """One that nothing has taken back in time."""
        due = (verdict for verdict in self._verdicts.values() if verdict.at <= now)
        return next(due, None)

    # for the next epoch

    def keep(self, party: str, message: Propose) -> None:
        """A proposal that comes while this session ends: the newest of each party."""
        known = self._late.get(party)
        if known is None or message.created > known.created:
            self._late[party] = message

    def hear_late(self, party: str, message: SessionMessage) -> None:
        """What comes after the end is for the next epoch, if there is one."""
        match message:
            case Propose():
                self.keep(party, message)
            case Withdraw():
                self._note_withdrawn(party, message.nonce)
                late = self._late.get(party)
                if late is not None and late.nonce == message.nonce:
                    del self._late[party]

    def withdrawn(self) -> frozenset[str]:
        """The last nonces that parties took back."""
        return frozenset(nonce for nonces in self._withdrawn.values() for nonce in nonces)

    def kept(self, spent: frozenset[str]) -> Mapping[str, Propose]:
        """What was kept by party, without proposals of the epochs that are over."""
        return {party: late for party, late in self._late.items() if late.nonce not in spent}

    def _note_withdrawn(self, party: str, nonce: str) -> None:
        others = [one for one in self._withdrawn.get(party, []) if one != nonce]
        self._withdrawn[party] = [*others, nonce][-MAX_WITHDRAWN:]

    def _judge(self, party: str, proposal: Proposal, now: float) -> Call:
        """It is this party's newest word, unless it was taken back before it came."""
        verdict = self._verdicts.get(party)
        if verdict is not None and verdict.nonce != proposal.nonce:
            del self._verdicts[party]
        if proposal.nonce in self._withdrawn.get(party, ()):
            return Call.TAKEN_BACK
        words = objections(self._own, proposal)
        if not words:
            return Call.STANDS
        reason, nonce = wants_another(party, words), proposal.nonce
        self._verdicts[party] = Verdict(party, now + VERDICT_DELAY, reason, nonce, nonce)
        return Call.DIFFERS
