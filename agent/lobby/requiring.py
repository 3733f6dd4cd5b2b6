"""What a host requires of everybody in its lobby, and shows for it itself."""

from __future__ import annotations

import time
from collections.abc import Sequence

from agent.claims.evidence import Moment, Proof, Unproven
from agent.claims.login import is_pattern
from agent.claims.proving import prove
from agent.errors import AgentError, Exit, UsageMistake
from agent.lobby.room import Room
from agent.lobby.words import required
from messaging.errors import MalformedMessage
from messaging.protocols.lobby import (
    MAX_ISSUERS,
    Claim,
    LoginRequired,
    Requirement,
    VouchRequired,
    to_jsons,
)


class OwnClaimFails(AgentError):
    """The host does not meet what it requires: everybody would leave."""

    exit_code = Exit.REFUSED

    def __init__(self, reason: str) -> None:
        super().__init__(f"your own claim does not hold: {reason}")


def vouch_required(vouchers: Sequence[str]) -> tuple[Requirement, ...]:
    """Of a vouch by one of these DIDs, if there are any. Raises: UsageMistake."""
    if len(vouchers) > MAX_ISSUERS:
        raise UsageMistake(f"a lobby has at most {MAX_ISSUERS} of whom one has to vouch")
    return (VouchRequired(tuple(dict.fromkeys(vouchers))),) if vouchers else ()


def login_required(
    issuer: str | None, client_id: str | None, email: str | None
) -> tuple[Requirement, ...]:
    """Of a login there, if there is a there. Raises: UsageMistake."""
    if issuer is None:
        if client_id is not None or email is not None:
            raise UsageMistake("--client-id and --email go with --require-login")
        return ()
    if client_id is None:
        raise UsageMistake(
            "a login needs --client-id: what the issuer calls this application",
            "register a native application there, with the redirect http://127.0.0.1/",
        )
    if email is not None and not is_pattern(email):
        raise UsageMistake(f"{email!r} is neither an e-mail address nor *@ and a domain")
    try:
        return (LoginRequired.from_json(LoginRequired(issuer, client_id, email or "").to_json()),)
    except MalformedMessage as error:
        raise UsageMistake(
            "--require-login or --client-id do not fit what they are for",
            "an issuer's address begins with https://; a client id is one line",
        ) from error


async def own_claims(room: Room, requires: Sequence[Requirement]) -> tuple[Claim, ...]:
    """What is required of everybody is required of us.

    Raises: NotShown, LoginFails, TookTooLong.
    """

    async def consent() -> bool:
        return True  # it is our owner who requires it

    if requires:
        words = required(room.contacts, requires)
        room.tell("required", f"you require {words}", requires=to_jsons(requires))
    return await room.wallet.claims_for(requires, consent)


async def own_proofs(
    room: Room, requires: Sequence[Requirement], own: Sequence[Claim]
) -> tuple[Proof, ...]:
    """What our own claims come to. Raises: OwnClaimFails."""
    evidence = await room.issuers.evidence(requires)
    try:
        return prove(room.me, own, requires, evidence, Moment(room.wallet.lobby, time.time()))
    except Unproven as error:
        raise OwnClaimFails(str(error)) from error
