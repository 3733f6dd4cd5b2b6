"""The side that decides which pair is used, and nominates it."""

from __future__ import annotations

import math
from collections.abc import Collection

from traversal.agreement import Agreement
from traversal.pairs import Pair

PATIENCE = 0.1  # seconds for which a direct pair waits for a better one, where there is a path
NOMINATION_LIFE = 1.0  # seconds, at least, until an unconfirmed nomination is taken back
GRACE = 0.1  # seconds, at least, until the other side has heard that we heard its confirmation
SILENCE = 25.0  # seconds without an answer after which a move of the other side is believed


class Controlling(Agreement):
    """The side that nominates."""

    def __init__(self, pairs: Collection[Pair]) -> None:
        super().__init__(pairs)
        self._nominated: Pair | None = None  # until it is confirmed
        self._nominated_at = -math.inf
        self._decide_at: float | None = None
        self._confirmed = False
        self._complained = False
        self._moved: Pair | None = None

    def word_on(self, pair: Pair) -> int | None:
        current = self._nominated or (None if self.lost else self.chosen)
        return self.number if pair is current else None

    def is_pending(self, pair: Pair) -> bool:
        return pair is self._nominated

    def hear(self, word: int, pair: Pair) -> bool:
        """A confirmation of anything but our nomination stays unanswered.

        So the other side hears ours before it believes that we agree. One that comes from a new
        address tells that a NAT before the other side has forgotten the old one.
        """
        self._confirmed = word == self.word_on(pair)
        if word == self.number and self.agreed and not self._confirmed:
            self._moved = pair
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
        self._follow_move(now)
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
        hurried = best.relayed or self.lost  # any path is better than none
        if hurried or now >= self._decide_at or not self._is_better_possible(best, now):
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

    def _follow_move(self, now: float) -> None:
        """Once the old address is silent; until then it is as good as the new one."""
        moved, chosen = self._moved, self.chosen
        if moved is None or chosen is None or not self.agreed:
            self._moved = None
        elif moved.works and now > chosen.proven_at + SILENCE:
            self._moved = None
            self._nominate(moved, now)

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
