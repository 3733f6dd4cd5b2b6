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

    @property
    def is_direct(self) -> bool:
        """Whether a direct path is in use; the other side may not have agreed to it yet.

        Not after distress, until a path is chosen again.
        """
        chosen = self.chosen
        return self.state is not State.CHECKING and chosen is not None and not chosen.relayed

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
