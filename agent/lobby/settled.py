"""What a guest makes of the final roster: it must be what it would have made of it itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from agent.claims.evidence import Evidence, Moment, Unproven
from agent.claims.proving import prove
from agent.lobby.events import DraftMaker, Gathered, roles_of
from agent.session.descriptor import check_roster, differences
from agent.session.statements import clip
from identity.did import shorten
from messaging.protocols.lobby import Requirement, Settle

MAX_AGE = 25 * 3600  # seconds; a roster settled further away in time is nobody's clock skew


def read_settled(
    settle: Settle,
    present: Collection[str],
    draft_for: DraftMaker | None,
    requires: Sequence[Requirement],
    now: float,
) -> Gathered:
    """The session's beginning, with the draft that is our own for these parties.

    `present` has to be among the parties. Raises: ValueError, with words for both sides.
    """
    parties = [str(party) for party in settle.draft["parties"]]
    if not {*present} <= {*parties}:
        raise ValueError("the final roster lacks us or the host")
    check_roster(parties)
    claims = settle.claims or ((),) * len(parties)
    if not len(settle.nonces) == len({*settle.nonces}) == len(claims) == len(parties):
        raise ValueError("the final roster is incomplete")
    if abs(settle.created / 1000 - now) > MAX_AGE:
        raise ValueError("the final roster is of another day")
    if draft_for is None:
        raise ValueError("nothing was approved")
    try:
        draft = draft_for(parties, roles_of(settle.draft))
    except ValueError as error:
        raise ValueError(clip(str(error))) from error
    words = differences(draft.to_json(), settle.draft)
    if words:
        raise ValueError(clip("the host settled something else: " + "; ".join(words)))
    return Gathered(draft, settle.nonces, settle.created, tuple(requires), claims)


def prove_all(gathered: Gathered, evidence: Evidence, moment: Moment) -> None:
    """Raises: ValueError, naming the first party whose claims do not hold, and why."""
    parties = gathered.draft.parties
    for rank, (party, claims) in enumerate(zip(parties, gathered.claims, strict=True)):
        try:
            prove(party, claims, gathered.requires, evidence, moment)
        except Unproven as error:
            who = f"party{rank} {shorten(party)}"
            raise ValueError(clip(f"{who} has not proven who it is: {error}")) from error
