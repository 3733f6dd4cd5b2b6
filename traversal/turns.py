"""Many pairs of parties over one port: how fast they send together, and whose turn it is.

    pacer, turns = Pacer.shared(), Turns()
    finder = PathFinder(local, remote, controlling=True, now=now, pacer=pacer)
    turns.wake("ben")                        # something arrived for it
    for party in turns.due(now): ...         # what it sends; then
        turns.served(party, finder.next_timer(), got_slot=...)
    turns.next_timer()

Source: RFC 8445, section 14.2: an agent's checks are paced over all its checklists together.
"""

from __future__ import annotations

import math

PACE = 0.005  # seconds between two checks (RFC 8445 14.2 allows no less)
BURST = 4  # slots that nobody used and that may be made up for at once
ADDRESSES = 3  # of a party, as a rule: inside, outside and a relay
MOST_ROUNDS = 4  # of checks of all that one without an answer waits for
MOST_RTT = 0.5  # seconds that count; longer ones are somebody's fault
RTT_WEIGHT = 1 / 8  # of the newest
ALL_BURST = 24  # the same where all parties of a session share a pacer: a small mesh never waits


class Pacer:
    """A slot for one check every `PACE` seconds, whoever takes it; `now` is monotonic seconds."""

    def __init__(self, now: float, burst: int = BURST) -> None:
        self.next_slot = now
        self.finders = 0  # that share it
        self.rtt = 0.0  # seconds, of their checks lately; 0 before the first answer
        self._burst = burst

    def least_wait(self, tries: int = 1) -> float:
        """Seconds from a check to the same again, at least, after so many without an answer.

        Where there are many parties, a check more likely waits behind others than that it is lost:
        each try waits for one more round of all. And none is repeated before its answer can have
        come. What a party does, offers or delays changes little of that for the others.
        Source: RFC 8445, 14.3; RFC 6298 for the average.
        """
        return max(PACE * ADDRESSES * self.finders * min(tries, MOST_ROUNDS), self.rtt)

    def note_rtt(self, rtt: float) -> None:
        """A check was answered after so many seconds."""
        rtt = min(rtt, MOST_RTT)
        self.rtt = self.rtt + RTT_WEIGHT * (rtt - self.rtt) if self.rtt else rtt

    @classmethod
    def shared(cls) -> Pacer:
        """For all parties together, who begin at once and have a burst for that."""
        return cls(-math.inf, ALL_BURST)

    def is_free(self, now: float) -> bool:
        return now >= self.next_slot

    def take(self, now: float) -> None:
        """Use the slot that is free."""
        self.next_slot = max(self.next_slot, now - self._burst * PACE) + PACE


class Turns:
    """Whoever got a slot goes to the end of the row, so that scarce slots go round.

    In a fixed order those at its end would get none for as long as the others want them all, and
    their checks would stay unanswered though nothing is wrong with their path.
    """

    def __init__(self) -> None:
        self._row: dict[str, float] = {}  # when each is due

    def wake(self, who: str) -> None:
        """It is due at once; who is new stands at the end."""
        self._row[who] = -math.inf

    def due(self, now: float) -> list[str]:
        """Whose time has come, who waits longest first."""
        return [who for who, at in self._row.items() if at <= now]

    def served(self, who: str, timer: float, *, got_slot: bool) -> None:
        """It has sent what it could, and is due again then."""
        if got_slot:
            del self._row[who]
        self._row[who] = timer

    def next_timer(self) -> float:
        """Infinity for never."""
        return min(self._row.values(), default=math.inf)
