"""Coordinate mediation 2.0 and 3.0: accounts, and the DIDs that an account takes mail for.

An account is the DID that the envelope proved, and itself it may bind. Any other DID
is bound for good by a signed proof of its owner that comes with the request, and else on
probation: it goes, with its mail, to its true owner as soon as that one opens an account.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence

from identity.errors import InvalidDid
from mediator.addresses import canonical
from mediator.errors import Refusal
from mediator.guard.admission import Gate
from mediator.handlers.dispatch import Handler, Request
from mediator.handlers.ownership import Ownership
from mediator.settings.config import Compat, Conformance
from mediator.stores.interface import Change, Store, TooManyRecipients
from messaging.message import Message
from messaging.protocols.coordinate_mediation import (
    Action,
    MediateDeny,
    MediateGrant,
    MediateRequest,
    RecipientQuery,
    Recipients,
    RecipientUpdate,
    RecipientUpdateResponse,
    Result,
    Update,
    Updated,
    Version,
)

# Whoever could repeat one of these would undo what the owner did since.
LASTING = frozenset({*MediateRequest.TYPES.values(), *RecipientUpdate.TYPES.values()})
MAX_LIST = 512 * 1024  # characters of DIDs in one answer


def handlers(
    store: Store,
    ours: Collection[str],
    conformance: Conformance,
    compat: Compat,
    gate: Gate,
    ownership: Ownership,
) -> Mapping[str, Handler]:
    coordination = Coordination(store, ours, conformance, compat, gate, ownership)
    return {
        **dict.fromkeys(MediateRequest.TYPES.values(), coordination.grant),
        **dict.fromkeys(RecipientUpdate.TYPES.values(), coordination.update),
        **dict.fromkeys(RecipientQuery.TYPES.values(), coordination.query),
    }


class Coordination:
    """Answers in the version that it was asked in; an account is one, whatever the version."""

    def __init__(
        self,
        store: Store,
        ours: Collection[str],
        conformance: Conformance,
        compat: Compat,
        gate: Gate,
        ownership: Ownership,
    ) -> None:
        self._ownership = ownership
        self._store = store
        self._ours = ours
        self._conformance = conformance
        self._compat = compat
        self._gate = gate

    async def grant(self, request: Request) -> Message:
        """To whom the operator lets in, and again to whoever has it; names the DID addressed."""
        MediateRequest.from_message(request.message)
        version, account = Version.of(request.message), request.account()
        if await self._is_denied(request, account):
            return MediateDeny().to_message(version)
        await self._store.open_account(account, request.now)
        if version is Version.V2 and self._compat.bound_by_request:
            with contextlib.suppress(TooManyRecipients):
                keys = await self._ownership.keys(request.proven_sender())
                await self._store.bind(account, account, proven=True, keys=keys)
        return MediateGrant((request.ours,)).to_message(version)

    async def _is_denied(self, request: Request, account: str) -> bool:
        if await self._store.has_account(account):
            return self._conformance.deny_second_request or self._gate.denies(account)
        return not await self._gate.admits(account, request.message.pthid, request.now)

    async def update(self, request: Request) -> Message:
        account = await self._account(request)
        updates = RecipientUpdate.from_message(request.message).updates
        proven = {account, *await self._ownership.proven(request)}
        results = [await self._apply(update, account, proven) for update in updates]
        return RecipientUpdateResponse(
            tuple(
                Updated(update.recipient_did, update.action, result)
                for update, result in zip(updates, results, strict=True)
            )
        ).to_message(Version.of(request.message))

    async def query(self, request: Request) -> Message:
        account = await self._account(request)
        wanted = RecipientQuery.from_message(request.message)
        dids = (await self._store.bound(account))[wanted.offset :]
        page = tuple(_fitting(dids[: wanted.limit]))
        if wanted.limit is None and len(page) == len(dids):
            listed = Recipients(page)
        else:
            listed = Recipients(page, wanted.offset, len(dids) - len(page))
        return listed.to_message(Version.of(request.message))

    async def _apply(self, update: Update, account: str, proven: Collection[str]) -> Result:
        try:
            did = canonical(update.recipient_did)
            if did in self._ours:
                return Result.CLIENT_ERROR
            if update.action is Action.REMOVE:
                return _result(await self._store.unbind(account, did))
            keys = await self._ownership.keys(update.recipient_did)
            return _result(await self._store.bind(account, did, proven=did in proven, keys=keys))
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
