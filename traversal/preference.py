"""Which of two paths is the better one.

    degraded   through a byte stream: only where UDP does not pass
    relayed    through a mediator
    beyond_lan by way of the internet
    rtt        seconds; IPv6 counts as a little quicker

Only the first three are reason enough to change at once. Of two paths that differ in nothing else,
the quicker one must be so in every recent measurement and by a margin, so that two equal paths
never take turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

IPV6_BONUS = 0.003  # seconds that an IPv6 path may be slower and still count as equal
MARGIN = 0.005  # seconds, at least, by which a path must be quicker to be worth a change
MARGIN_SHARE = 0.2  # and this share of the RTT that we have
ENOUGH = 8  # measurements of either path, at least: by chance 1 of 12,870 equal pairs differs so


class Preference(NamedTuple):
    """Sorts paths, the best first."""

    degraded: bool
    relayed: bool
    beyond_lan: bool
    rtt: float

    @property
    def rank(self) -> tuple[bool, bool, bool]:
        return self[:3]


def is_clearly_quicker(candidate: Sequence[float], current: Sequence[float]) -> bool:
    """Whether every recent RTT of one is below every recent one of the other, by a margin."""
    if min(len(candidate), len(current)) < ENOUGH:
        return False
    best = min(current)
    return max(candidate) + max(MARGIN, MARGIN_SHARE * best) < best
