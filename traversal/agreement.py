"""Agreement: both ends use the same pair, whatever is lost, late, repeated or out of order.

The controlling side nominates: it gives each of its decisions a higher number, and says the number
in every check of the nominated pair. The controlled side follows the highest number it has heard,
as soon as a check of its own proves the pair, and confirms by saying the number in its own checks
of that pair. So an older nomination that comes late changes nothing, and each side repeats its
word until the other's is heard.

    CHECKING  there is no path
    CHOSEN    there is one, and the other side may still have another
    SETTLED   both sides know that they have the same

A path in use stays until a better one is proven by both ends, or until `distress`: then the best
other proven pair is taken at once. The controlled side's distress is told to the controlling one
by number, since a complaint about a pair left meanwhile is no news.
Source: draft-thatcher-ice-renomination; the rest is explained in docs/protocols/paths.md.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from traversal.candidate import Address
from traversal.pairs import Pair, Path

PATIENCE = 0.1  # seconds for which a direct pair waits for a better one to answer
NOMINATION_LIFE = 1.0  # seconds, at least, until an unconfirmed nomination is taken back
GRACE = 0.1  # seconds, at least, until the other side has heard that we heard its confirmation
LINGER = 1.0  # seconds, at least, until nothing is on its way along the path used before
DOUBT = 1.0  # seconds, at least, in which a path must be proven anew after a network change


class State(Enum):
    CHECKING = "checking"
    CHOSEN = "chosen"
    SETTLED = "settled"


@dataclass(frozen=True)
class PathFound:
    """Datagrams pass in both directions: send along this path from now on."""

    path: Path


@dataclass(frozen=True)
class PathSettled:
    """The other side has the same path, and what went along another has arrived."""

    path: Path


@dataclass(frozen=True)
class PairFailed:
    """An address has not answered while it was young; it is still tried, but rarely."""

    address: Address


Event = PathFound | PathSettled | PairFailed


class Agreement(ABC):
    """What both roles do alike; `complaint` is the number of a path that is dead to us."""

    def __init__(self, pairs: Collection[Pair]) -> None:
        self._pairs = pairs
        self.number = 0
        self.chosen: Pair | None = None
        self.lost = True
        self.agreed = False
        self.complaint: int | None = None
        self.events: deque[Event] = deque()
        self._settle_at = math.inf
        self._linger = 0.0
        self._doubted_at = -math.inf
        self._doubt_at = math.inf
        self._said_since = -math.inf

    @property
    def state(self) -> State:
        if self.lost:
            return State.CHECKING
        return State.SETTLED if self.agreed else State.CHOSEN

    @abstractmethod
    def word_on(self, pair: Pair) -> int | None:
        """The number to say in a check of this pair."""

    @abstractmethod
    def is_pending(self, pair: Pair) -> bool:
        """Whether our word on this pair is to be repeated until it is heard."""

    @abstractmethod
    def hear(self, word: int, pair: Pair) -> bool:
        """The other side says this number on this pair; whether to answer."""

    @abstractmethod
    def answered(self, word: int, pair: Pair, now: float) -> None:
        """A check of ours that said this number was answered."""

    @abstractmethod
    def turn(self, now: float) -> None:
        """Decide what there is to decide; after everything heard, and when timers are due."""

    @abstractmethod
    def distress(self, now: float) -> None:
        """The pair in use is dead: take the best other one, if any."""

    @abstractmethod
    def next_timer(self) -> float:
        """When to turn next, infinity for never."""

    @abstractmethod
    def hear_complaint(self, number: int) -> None:
        """The other side says that the path of this nomination is dead to it."""

    def is_too_new(self, now: float) -> bool:
        """Whether the path in use has had no time to show that it is dead."""
        pair = self.chosen
        return pair is not None and now < pair.chosen_at + max(DOUBT, 4 * min(pair.rtt, 1.0))

    def doubt(self, now: float) -> None:
        """Our network changed: what is in use must be proven anew, or it is distress."""
        if self.chosen is not None and not self.lost:
            self._doubted_at, self._doubt_at = now, now + max(DOUBT, 4 * self.chosen.rtt)

    def repeat_wait(self, pair: Pair, now: float) -> float:
        """Seconds until the word on this pair is said again."""
        return max(0.05, 0.5 * min(pair.rtt, 2.0), min((now - self._said_since) / 8, 10.0))

    def _best(self, now: float) -> Pair | None:
        """The best that works; one that let us down lately only if there is no other."""
        working = [pair for pair in self._pairs if pair.works]
        free = [pair for pair in working if pair.held_until <= now]
        return min(free or working, key=lambda pair: pair.preference, default=None)

    def _choose(self, pair: Pair, now: float) -> None:
        if pair is self.chosen and not self.lost:
            return
        self._linger = max(self._linger, self._time_to_drain(pair))
        self.chosen, self.lost, self._doubt_at = pair, False, math.inf
        self._settle_at = math.inf
        pair.chosen_at = now
        self.events.append(PathFound(pair.path))

    def _time_to_drain(self, pair: Pair) -> float:
        """Seconds until what is on its way along other paths has arrived.

        The other side may have begun on a relay of which we have heard nothing yet.
        """
        others = [p for p in self._pairs if p is not pair and (p is self.chosen or p.relayed)]
        known = [p.rtt for p in (*others, pair) if p.works]
        return max([LINGER, *(3 * rtt for rtt in known)]) if others else 0.0

    def _is_doubt_confirmed(self, now: float) -> bool:
        if now < self._doubt_at or self.chosen is None:
            return False
        self._doubt_at = math.inf
        return self.chosen.proven_at < self._doubted_at

    def _tell_settled(self, now: float) -> None:
        if now >= self._settle_at and self.chosen is not None:
            self._settle_at, self._linger = math.inf, 0.0
            self.events.append(PathSettled(self.chosen.path))


class Controlling(Agreement):
    """The side that nominates."""

    def __init__(self, pairs: Collection[Pair]) -> None:
        super().__init__(pairs)
        self._nominated: Pair | None = None  # until it is confirmed
        self._nominated_at = -math.inf
        self._decide_at: float | None = None
        self._confirmed = False
        self._complained = False

    def word_on(self, pair: Pair) -> int | None:
        current = self._nominated or (None if self.lost else self.chosen)
        return self.number if pair is current else None

    def is_pending(self, pair: Pair) -> bool:
        return pair is self._nominated

    def hear(self, word: int, pair: Pair) -> bool:
        """A confirmation of anything but our nomination stays unanswered.

        So the other side hears ours before it believes that we agree.
        """
        self._confirmed = word == self.word_on(pair)
        return self._confirmed

    def hear_complaint(self, number: int) -> None:
        self._complained = number == self.number and not self.lost

    def answered(self, word: int, pair: Pair, now: float) -> None:
        """An answered nomination is no news: only a confirmation shows that it was taken."""

    def turn(self, now: float) -> None:
        for pair in self._pairs:
            if pair.held_until <= now:
                pair.held_until = -math.inf
        if self._confirmed:
            self._agree(self._nominated or self.chosen, now)
        if self._complained:
            self._complained = False
            self._lose(self._nominated or self.chosen, now)
        if self._is_doubt_confirmed(now):
            self.distress(now)
        if now >= self._take_back_at():
            self._lose(self._nominated, now)
        self._decide(now)
        self._tell_settled(now)

    def distress(self, now: float) -> None:
        if self.chosen is None or self.lost:
            return
        if self._nominated in (None, self.chosen):
            self._lose(self.chosen, now)
        elif self._nominated is not None:
            self.chosen.demote(now)
            self._choose(self._nominated, now)

    def next_timer(self) -> float:
        timers = [self._settle_at, self._doubt_at, self._take_back_at()]
        if self._decide_at is not None:
            timers.append(self._decide_at)
        holds = [pair.held_until for pair in self._pairs if pair.works and pair.is_held]
        return min(timers + holds)

    def _decide(self, now: float) -> None:
        best = self._best(now)
        if best is None or not self._is_worth_it(best):
            self._decide_at = None
            return
        if self._decide_at is None:
            self._decide_at = now + PATIENCE
        if best.relayed or now >= self._decide_at or not self._is_better_possible(best, now):
            self._nominate(best, now)

    def _is_worth_it(self, best: Pair) -> bool:
        current = self._nominated or (None if self.lost else self.chosen)
        if current is None:
            return True
        return best is not current and best.is_better_than(current)

    def _nominate(self, pair: Pair, now: float) -> None:
        self.number += 1
        self._nominated, self._nominated_at, self._decide_at = pair, now, None
        self._said_since, self.agreed, self._settle_at = now, False, math.inf
        pair.hurry(now)
        if self.lost:
            self._choose(pair, now)

    def _agree(self, pair: Pair | None, now: float) -> None:
        self._confirmed = False
        if pair is None:
            return
        if not self.agreed:
            self._choose(pair, now)
            self._nominated, self.agreed = None, True
            self._settle_at = now + max(GRACE, 3 * pair.rtt, self._linger)

    def _lose(self, pair: Pair | None, now: float) -> None:
        """This pair let us down: back to the one in use, or on to the best other one."""
        if pair is None:
            return
        pair.demote(now)
        self._nominated = None
        if pair is not self.chosen:
            if self.chosen is not None and not self.lost:
                self._nominate(self.chosen, now)
            return
        self.lost, self.agreed, self._settle_at = True, False, math.inf
        best = self._best(now)
        if best is not None:
            self._nominate(best, now)

    def _is_better_possible(self, best: Pair, now: float) -> bool:
        """Whether an address that is still young could turn out to be the better way."""
        rank = best.preference.rank
        young = [pair for pair in self._pairs if not pair.works and pair.is_young(now)]
        return any(pair.best_hope.rank < rank for pair in young)

    def _take_back_at(self) -> float:
        """When to try another pair; never, if there is no other."""
        nominated = self._nominated
        if nominated is None or not any(p.works for p in self._pairs if p is not nominated):
            return math.inf
        rtt = nominated.rtt if nominated.works else 0.0
        return self._nominated_at + max(NOMINATION_LIFE, 6 * rtt)


class Controlled(Agreement):
    """The side that follows."""

    def __init__(self, pairs: Collection[Pair]) -> None:
        super().__init__(pairs)
        self._nominated: Pair | None = None
        self._taken = 0

    def word_on(self, pair: Pair) -> int | None:
        return self._taken if pair is self.chosen and self._confirms else None

    def is_pending(self, pair: Pair) -> bool:
        if self.complaint is not None:
            return pair.works
        return pair is self.chosen and self._confirms and not self.agreed

    def hear(self, word: int, pair: Pair) -> bool:
        if word >= self.number:
            self.number, self._nominated = word, pair
        return True

    def hear_complaint(self, number: int) -> None:
        """Nothing to do: whoever nominates complains by another nomination."""

    def answered(self, word: int, pair: Pair, now: float) -> None:
        if word == self._taken and pair is self.chosen and self._confirms and not self.agreed:
            self.agreed = True
            self._settle_at = now + self._linger

    def turn(self, now: float) -> None:
        if self._is_doubt_confirmed(now):
            self.distress(now)
        pair = self._nominated
        is_new = pair is not self.chosen or self._taken != self.number or self.lost
        if pair is not None and pair.works and is_new and self.number > (self.complaint or 0):
            self._take(pair, now)
        self._tell_settled(now)

    def distress(self, now: float) -> None:
        if self.chosen is None or self.lost:
            return
        self.chosen.demote(now)
        if self._confirms:
            self.complaint, self._said_since = self._taken, now
        self.lost, self.agreed, self._settle_at = True, False, math.inf
        best = self._best(now)
        if best is not None:
            self._choose(best, now)

    def next_timer(self) -> float:
        return min(self._settle_at, self._doubt_at)

    @property
    def _confirms(self) -> bool:
        """Whether what is in use was nominated, and not just our own way out of distress."""
        return not self.lost and self._taken > (self.complaint or 0)

    def _take(self, pair: Pair, now: float) -> None:
        self._taken, self.complaint, self.agreed = self.number, None, False
        self._said_since, self._settle_at = now, math.inf
        self._choose(pair, now)
        pair.hurry(now)
