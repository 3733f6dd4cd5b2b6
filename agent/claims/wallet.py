"""What we can show for what a lobby requires, once our owner lets us."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from agent.claims.evidence import Moment, Unproven
from agent.claims.folder import ClaimFolder, longest
from agent.claims.issuers import Issuers
from agent.claims.logging_in import LoggingIn
from agent.claims.proving import needed, prove
from agent.errors import AgentError, Exit
from messaging.protocols.lobby import Claim, LoginRequired, Requirement, VouchClaim, VouchRequired

# Asks our owner; None where nobody can be asked.
Consent = Callable[[], Awaitable[bool]] | None


class NotShown(AgentError):
    """What a lobby requires is not shown: its owner said no, or nobody could be asked."""

    exit_code = Exit.REFUSED

    @classmethod
    def said_no(cls) -> NotShown:
        return cls("you did not want to show what this lobby requires")

    @classmethod
    def nobody_asked(cls) -> NotShown:
        return cls(
            "this lobby requires a claim, and nobody is there to allow that it is shown",
            "for a vouch --claim FILE allows it; to log in, join at a terminal or by agent ui",
        )


class NothingToShow(NotShown):
    """The lobby wants a claim that we do not have."""

    def __init__(self, me: str) -> None:
        super().__init__(
            "this lobby wants a vouch, and you have none of those whose word counts there",
            f"one of them runs: agent vouch {me}; what it prints is for --claim",
        )


class DoesNotHold(NotShown):
    """What we could show would be refused."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"your claim does not hold here: {reason}")


@dataclass(frozen=True)
class Wallet:
    me: str
    lobby: str
    folder: ClaimFolder
    given: Sequence[str]  # vouches from the command line: these may be shown
    issuers: Issuers
    logging_in: LoggingIn

    async def claims_for(
        self, requires: Sequence[Requirement], consent: Consent
    ) -> tuple[Claim, ...]:
        """A claim for each requirement that we have to meet, all of which hold.

        Raises: NotShown, LoginFails, TookTooLong.
        """
        wanted = needed(requires, self.me)
        vouches = [self._vouch(one) for one in wanted if isinstance(one, VouchRequired)]
        logins = [one for one in wanted if isinstance(one, LoginRequired)]
        if logins or any(claim.token not in self.given for claim in vouches):
            if consent is None:
                raise NotShown.nobody_asked()
            if not await consent():
                raise NotShown.said_no()
        claims: list[Claim] = [*vouches]
        claims += [await self.logging_in.claim(one, self.me, self.lobby) for one in logins]
        evidence = await self.issuers.evidence(requires)
        try:
            moment = Moment(self.lobby, time.time(), knocks=True)
            prove(self.me, claims, requires, evidence, moment)
        except Unproven as error:
            raise DoesNotHold(str(error)) from error
        return tuple(claims)

    def _vouch(self, required: VouchRequired) -> VouchClaim:
        now = time.time()
        token = longest(self.given, required, self.me, now)
        token = token or self.folder.find(required, self.me, now)
        if token is None:
            raise NothingToShow(self.me)
        return VouchClaim(token)
