"""The side that follows nominations, and confirms them."""

from __future__ import annotations

import math
from collections.abc import Collection

from traversal.agreement import Agreement
from traversal.pairs import Pair


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
