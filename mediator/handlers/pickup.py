"""Message pickup 3.0 and 4.0: what waits, the next of it, and live delivery.

Everything is scoped by the account of the proven sender. Nothing leaves the queue
but by acknowledgement or expiry: what was pushed and not acknowledged is still there.
A client is answered in the version that it asks in, and live in the one that it went
live with; the queue is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import orjson

from identity.errors import InvalidDid
from mediator.addresses import canonical
from mediator.delivery.live import Connection, Deliver
from mediator.errors import Refusal
from mediator.handlers.dispatch import Handler, Request, Sealer
from mediator.settings.config import Limits
from mediator.stores.interface import Queued, Store, Waiting
from messaging.errors import MalformedMessage
from messaging.message import Attachment, Message
from messaging.protocols.message_pickup import (
    PROBLEM_REPORT,
    Delivery,
    DeliveryRequest,
    LiveDeliveryChange,
    MessagesReceived,
    Status,
    StatusRequest,
    Version,
)

JSON = "application/didcomm-encrypted+json"


def handlers(
    store: Store, sealer: Sealer, limits: Limits, clock: Callable[[], float]
) -> Mapping[str, Handler]:
    pickup = Pickup(store, sealer, limits, clock)
    return {
        **dict.fromkeys(StatusRequest.TYPES.values(), pickup.status),
        **dict.fromkeys(DeliveryRequest.TYPES.values(), pickup.deliver),
        **dict.fromkeys(MessagesReceived.TYPES.values(), pickup.acknowledge),
        **dict.fromkeys(LiveDeliveryChange.TYPES.values(), pickup.change_live),
    }


class Pickup:
    def __init__(
        self, store: Store, sealer: Sealer, limits: Limits, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._limits = limits
        self._clock = clock

    async def status(self, request: Request) -> Message:
        account = await self._account(request)
        wanted = StatusRequest.from_message(request.message).recipient_did
        return await self._status(request, account, wanted)

    async def deliver(self, request: Request) -> Message:
        account = await self._account(request)
        wanted = DeliveryRequest.from_message(request.message)
        messages = await self._store.fetch(
            account,
            now=request.now,
            limit=min(wanted.limit, self._limits.delivery_messages),
            max_bytes=self._limits.delivery_bytes,
            after=_position(wanted.after),
            recipient=_recipient(wanted.recipient_did),
        )
        version = Version.of(request.message)
        if not messages and version is Version.V3:
            return await self._status(request, account, wanted.recipient_did)
        return Delivery(_attached(messages), wanted.recipient_did).to_message(version)

    async def acknowledge(self, request: Request) -> Message | None:
        account = await self._account(request)
        ids = MessagesReceived.from_message(request.message).ids
        await self._store.acknowledge(account, [int(i) for i in ids if _is_ours(i)])
        if Version.of(request.message) is Version.V4:
            return None
        return await self._status(request, account, None)

    async def change_live(self, request: Request) -> Message:
        account = await self._account(request)
        wanted = LiveDeliveryChange.from_message(request.message).live_delivery
        if request.connection is None:
            if wanted:
                raise _no_live_mode(Version.of(request.message))
            return await self._status(request, account, None)
        if not wanted:
            request.connection.unsubscribe(account)
            return await self._status(request, account, None)
        # Woken from here on, delivering once the answer is out: each message is either in
        # the count or pushed.
        subscription = request.connection.subscribe(
            account, self._pushing(request, request.connection, account)
        )
        waiting = await self._store.waiting(account, now=request.now)
        subscription.position = waiting.position
        return _status(waiting, request, live=True)

    def _pushing(self, request: Request, connection: Connection, account: str) -> Deliver:
        ours, to, dialect = request.ours, request.proven_sender(), request.dialect
        version = Version.of(request.message)

        async def push(position: int) -> int:
            now = int(self._clock())
            messages = await self._store.fetch(
                account,
                now=now,
                limit=self._limits.delivery_messages,
                max_bytes=self._limits.delivery_bytes,
                after=position,
            )
            if not messages:
                return position
            delivery = Delivery(_attached(messages)).to_message(version)
            envelope = await self._sealer.seal(delivery, ours=ours, to=to, now=now, dialect=dialect)
            await connection.send(envelope)
            return messages[-1].id

        return push

    async def _account(self, request: Request) -> str:
        account = request.account()
        if not await self._store.has_account(account):
            raise Refusal("e.p.req.not_enroll", "ask for mediation first")
        return account

    async def _status(self, request: Request, account: str, wanted: str | None) -> Message:
        waiting = await self._store.waiting(account, now=request.now, recipient=_recipient(wanted))
        live = request.connection is not None and request.connection.is_live(account)
        return _status(waiting, request, live=live, recipient_did=wanted)


def _status(
    waiting: Waiting, request: Request, *, live: bool, recipient_did: str | None = None
) -> Message:
    return Status(
        message_count=waiting.messages,
        recipient_did=recipient_did,
        longest_waited_seconds=None if waiting.oldest is None else request.now - waiting.oldest,
        newest_received_time=waiting.newest,
        oldest_received_time=waiting.oldest,
        total_bytes=waiting.bytes,
        live_delivery=live,
    ).to_message(Version.of(request.message))


def _no_live_mode(version: Version) -> Refusal:
    return Refusal(
        "e.m.live-mode-not-supported",
        "live delivery needs a WebSocket",
        report=PROBLEM_REPORT if version is Version.V4 else None,
    )


def _attached(messages: Sequence[Queued]) -> tuple[Attachment, ...]:
    """As `json`, since some clients read nothing else; what is stored is JSON already."""
    return tuple(
        Attachment(id=str(m.id), media_type=JSON, json=orjson.Fragment(m.envelope))
        for m in messages
    )


def _recipient(did: str | None) -> str | None:
    try:
        return None if did is None else canonical(did)
    except InvalidDid as error:
        raise Refusal("e.p.msg.malformed", f"recipient_did is {error}") from error


def _position(after: str | None) -> int:
    """Where a page begins; it need not be there any more, but must be an id that we gave."""
    if after is None:
        return 0
    if not _is_ours(after):
        raise MalformedMessage("`after` is not the id of a delivered message")
    return int(after)


def _is_ours(id_: str) -> bool:
    """Whether it can be the id of a message: others were never given out, so they are gone."""
    return id_.isascii() and id_.isdecimal() and len(id_) < 19
