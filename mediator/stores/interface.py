"""What a mediator must remember, and the promises every store keeps.

A call that changes something returns when the change is on disk. Ids of queued
messages rise in the order in which they may be delivered and are never reused.
Times are whole UTC seconds, handed in; DIDs are canonical (`addresses.canonical`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class StoreRefusal(Exception):
    """The store is in order and will not take this; tell whoever asked."""


class InboxFull(StoreRefusal):
    def __init__(self, messages: int, size: int) -> None:
        super().__init__(f"{messages} messages of {size} bytes are waiting for this recipient")


class SenderLimit(StoreRefusal):
    def __init__(self, messages: int) -> None:
        super().__init__(f"{messages} messages of this sender are waiting for this recipient")


class TooManyRecipients(StoreRefusal):
    def __init__(self, recipients: int) -> None:
        super().__init__(f"{recipients} DIDs are bound to this account")


class Change(StrEnum):
    """What came of a request to bind or unbind a DID (words of coordinate-mediation)."""

    SUCCESS = "success"
    NO_CHANGE = "no_change"
    CLIENT_ERROR = "client_error"


@dataclass(frozen=True)
class Queued:
    """One message that waits, exactly as it was received."""

    id: int
    envelope: bytes


@dataclass(frozen=True)
class Waiting:
    """What waits for an account, or for one of its recipients."""

    messages: int
    bytes: int
    oldest: int | None  # when it was received
    newest: int | None
    position: int  # every message counted here has an id up to this; later ones a higher


@dataclass(frozen=True)
class IdentityRecord:
    """A DID of the mediator as the store keeps it; `secrets` is JSON and never printed."""

    did: str
    public_url: str
    invitation: str
    secrets: str

    def __repr__(self) -> str:
        return f"IdentityRecord({self.did!r})"


class Store(Protocol):
    async def identities(self) -> list[IdentityRecord]:
        """All DIDs of the mediator, the one used last at the end."""

    async def use_identity(self, record: IdentityRecord, now: int) -> None:
        """Add it if it is new; it is the one used last."""

    async def open_account(self, did: str, now: int) -> None:
        """Make the account unless it exists, and free its DID from unproven bindings of others."""

    async def has_account(self, did: str) -> bool: ...

    async def bind(self, account: str, did: str, *, proven: bool) -> Change:
        """Let mail for `did` reach the account.

        First come, first served among unproven claims; a proven claim takes the DID
        from whoever has it, with all mail that waits for it.
        """

    async def unbind(self, account: str, did: str) -> Change:
        """Take no more mail for `did`; what waits for it is deleted."""

    async def bound(self, account: str) -> list[str]:
        """The DIDs bound to the account, in the order of binding."""

    async def enqueue(
        self,
        recipient: str,
        envelopes: Sequence[bytes],
        *,
        sender: str | None,
        expires: int,
        now: int,
    ) -> str | None:
        """Queue all envelopes or none; the account to tell, or None if nobody bound `recipient`.

        Bytes that already wait for the recipient are not queued again.

        Raises: InboxFull, SenderLimit.
        """

    async def waiting(self, account: str, *, now: int, recipient: str | None = None) -> Waiting: ...

    async def fetch(
        self,
        account: str,
        *,
        now: int,
        limit: int,
        max_bytes: int,
        after: int = 0,
        recipient: str | None = None,
    ) -> list[Queued]:
        """The first messages with an id above `after`; at least one if any, however large."""

    async def acknowledge(self, account: str, ids: Sequence[int]) -> None:
        """Delete these messages, as far as they are the account's and still there."""

    async def expire(self, now: int) -> int:
        """Delete a batch of messages whose time is over; how many went."""
