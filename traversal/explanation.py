"""Why a path is what it is, for people: why relayed, why none, and when it is tried again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from traversal.candidate import Candidate, Nat, nat_of
from traversal.pairs import Pair, Path, Tried


@dataclass(frozen=True)
class Explanation:
    """`reason` is a sentence, None on a direct path; `next_try` is on the finder's clock.

    `next_try` is when the next address that could be better than the path in use is checked, None
    if there is no such address.
    """

    path: Path | None
    reason: str | None
    next_try: float | None
    pairs: tuple[Tried, ...]


def explain(
    chosen: Pair | None,
    pairs: Sequence[Pair],
    ours: Sequence[Candidate],
    theirs: Sequence[Candidate],
    *,
    role_conflict: bool = False,
) -> Explanation:
    """`chosen` is the pair in use, if any."""
    direct = [pair for pair in pairs if not pair.relayed]
    better = [
        pair
        for pair in pairs
        if pair is not chosen and (chosen is None or pair.best_hope.rank < chosen.preference.rank)
    ]
    reason = None
    if role_conflict:
        reason = "both sides claim the same role, so the offers do not belong together"
    elif chosen is None or chosen.relayed:
        reason = f"{_symptom(direct)}; {_nats(nat_of(ours), nat_of(theirs))}"
    return Explanation(
        chosen.path if chosen else None,
        reason,
        min((pair.next_check for pair in better), default=None),
        tuple(pair.tried for pair in pairs),
    )


def _symptom(direct: Sequence[Pair]) -> str:
    if not direct:
        return "no address of theirs can be tried from here"
    if any(pair.works and pair.is_held for pair in direct):
        return "a direct path answers, but it failed lately and is passed over for a while"
    if any(pair.works for pair in direct):
        return "a direct path answers, and the other side has not taken it yet"
    if any(pair.answered for pair in direct):
        return "a direct path worked, and no longer answers"
    if any(pair.heard for pair in direct):
        return "their checks reach us, our checks stay unanswered"
    return f"none of {len(direct)} addresses answered, and none of their checks reached us"


def _nats(ours: Nat, theirs: Nat) -> str:
    words = f"we: {ours}; they: {theirs}"
    if Nat.VARYING in (ours, theirs) and Nat.NONE not in (ours, theirs):
        words += " (such a pair often has no direct path and needs a relay)"
    return words
