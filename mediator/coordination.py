"""Coordinate mediation 3.0: accounts, and the DIDs that an account takes mail for.

An account is the DID that the envelope proved, and itself it may bind. Any other DID
is bound on probation: it goes, with its mail, to its true owner as soon as that one
opens an account.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from identity.errors import InvalidDid
from mediator.addresses import canonical
from mediator.dispatch import Handler, Request
from mediator.errors import Refusal
from mediator.stores.interface import Change, Store, TooManyRecipients
from messaging.message import Message
from messaging.protocols.coordinate_mediation import (
    Action,
    MediateGrant,
    MediateRequest,
    RecipientQuery,
    Recipients,
    RecipientUpdate,
    RecipientUpdateResponse,
    Result,
    Update,
    Updated,
)

MAX_LIST = 512 * 1024  # characters of DIDs in one answer


def handlers(store: Store, ours: Collection[str]) -> Mapping[str, Handler]:
    coordination = Coordination(store, ours)
    return {
        MediateRequest.TYPE: coordination.grant,
        RecipientUpdate.TYPE: coordination.update,
        RecipientQuery.TYPE: coordination.query,
    }


class Coordination:
    def __init__(self, store: Store, ours: Collection[str]) -> None:
        self._store = store
        self._ours = ours

    async def grant(self, request: Request) -> Message:
        """To anybody who asks, and again to whoever has it; it names the DID that was addressed."""
        MediateRequest.from_message(request.message)
        await self._store.open_account(request.account(), request.now)
        return MediateGrant((request.ours,)).to_message()

    async def update(self, request: Request) -> Message:
        account = await self._account(request)
        updates = RecipientUpdate.from_message(request.message).updates
        results = [await self._apply(update, account) for update in updates]
        return RecipientUpdateResponse(
            tuple(
                Updated(update.recipient_did, update.action, result)
                for update, result in zip(updates, results, strict=True)
            )
        ).to_message()

    async def query(self, request: Request) -> Message:
        account = await self._account(request)
        wanted = RecipientQuery.from_message(request.message)
        dids = (await self._store.bound(account))[wanted.offset :]
        page = tuple(_fitting(dids[: wanted.limit]))
        if wanted.limit is None and len(page) == len(dids):
            return Recipients(page).to_message()
        return Recipients(page, wanted.offset, len(dids) - len(page)).to_message()

    async def _apply(self, update: Update, account: str) -> Result:
        try:
            did = canonical(update.recipient_did)
            if did in self._ours:
                return Result.CLIENT_ERROR
            if update.action is Action.REMOVE:
                return _result(await self._store.unbind(account, did))
            return _result(await self._store.bind(account, did, proven=did == account))
        except (InvalidDid, TooManyRecipients):
            return Result.CLIENT_ERROR

    async def _account(self, request: Request) -> str:
        account = request.account()
        if not await self._store.has_account(account):
            raise Refusal("e.p.req.not_enroll", "ask for mediation first")
        return account


def _fitting(dids: Sequence[str]) -> Iterator[str]:
    """As many as an answer has room for; more are for another page."""
    size = 0
    for did in dids:
        size += len(did)
        if size > MAX_LIST:
            return
        yield did


def _result(change: Change) -> Result:
    return Result(change.value)
