"""What a mediator must remember, and the promises every store keeps.

A call that changes something returns when the change is on disk. Ids of queued
messages rise in the order in which they may be delivered and are never reused.
That order is the order of commits for each account, whatever the number of processes.
Times are whole UTC seconds, handed in; DIDs are canonical (`addresses.canonical`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
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


class StoreUnavailable(Exception):
    """The store cannot be reached or written now; nobody may be told that anything was accepted."""


class OutgoingFull(StoreRefusal):
    def __init__(self, parcels: int) -> None:
        super().__init__(f"{parcels} messages wait to be passed on; try again later")


MAX_ACTED_ON = 1_000  # messages of one sender that are remembered; the oldest are forgotten
MAX_PARCELS = 20_000  # that wait to be passed on
MAX_PARCEL_BYTES = 256 * 1024 * 1024


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
class Parcel:
    """An envelope that leaves later: to an address, or into an inbox here."""

    id: int
    target: str  # a DID, or the URL of a mediator
    inbox: bool
    envelope: bytes
    tries: int  # that failed
    expires: int
    hops: int  # mediators that passed it on before
    origin: str | None = None  # as it was handed in: whom to tell if it is given up


@dataclass(frozen=True)
class IdentityRecord:
    """A DID of the mediator as the store keeps it; `secrets` is JSON and never printed."""

    did: str
    public_url: str
    invitation: str
    secrets: str

    def __repr__(self) -> str:
        return f"IdentityRecord({self.did!r})"


Wake = Callable[[str | None], None]


class Store(Protocol):
    """Any call may raise StoreUnavailable; what it would have changed is then unknown."""

    async def identities(self) -> list[IdentityRecord]:
        """All DIDs of the mediator, the one used last at the end."""

    async def use_identity(self, record: IdentityRecord, now: int) -> IdentityRecord:
        """The one of its public URL, which is added if there is none; it is the one used last.

        So processes that start at once on one store answer to one DID. If it is this very
        DID with more keys, they are added, unless another process has added them before.
        """

    def listening(self, wake: Wake) -> AbstractAsyncContextManager[None]:
        """Call `wake` when another process queues mail, until the block is left.

        With the account, or with None when any account may have mail. Mail that is queued
        through this store is told by `enqueue` alone.
        """

    async def open_account(self, did: str, now: int) -> None:
        """Make the account unless it exists, and free its DID from unproven bindings of others."""

    async def has_account(self, did: str) -> bool: ...

    async def rotate(self, old: str, new: str, *, issued: int) -> bool:
        """Let the account `old`, if there is one, be `new`'s: DIDs and mail come with it.

        `issued` is the time in the signature that says so; one that is not newer than the
        last for `old` changes nothing. Whether the account moved.
        """

    async def bind(
        self, account: str, did: str, *, proven: bool, keys: Sequence[str] = ()
    ) -> Change:
        """Let mail for `did` reach the account; and mail for one of its `keys` (did:keys).

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

        Bytes that already wait for the recipient are not queued again, but kept as long as
        the later expiry says.

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

    async def act_once(self, who: str, proof: bytes, *, until: int) -> bool:
        """Whether nobody acted on these bytes of `who`, here or in another process; now we do."""

    async def is_bound(self, did: str) -> bool:
        """Whether mail for it is kept here."""

    async def add_parcels(
        self,
        target: str,
        envelopes: Sequence[bytes],
        *,
        inbox: bool,
        due: int,
        expires: int,
        hops: int = 0,
        sender: str | None = None,
        origin: str | None = None,
    ) -> None:
        """Keep all envelopes or none until they are `due` (UTC milliseconds) and passed on.

        Bytes that already wait for the target are not kept again. Those with an `origin` do not
        expire by themselves: who carries them gives them up.

        Raises: OutgoingFull.
        """

    async def take_parcels(self, now: int, *, until: int, limit: int) -> list[Parcel]:
        """The parcels that are due, in their order; due again at `until` unless dropped before.

        Times are UTC milliseconds. Nobody else gets them before `until`.
        """

    async def put_off_parcels(self, ids: Sequence[int], due: int, *, tried: bool) -> None:
        """`tried`: and it failed."""

    async def drop_parcels(self, ids: Sequence[int]) -> None: ...

    async def deliver_parcel(self, id_: int, now: int) -> str | None:
        """Move it into the inbox of its target, in one step; the account to tell.

        Raises: InboxFull, SenderLimit; it stays a parcel then.
        """

    async def next_parcel(self) -> int | None:
        """When a parcel is due next (UTC milliseconds)."""
