"""When a host tells its guests how the roster has changed.

News are gathered: a round of them goes out at most every second a guest, so that a lobby of twenty
costs its host about one message a second however people come and go.
"""

from __future__ import annotations

SECONDS = 1.0  # a guest, between two rounds


class Pace:
    def __init__(self) -> None:
        self.next_round: float | None = None
        self._last_round = 0.0

    def news(self, now: float, guests: int) -> None:
        """There is something to tell so many guests; with none, at once."""
        at = max(now, self._last_round + SECONDS * guests)
        self.next_round = at if self.next_round is None else min(at, self.next_round)

    def is_time(self, now: float) -> bool:
        """Whether a round goes out now; asking begins the next."""
        if self.next_round is None or now < self.next_round:
            return False
        self.next_round, self._last_round = None, now
        return True

    def nothing_new(self) -> None:
        self.next_round = None
