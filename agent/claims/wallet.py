"""What we can show for what a lobby requires, once our owner lets us."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from agent.claims.folder import ClaimFolder, longest
from agent.claims.proving import needed
from agent.errors import AgentError, Exit
from messaging.protocols.lobby import Claim, Requirement, VouchClaim, VouchRequired

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
            "--claim FILE allows it",
        )


class NothingToShow(NotShown):
    """The lobby wants a claim that we do not have."""

    def __init__(self, me: str) -> None:
        super().__init__(
            "this lobby wants a vouch, and you have none of those whose word counts there",
            f"one of them runs: agent vouch {me}; what it prints is for --claim",
        )


@dataclass(frozen=True)
class Wallet:
    me: str
    folder: ClaimFolder
    given: Sequence[str]  # vouches from the command line: these may be shown

    async def claims_for(
        self, requires: Sequence[Requirement], consent: Consent
    ) -> tuple[Claim, ...]:
        """A claim for each requirement that we have to meet. Raises: NothingToShow, NotShown."""
        found = [self._vouch(required) for required in needed(requires, self.me)]
        if all(claim.token in self.given for claim in found):
            return tuple(found)
        if consent is None:
            raise NotShown.nobody_asked()
        if not await consent():
            raise NotShown.said_no()
        return tuple(found)

    def _vouch(self, required: VouchRequired) -> VouchClaim:
        now = time.time()
        token = longest(self.given, required, self.me, now)
        token = token or self.folder.find(required, self.me, now)
        if token is None:
            raise NothingToShow(self.me)
        return VouchClaim(token)
