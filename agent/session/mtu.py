"""How large a packet one path carries from us to the other party; pure.

Every path is trusted with `LEAST_MTU` bytes. Larger packets are tried by probes, which are pulses
padded to the size of such a packet; the other side answers each at once. What was answered is
confirmed again and again, so that a path which begins to swallow large packets without a word
(a black hole) is noticed.

Time is counted in pulses: a probe is lost when a pulse that left after it has been answered, and
the probe has not. So a slow path is not taken for a narrow one, and while nothing comes through at
all, nothing is concluded.

    search = MtuSearch()
    search.begin(now)
    search.sizes_to_probe(clock, now, limit)   # -> sizes; to leave before the pulse of this clock
    search.handle_answer(clock, size)
    search.handle_echo(clock)                  # the pulse of this clock was answered
    search.mtu

Source: RFC 8899, sections 4 and 5; LEAST_MTU is its BASE_PLPMTU, and is not probed itself.
What is counted instead of its timers, and why: docs/decisions/mtu.md.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from agent.wireguard.config import LEAST_MTU, MOST_MTU

_BLOCK = 16  # WireGuard pads to whole blocks, so that sizes in between are the same outside
SIZES = (*range(LEAST_MTU + _BLOCK, MOST_MTU, _BLOCK), MOST_MTU)
MAX_PROBES = 3  # of one size without an answer: it is too large
ROUND_INTERVAL = 0.4  # seconds, at least, between two rounds; pulses that hurry bring no probes
CONFIRM_INTERVAL = 1.0  # seconds
RAISE_INTERVAL = 60.0  # seconds after which sizes that were too large are tried again


@dataclass
class _Round:
    """Probes that left together, and have neither been answered nor lost."""

    sent_at: float
    sizes: set[int]


@dataclass
class MtuSearch:
    """One direction of one pair; `interval` is the seconds between two confirmations.

    `clock` is a number that grows from one round of probes, and its pulse, to the next.
    """

    interval: float = CONFIRM_INTERVAL
    mtu: int = LEAST_MTU
    active: bool = False
    _lost: Counter[int] = field(default_factory=Counter)  # probes of a size since one was answered
    _rounds: dict[int, _Round] = field(default_factory=dict)  # on their way, by clock
    _next_round: float = -math.inf
    _confirm_at: float = -math.inf
    _raise_at: float = -math.inf

    def begin(self, now: float) -> None:
        """Both sides use the path; nothing happens if the search has begun already."""
        if not self.active:
            self.active, self._raise_at = True, now + RAISE_INTERVAL

    def hold(self) -> None:
        """Another path: it carries the least, and what is on its way says nothing of it."""
        self.active = False
        self._forget()

    def sizes_to_probe(self, clock: int, now: float, limit: int) -> list[int]:
        """The probes to send now; `limit` is what can leave this machine in one piece."""
        if not self.active or now < self._next_round:
            return []
        if self.mtu > max(limit, LEAST_MTU):
            self._forget()
        if now >= self._raise_at:
            self._lost.clear()
            self._raise_at = now + RAISE_INTERVAL
        sizes = self._untried(limit)
        if self.mtu > LEAST_MTU and now >= self._confirm_at:
            sizes.append(self.mtu)
        sizes = [size for size in sizes if self._tries(size) < MAX_PROBES]
        if sizes:
            self._rounds[clock] = _Round(now, set(sizes))
            self._next_round = now + ROUND_INTERVAL
        return sizes

    def handle_answer(self, clock: int, size: int) -> None:
        """The other side had this probe; anything that is not on its way is dropped."""
        answered = self._rounds.get(clock)
        if answered is None or size not in answered.sizes:
            return
        for sent, earlier in self._rounds.items():
            if sent <= clock:
                earlier.sizes.discard(size)
        del self._lost[size]
        if size >= self.mtu:
            self.mtu, self._confirm_at = size, answered.sent_at + self.interval

    def handle_echo(self, clock: int) -> None:
        """A pulse of this clock arrived; probes that left before it have not."""
        for sent in [sent for sent in self._rounds if sent <= clock]:
            self._lost.update(size for size in self._rounds.pop(sent).sizes if size >= self.mtu)
        if self._lost[self.mtu] >= MAX_PROBES:
            self._forget()

    def _untried(self, limit: int) -> list[int]:
        """The largest alone at first, since it mostly passes; then all that may, at once."""
        sizes = [size for size in SIZES if self.mtu < size <= limit]
        return sizes if self._lost else sizes[-1:]

    def _tries(self, size: int) -> int:
        return self._lost[size] + sum(size in one.sizes for one in self._rounds.values())

    def _forget(self) -> None:
        self.mtu = LEAST_MTU
        self._next_round = self._confirm_at = -math.inf
        self._lost.clear()
        self._rounds.clear()
