"""A pair: a socket of ours and one address of the other party, and what checks have shown of it.

A pair `works` while an answer to one of our checks is recent. It is checked often while it is
young, then ever less, but never less than twice a minute: what becomes possible is found.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from traversal.candidate import TURN, Address, Candidate, Kind
from traversal.preference import IPV6_BONUS, Preference, is_clearly_quicker

EAGER_WAITS = (0.05, 0.05, 0.1, 0.2)  # seconds between the first checks of an address
STEADY_WAIT = 0.5  # then this, while the address is young
SLOWDOWN = 4  # then the time since it was young or new, divided by this
SLOWEST_WAIT = 30.0  # and this for ever
STANDBY_WAIT = 25.0  # seconds between checks of a pair that works, but is not in use
REPROOF_WAIT = 2.0  # the same once an answer is missing
PROOF_LIFE = 80.0  # seconds for which an answer proves that a pair works
YOUNG = 5.0  # seconds
TRIGGER_WAIT = 0.02  # seconds, at least, from a check to one triggered by hearing from there
MAX_TRIGGERED = 8  # triggered checks to an address a minute: two that trigger each other must rest
TRIGGER_PERIOD = 60.0
MAX_IN_FLIGHT = 32  # checks of one pair whose answer is still welcome
RECENT = 8  # RTTs that are remembered
ALONE = 3  # RTTs that are measured where there is nothing to compare them with
KEEPALIVE = 10.0  # seconds between checks of the path in use, so that NATs keep their mapping
FIRST_HOLD = 1.0  # seconds for which a pair that let us down is passed over, doubled each time
LONGEST_HOLD = 300.0
FORGIVEN = 120.0  # seconds of good service that wipe out what a pair did before


@dataclass(frozen=True)
class Path:
    """`endpoint` is where the other party is reached; `rtt` in seconds.

    `source_port` is the port of ours that it leads from, None for the session's own port.
    """

    endpoint: Address
    rtt: float
    local_kind: Kind
    remote_kind: Kind
    same_lan: bool
    degraded: bool = False
    turn: bool = False
    source_port: int | None = None

    @property
    def relayed(self) -> bool:
        return self.remote_kind is Kind.RELAY


@dataclass(frozen=True)
class Tried:
    """What came of one address: checks sent to it, answered by it, and heard from it.

    `rtt` in seconds, None while it does not work; `next_try` on the finder's clock.
    """

    address: Address
    kind: Kind
    sent: int
    answered: int
    heard: int
    rtt: float | None = None
    next_try: float | None = None


@dataclass
class Check:
    """One of ours, on its way; `word` is the nomination it spoke of, if any."""

    sent_at: float
    word: int | None


@dataclass(eq=False)
class Pair:
    remote: Candidate
    born: float
    next_check: float
    source_port: int | None = None
    shut: bool = False  # nothing but checks is let in by its port yet, so nothing else may come
    unlikely: bool = False  # it hardly ever answers, by what others like it did
    urgent: bool = False
    sent: int = 0
    answered: int = 0
    heard: int = 0
    tries: int = 0  # checks since it was born, or born again
    last_sent: float = -math.inf
    proven_at: float = -math.inf
    chosen_at: float = -math.inf
    held_until: float = -math.inf
    local_kind: Kind = Kind.PEER_REFLEXIVE
    same_lan: bool = False
    failed: bool = False
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    in_flight: dict[bytes, Check] = field(default_factory=dict)
    _hold: float = FIRST_HOLD / 2
    _triggered: int = 0
    _triggers_since: float = -math.inf

    @property
    def works(self) -> bool:
        return self.answers and not self.shut

    @property
    def answers(self) -> bool:
        return bool(self.recent)

    @property
    def rtt(self) -> float:
        """The least of the recent ones; infinite while the pair does not work."""
        return min(self.recent, default=math.inf)

    @property
    def is_held(self) -> bool:
        return self.held_until > -math.inf

    @property
    def relayed(self) -> bool:
        return self.remote.kind is Kind.RELAY

    @property
    def degraded(self) -> bool:
        """A relay on this machine is our own forwarder into a stream; no offer can name one."""
        return self.relayed and self.remote.address.loopback and not self.turn

    @property
    def turn(self) -> bool:
        return self.relayed and self.remote.foundation.startswith(TURN)

    @property
    def preference(self) -> Preference:
        bonus = IPV6_BONUS if self.remote.address.version == 6 else 0.0
        return Preference(self.degraded, self.relayed, not self.same_lan, self.rtt - bonus)

    @property
    def best_hope(self) -> Preference:
        """What it could turn out to be if it answered."""
        lan = self.remote.kind is Kind.HOST and self.remote.address.private
        return Preference(self.degraded, self.relayed, not lan, 0.0)

    @property
    def path(self) -> Path:
        remote = self.remote
        return Path(
            remote.address,
            self.rtt,
            self.local_kind,
            remote.kind,
            self.same_lan,
            self.degraded,
            self.turn,
            self.source_port,
        )

    @property
    def tried(self) -> Tried:
        return Tried(
            self.remote.address,
            self.remote.kind,
            self.sent,
            self.answered,
            self.heard,
            self.rtt if self.works else None,
            self.next_check,
        )

    def is_better_than(self, other: Pair) -> bool:
        """Whether it is worth leaving the other for this one."""
        if not (self.works and other.works):
            return self.works
        mine, others = self.preference, other.preference
        if mine.rank != others.rank:
            return mine.rank < others.rank
        bonus = self.rtt - mine.rtt - (other.rtt - others.rtt)
        return is_clearly_quicker([rtt - bonus for rtt in self.recent], other.recent)

    def is_young(self, now: float) -> bool:
        return now < self.born + YOUNG

    def wait(self, now: float, least: float = 0.0) -> float:
        """Seconds from this check to the next, if nothing happens in between.

        At least `least` while the pair does not answer.
        """
        if self.works:
            return self._wait_while_it_works(now)
        if self.tries <= len(EAGER_WAITS):
            return max(EAGER_WAITS[self.tries - 1], least)
        return min(max(STEADY_WAIT, (now - self.born - YOUNG) / SLOWDOWN, least), SLOWEST_WAIT)

    def wait_unlikely(self, now: float) -> float:
        """The same for an address that hardly ever answers: twice as long each time."""
        doubled = math.ldexp(STEADY_WAIT, min(self.tries + 1, 6))
        return min(max(self.wait(now), doubled), SLOWEST_WAIT)

    def wait_aside(self, now: float, *, rival: bool) -> float:
        """The same beside a direct path that both sides use: each time twice as long.

        Many parties on one machine would else have no time for those that still look for a path.
        """
        if self.works:
            return self._wait_while_it_works(now, RECENT if rival else 1)
        doubled = math.ldexp(STEADY_WAIT, min(max(0, self.tries - len(EAGER_WAITS) - 1), 6))
        return min(max(self.wait(now), doubled), SLOWEST_WAIT)

    def wait_in_use(self, *, rival: bool) -> float:
        """The same for the path in use: a few measurements, then only what keeps it open.

        They are compared with those of a `rival`.
        """
        return STEADY_WAIT if self._is_little_known(RECENT if rival else ALONE) else KEEPALIVE

    def _is_little_known(self, enough: int) -> bool:
        return len(self.recent) < enough and self.tries < 3 * RECENT

    def _wait_while_it_works(self, now: float, enough: int = RECENT) -> float:
        if self._is_little_known(enough):
            return STEADY_WAIT
        return STANDBY_WAIT if now < self.proven_at + 1.5 * STANDBY_WAIT else REPROOF_WAIT

    def hurry(self, now: float) -> None:
        """Check before all others."""
        self.next_check, self.urgent = now, True

    def trigger(self, now: float) -> None:
        """Something came from there: what we send now may get through (RFC 8445 7.3.1.4)."""
        if now >= self._triggers_since + TRIGGER_PERIOD:
            self._triggered, self._triggers_since = 0, now
        if self._triggered < MAX_TRIGGERED:
            self._triggered += 1
            self.next_check = min(max(now, self.last_sent + TRIGGER_WAIT), self.next_check)
            self.urgent = True

    def renew(self, now: float) -> None:
        """Forget what was proven, and check as if the address were new."""
        self.recent.clear()
        self.born, self.tries = now, 0
        self.hurry(now)

    def demote(self, now: float) -> None:
        """It let us down though it answered: prove it anew, and pass it over for a while."""
        served = self.chosen_at > -math.inf and now >= self.chosen_at + FORGIVEN
        self._hold = FIRST_HOLD if served else min(2 * self._hold, LONGEST_HOLD)
        self.held_until = now + self._hold
        self.in_flight.clear()
        self.renew(now)

    def note_sent(self, transaction: bytes, now: float, word: int | None) -> None:
        self.in_flight[transaction] = Check(now, word)
        if len(self.in_flight) > MAX_IN_FLIGHT:
            del self.in_flight[next(iter(self.in_flight))]
        self.sent += 1
        self.tries += 1
        self.last_sent, self.urgent = now, False

    def prove(self, local_kind: Kind, rtt: float, now: float) -> None:
        """A check was answered; `local_kind` is what the other side saw us as."""
        self.answered += 1
        self.recent.append(rtt)
        self.proven_at = now
        self.local_kind = Kind.RELAY if self.relayed else local_kind
        untranslated = local_kind is Kind.HOST and self.remote.kind is Kind.HOST
        self.same_lan = untranslated and self.remote.address.private
