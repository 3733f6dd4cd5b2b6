"""What an operator sees and changes of a store, whether a mediator runs on it or not.

Each call is a step of its own, beside whatever the mediator does meanwhile. Times are
whole UTC seconds, handed in; DIDs are canonical (`addresses.canonical`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

WILDCARD = "*"


@dataclass(frozen=True)
class Totals:
    accounts: int
    recipients: int  # DIDs bound to accounts
    messages: int  # that wait in all queues
    bytes: int
    oldest: int | None  # when the one waiting longest was received
    parcels: int  # on their way to other addresses, or delayed
    parcel_bytes: int
    unknown_recipient: int  # messages accepted, ever, for DIDs that nobody has bound
    passes_on: bool | None  # mail for others, the mediator started last; None: none was


@dataclass(frozen=True)
class AccountSummary:
    did: str
    created: int
    recipients: int
    messages: int
    bytes: int
    oldest: int | None


@dataclass(frozen=True)
class Closed:
    """What went with an account."""

    recipients: int
    messages: int
    bytes: int


@dataclass(frozen=True)
class Rule:
    pattern: str  # a DID, or how DIDs begin and then `*`
    allow: bool


@dataclass(frozen=True)
class Admission:
    """Who may open an account, and who may use what they have."""

    is_open: bool = True
    rules: Sequence[Rule] = ()

    def allows(self, did: str) -> bool | None:
        """What the most specific rule says: of the whole DID, else of the longest beginning."""
        if did in self._whole:
            return self._whole[did]
        return next((a for start, a in self._beginnings if did.startswith(start)), None)

    def denies(self, did: str) -> bool:
        return self.allows(did) is False

    def admits(self, did: str) -> bool:
        """Without an invitation."""
        allowed = self.allows(did)
        return self.is_open if allowed is None else allowed

    @cached_property
    def _whole(self) -> Mapping[str, bool]:
        return {r.pattern: r.allow for r in self.rules if not r.pattern.endswith(WILDCARD)}

    @cached_property
    def _beginnings(self) -> Sequence[tuple[str, bool]]:
        found = [(r.pattern[:-1], r.allow) for r in self.rules if r.pattern.endswith(WILDCARD)]
        return sorted(found, key=lambda each: -len(each[0]))


@dataclass(frozen=True)
class InvitationRecord:
    id: str = field(repr=False)
    created: int
    expires: int | None  # None: never
    uses: int | None  # by so many DIDs; None: by any number
    note: str = ""
    used: int = 0

    def usable(self, now: int) -> bool:
        in_time = self.expires is None or now < self.expires
        return in_time and (self.uses is None or self.used < self.uses)


class Administration(Protocol):
    async def check(self) -> None:
        """Write something and have it on disk; raises whatever is in the way."""

    async def totals(self) -> Totals: ...

    async def accounts(self, limit: int | None = None) -> list[AccountSummary]:
        """Those with most messages waiting first."""

    async def close_account(self, did: str) -> Closed | None:
        """Delete it with its bindings and all mail that waits; None if there is none."""

    async def admission(self) -> Admission: ...

    async def set_open(self, is_open: bool) -> None: ...

    async def set_passes_on(self, passes_on: bool) -> None:
        """As a mediator does that starts, for whoever looks."""

    async def set_rule(self, rule: Rule, now: int) -> None:
        """Instead of the one with this pattern, if there is one."""

    async def remove_rule(self, pattern: str) -> bool:
        """Whether there was one."""

    async def invitations(self) -> list[InvitationRecord]:
        """The oldest first."""

    async def add_invitation(self, invitation: InvitationRecord) -> None: ...

    async def revoke_invitation(self, id_: str) -> bool:
        """Whether there was one; accounts opened through it stay."""

    async def follow_invitation(self, id_: str, did: str, now: int) -> bool:
        """Whether `did` may open an account through it; counted once for each DID."""
