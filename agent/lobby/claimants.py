"""Who knocks and shows claims that nobody has examined yet; how much work strangers may make."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from agent.claims.evidence import Evidence, Moment, NoEvidence, Unproven
from agent.claims.proving import lacks, prove
from agent.lobby.seats import Guest
from agent.session.statements import clip
from messaging.protocols.lobby import Knock, Refuse, Require, Requirement

MAX_WAITING = 32
MINUTE = 60.0  # seconds
MAX_EXAMINED = 60  # a minute, in all
MAX_EXAMINED_OF_ONE = 3  # a minute, of a guest


class Claimants:
    """The newest knock of each, until its claims are examined."""

    def __init__(self, lobby: str, requires: Sequence[Requirement]) -> None:
        self._lobby, self._requires = lobby, tuple(requires)
        self._waiting: dict[str, Knock] = {}
        self._examined: deque[tuple[float, str]] = deque()  # when, whose

    def handle_knock(self, did: str, knock: Knock, now: float) -> Require | Guest | bool:
        """What a stranger hears; or the guest it is; or whether its claims are to be examined.

        Nothing is examined that would be more work than we do: who means it knocks again.
        """
        if lacks(self._requires, did, knock.claims):
            return Require(self._lobby, self._requires)
        if not self._requires:
            return Guest.at_the_door(did, knock)
        if did in self._waiting:
            self._waiting[did] = knock
            return False
        if not self._may_examine(did, now):
            return False
        self._examined.append((now, did))
        self._waiting[did] = knock
        return True

    def judge(self, did: str, evidence: Evidence, now: float) -> Refuse | Guest | None:
        """A guest whose claims hold, or what it hears.

        None for who does not wait, and where it cannot be told now: it will knock again.
        """
        knock = self._waiting.pop(did, None)
        if knock is None:
            return None
        try:
            moment = Moment(self._lobby, now, knocks=True)
            proofs = prove(did, knock.claims, self._requires, evidence, moment)
        except NoEvidence:
            return None
        except Unproven as error:
            return Refuse(self._lobby, clip(str(error)))
        return Guest.at_the_door(did, knock, knock.claims, proofs)

    def _may_examine(self, did: str, now: float) -> bool:
        while self._examined and self._examined[0][0] <= now - MINUTE:
            self._examined.popleft()
        of_it = sum(whose == did for _, whose in self._examined)
        return (
            len(self._waiting) < MAX_WAITING
            and len(self._examined) < MAX_EXAMINED
            and of_it < MAX_EXAMINED_OF_ONE
        )
