"""Whether a party has shown all that a lobby requires of it."""

from __future__ import annotations

from collections.abc import Sequence

from agent.claims import login, vouch
from agent.claims.evidence import Evidence, Moment, Proof, Unproven
from messaging.protocols.lobby import (
    Claim,
    LoginClaim,
    LoginRequired,
    Requirement,
    VouchClaim,
    VouchRequired,
)


def needed(requires: Sequence[Requirement], party: str) -> tuple[Requirement, ...]:
    """What this party has to show something for: whose word counts needs nobody else's."""
    return tuple(
        one for one in requires if not (isinstance(one, VouchRequired) and party in one.issuers)
    )


def lacks(requires: Sequence[Requirement], party: str, claims: Sequence[Claim]) -> bool:
    """Whether nothing at all is shown for something that is needed."""
    shown = {claim.KIND for claim in claims}
    return any(one.KIND not in shown for one in needed(requires, party))


def prove(
    party: str,
    claims: Sequence[Claim],
    requires: Sequence[Requirement],
    evidence: Evidence,
    moment: Moment,
) -> tuple[Proof, ...]:
    """Who this party has proven to be: a proof for each requirement that it has to meet.

    Raises: Unproven; NoEvidence, if it cannot be told now.
    """
    wanted = {one.KIND: one for one in needed(requires, party)}
    if sorted(claim.KIND for claim in claims) != sorted(wanted):
        raise Unproven("what is shown is not what is required")
    return tuple(_judge(claim, wanted[claim.KIND], party, evidence, moment) for claim in claims)


def _judge(
    claim: Claim, required: Requirement, party: str, evidence: Evidence, moment: Moment
) -> Proof:
    match claim, required:
        case VouchClaim(), VouchRequired():
            return vouch.verify(claim, required, party, evidence, moment)
        case LoginClaim(), LoginRequired():
            return login.verify(claim, required, party, evidence, moment)
    raise Unproven("what is shown is not what is required")
