"""Routing 2.0: keep an envelope for its recipient, or pass it on. Accepted means committed."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from identity.errors import InvalidDid
from mediator.addresses import OwnNames, canonical, is_url
from mediator.delivery.live import LiveAccounts
from mediator.delivery.outbound import MAX_HOPS, Origin, Outbound
from mediator.errors import Refusal
from mediator.handlers.dispatch import Handler, Request
from mediator.settings.config import Conformance, Limits
from mediator.stores.interface import InboxFull, SenderLimit, Store
from messaging.encoding import load_object, may_nest
from messaging.errors import MalformedMessage
from messaging.message import Attachment
from messaging.protocols.routing import Forward
from resolvers.guarded import TargetRefused

BAD_REQUEST, TOO_LARGE, TRY_LATER = (
    400,
    413,
    429,
)  # HTTP: a forward that is refused is never answered 2xx
MAX_DEPTH = 16  # of the JSON of an envelope; a sealed one has 4

QUEUE_FULL = "e.p.me.res.storage.queue-full"
SENDER_LIMIT = "e.p.me.res.storage.sender-limit"
TOO_BIG = "e.p.me.res.storage.message-too-big"
BAD_NEXT = "e.p.msg.bad-next"
LINKS = "e.p.msg.links"
TOO_LATE = "e.p.msg.delay-too-long"
TOO_FAR = "e.p.msg.too-many-hops"
PASSES_NOTHING_ON = "e.p.req.passes-nothing-on"

MAX_DELAY = 24 * 3600 * 1000  # milliseconds


def handlers(
    store: Store,
    live: LiveAccounts,
    own: OwnNames,
    outbound: Outbound,
    limits: Limits,
    conformance: Conformance,
    passes_on: bool,
) -> Mapping[str, Handler]:
    return {
        Forward.TYPE: Forwarding(
            store, live, own, outbound, limits, conformance, passes_on
        ).forward,
    }


@dataclass(frozen=True)
class _Letters:
    """What a forward asks for, checked."""

    envelopes: Sequence[bytes]
    expires: int
    delay: int  # milliseconds


class Forwarding:
    def __init__(
        self,
        store: Store,
        live: LiveAccounts,
        own: OwnNames,
        outbound: Outbound,
        limits: Limits,
        conformance: Conformance,
        passes_on: bool,
    ) -> None:
        self._store = store
        self._live = live
        self._own = own
        self._outbound = outbound
        self._limits = limits
        self._conformance = conformance
        self._passes_on = passes_on

    async def forward(self, request: Request) -> None:
        """Never answered, not even for `please_ack`: a 2xx says all there is to say."""
        message = Forward.from_message(request.message)
        letters = _Letters(
            [_envelope(a, self._limits.delivery_bytes) for a in message.attachments],
            _expiry(request, self._limits),
            _delay(message),
        )
        if is_url(message.next):
            if not self._passes_on:
                raise Refusal(PASSES_NOTHING_ON, "mail is kept here only", status=BAD_REQUEST)
            await self._relay(request, self._url(message.next), letters)
            return
        recipient = self._recipient(message)
        did = message.next.partition("#")[0].partition("?")[0]
        # Asked of everybody, so that it takes as long for those whose mail is kept here.
        elsewhere = self._passes_on and await self._outbound.leads_elsewhere(did)
        if letters.delay and await self._store.is_bound(recipient):
            await self._outbound.post(
                recipient,
                letters.envelopes,
                inbox=True,
                delay=letters.delay,
                expires=letters.expires,
                sender=request.sender,
                origin=_origin(request),
            )
        elif await self._keep(request, recipient, letters):
            return
        elif elsewhere:
            await self._relay(request, did, letters)
        elif self._conformance.report_unknown_recipients:
            raise Refusal("e.p.req.not_enroll", "nobody takes mail for `next`", status=BAD_REQUEST)
        # else: mail for nobody looks like mail for somebody

    async def _keep(self, request: Request, recipient: str, letters: _Letters) -> bool:
        """Whether there is somebody whose mail it is."""
        try:
            account = await self._store.enqueue(
                recipient,
                letters.envelopes,
                sender=request.sender,
                expires=letters.expires,
                now=request.now,
            )
        except InboxFull as error:
            raise Refusal(QUEUE_FULL, str(error), status=TRY_LATER) from error
        except SenderLimit as error:
            raise Refusal(SENDER_LIMIT, str(error), status=TRY_LATER) from error
        if account is not None:
            self._live.wake(account)
        return account is not None

    async def _relay(self, request: Request, target: str, letters: _Letters) -> None:
        if request.hops >= MAX_HOPS:
            raise Refusal(
                TOO_FAR, f"{request.hops} mediators passed it on already", status=BAD_REQUEST
            )
        await self._outbound.post(
            target,
            letters.envelopes,
            expires=letters.expires,
            delay=letters.delay,
            hops=request.hops,
            origin=_origin(request),
        )

    def _recipient(self, forward: Forward) -> str:
        try:
            recipient = canonical(forward.next)
        except InvalidDid as error:
            raise Refusal(BAD_NEXT, str(error), status=BAD_REQUEST) from error
        if recipient in self._own.dids:
            raise Refusal(
                BAD_NEXT, "`next` is this mediator: nothing to pass on", status=BAD_REQUEST
            )
        return recipient

    def _url(self, url: str) -> str:
        try:
            self._outbound.check(url)
        except TargetRefused as error:
            raise Refusal(BAD_NEXT, f"`next`: {error}", status=BAD_REQUEST) from error
        return url


def _envelope(attachment: Attachment, max_bytes: int) -> bytes:
    """The bytes to keep: compact JSON, so that equal envelopes are equal bytes however attached."""
    if attachment.links and attachment.base64 is None and attachment.json is None:
        raise Refusal(LINKS, "nobody fetches links: attach the envelope", status=BAD_REQUEST)
    content = attachment.content()
    if len(content) > max_bytes:
        raise Refusal(
            TOO_BIG, f"an attached envelope has at most {max_bytes} bytes", status=TOO_LARGE
        )
    value = attachment.json if attachment.base64 is None else load_object(content)
    if not isinstance(value, dict):
        raise MalformedMessage("an attached envelope is a JSON object")
    if may_nest(content, MAX_DEPTH):
        _check_depth(value)
    return content if attachment.base64 is None else orjson.dumps(value)


def _check_depth(value: dict[str, Any]) -> None:
    """One envelope that a recipient's parser refuses would block all that wait behind it."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise MalformedMessage(f"an attached envelope is nested deeper than {MAX_DEPTH}")


def _origin(request: Request) -> Origin | None:
    """Whom to tell if the mail is given up; nobody knows who sent an anonymous forward."""
    if request.sender is None:
        return None
    return Origin(request.sender, request.ours, request.message.thread)


def _expiry(request: Request, limits: Limits) -> int:
    latest = request.now + limits.lifetime
    wanted = request.message.expires_time
    return latest if wanted is None else min(latest, wanted)


def _delay(forward: Forward) -> int:
    """Milliseconds to wait; a negative wish means a random time up to that."""
    wanted = forward.delay_milli or 0
    if abs(wanted) > MAX_DELAY:
        raise Refusal(
            TOO_LATE, f"`delay_milli` is at most {MAX_DELAY} either way", status=BAD_REQUEST
        )
    return wanted if wanted >= 0 else secrets.randbelow(-wanted + 1)
