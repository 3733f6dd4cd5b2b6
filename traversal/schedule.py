"""When each pair of one party is checked next: what is urgent goes first, what is not can wait.

A check costs little, and those of many parties cost much: an end of a session of twenty has some
sixty pairs to look after while everybody else on the way is busy, too.
"""

from __future__ import annotations

from collections.abc import Collection

from traversal.agreement import Agreement, PairFailed, State
from traversal.pairs import PROOF_LIFE, Pair
from traversal.turns import Pacer


class Schedule:
    """Of the pairs that `agreement` decides about; `now` is monotonic seconds."""

    def __init__(self, pairs: Collection[Pair], agreement: Agreement, pacer: Pacer) -> None:
        self._pairs = pairs
        self._agreement = agreement
        self._pacer = pacer

    def plan(self, pair: Pair, now: float, *, elsewhere: bool) -> None:
        """Set when this pair is checked again, after a check.

        `elsewhere`: its address lies in another network than ours, so that it hardly ever works.
        """
        agreement, chosen = self._agreement, self._agreement.chosen
        if agreement.is_pending(pair):
            wait = agreement.repeat_wait(pair, now)
            pair.next_check = now + max(wait, self._pacer.least_wait())
        elif pair is chosen and agreement.state is not State.CHECKING:
            wait = pair.wait_in_use(rival=bool(self._rivals_of(pair)))
            pair.next_check = now + max(wait, self._pacer.least_wait(pair.tries))
        else:
            if pair.works and now > pair.proven_at + PROOF_LIFE:
                pair.renew(now)
            pair.next_check = now + self._wait_beside(pair, now, elsewhere)
            self._tell_failure(pair, now)

    def _wait_beside(self, pair: Pair, now: float, elsewhere: bool) -> float:
        """Seconds until an address that is not in use is checked again."""
        chosen = self._agreement.chosen
        if (elsewhere or pair.unlikely) and not pair.works:
            return pair.wait_unlikely(now)
        if chosen is None or not self._agreement.is_direct:
            return pair.wait(now, self._pacer.least_wait(pair.tries))
        return pair.wait_aside(now, rival=pair in self._rivals_of(chosen))

    def _rivals_of(self, chosen: Pair) -> list[Pair]:
        """The working pairs that differ from it in nothing but the round trip."""
        rank = chosen.preference.rank
        others = (pair for pair in self._pairs if pair is not chosen and pair.works)
        return [pair for pair in others if pair.preference.rank == rank]

    def _tell_failure(self, pair: Pair, now: float) -> None:
        if not (pair.failed or pair.works or pair.is_young(now)):
            pair.failed = True
            self._agreement.events.append(PairFailed(pair.remote.address))
