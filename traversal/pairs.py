"""A pair: our socket and one address of the other party, and what checks have shown of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from traversal.candidate import Address, Candidate, Kind

EAGER_WAITS = (0.05, 0.05, 0.1, 0.2)  # seconds between the first checks of an address
STEADY_WAIT = 0.5  # then this, while the address is young, or was heard from
SLOW_WAIT = 2.0  # and this for ever
YOUNG = 5.0  # seconds
TRIGGER_WAIT = 0.02  # seconds, at least, from a check to one triggered by hearing from there
MAX_TRIGGERED = 8  # triggered checks to an address; two that trigger each other must come to rest
MAX_IN_FLIGHT = 32  # checks of one pair whose answer is still welcome


class Preference(NamedTuple):
    """Sorts paths, the best first."""

    relayed: bool
    beyond_lan: bool
    translated: bool
    rtt: float


@dataclass(frozen=True)
class Path:
    """`endpoint` is where the other party is reached; `rtt` in seconds."""

    endpoint: Address
    rtt: float
    local_kind: Kind
    remote_kind: Kind
    same_lan: bool


@dataclass(frozen=True)
class Tried:
    """What came of one address: checks sent to it, answered by it, and heard from it."""

    address: Address
    kind: Kind
    sent: int
    answered: int
    heard: int


@dataclass
class Check:
    """One of ours, on its way."""

    sent_at: float
    nominating: bool


@dataclass
class Pair:
    """Our socket and one address of the other party."""

    remote: Candidate
    born: float
    next_check: float | None
    urgent: bool = False
    triggered: int = 0
    sent: int = 0
    answered: int = 0
    heard: int = 0
    last_sent: float = -math.inf
    rtt: float = math.inf
    local_kind: Kind = Kind.PEER_REFLEXIVE
    same_lan: bool = False
    failed: bool = False
    in_flight: dict[bytes, Check] = field(default_factory=dict)

    @property
    def works(self) -> bool:
        return self.rtt < math.inf

    @property
    def preference(self) -> Preference:
        kind = self.remote.kind
        return Preference(kind is Kind.RELAY, not self.same_lan, kind is not Kind.HOST, self.rtt)

    @property
    def best_hope(self) -> Preference:
        """What it could turn out to be if it answered."""
        kind, private = self.remote.kind, self.remote.address.private
        return Preference(
            kind is Kind.RELAY, not (kind is Kind.HOST and private), kind is not Kind.HOST, 0.0
        )

    @property
    def path(self) -> Path:
        remote = self.remote
        return Path(remote.address, self.rtt, self.local_kind, remote.kind, self.same_lan)

    @property
    def tried(self) -> Tried:
        return Tried(self.remote.address, self.remote.kind, self.sent, self.answered, self.heard)

    def is_young(self, now: float) -> bool:
        return now < self.born + YOUNG

    def wait(self, now: float) -> float:
        """Seconds from this check to the next, if nothing happens in between."""
        if self.works:
            return STEADY_WAIT
        if self.sent <= len(EAGER_WAITS):
            return EAGER_WAITS[self.sent - 1]
        return STEADY_WAIT if self.heard or self.is_young(now) else SLOW_WAIT

    def hurry(self, now: float) -> None:
        """Check before all others."""
        self.next_check, self.urgent = now, True

    def trigger(self, now: float) -> None:
        """Something came from there: what we send now may get through (RFC 8445 7.3.1.4)."""
        if self.triggered < MAX_TRIGGERED:
            self.triggered += 1
            due = max(now, self.last_sent + TRIGGER_WAIT)
            self.next_check = due if self.next_check is None else min(due, self.next_check)
            self.urgent = True

    def note_sent(self, transaction: bytes, now: float, nominating: bool) -> None:
        self.in_flight[transaction] = Check(now, nominating)
        if len(self.in_flight) > MAX_IN_FLIGHT:
            del self.in_flight[next(iter(self.in_flight))]
        self.sent += 1
        self.last_sent, self.urgent = now, False

    def prove(self, local_kind: Kind, rtt: float) -> None:
        """A check was answered; `local_kind` is what the other side saw us as."""
        self.answered += 1
        self.rtt = min(self.rtt, rtt)
        self.local_kind = local_kind
        untranslated = local_kind is Kind.HOST and self.remote.kind is Kind.HOST
        self.same_lan = untranslated and self.remote.address.private
