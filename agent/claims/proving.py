"""Whether a party has shown all that a lobby requires of it."""

from __future__ import annotations

from collections.abc import Sequence

from agent.claims import vouch
from agent.claims.evidence import Evidence, Proof, Unproven
from messaging.protocols.lobby import Claim, Requirement


def needed(requires: Sequence[Requirement], party: str) -> tuple[Requirement, ...]:
    """What this party has to show something for: whose word counts needs nobody else's."""
    return tuple(one for one in requires if party not in one.issuers)


def lacks(requires: Sequence[Requirement], party: str, claims: Sequence[Claim]) -> bool:
    """Whether nothing at all is shown for something that is needed."""
    shown = {claim.KIND for claim in claims}
    return any(one.KIND not in shown for one in needed(requires, party))


def prove(
    party: str,
    claims: Sequence[Claim],
    requires: Sequence[Requirement],
    evidence: Evidence,
    now: float,
) -> tuple[Proof, ...]:
    """Who this party has proven to be: a proof for each requirement that it has to meet.

    `now` is in Unix seconds. Raises: Unproven.
    """
    wanted = {one.KIND: one for one in needed(requires, party)}
    if sorted(claim.KIND for claim in claims) != sorted(wanted):
        raise Unproven("what is shown is not what is required")
    return tuple(vouch.verify(claim, wanted[claim.KIND], party, evidence, now) for claim in claims)
