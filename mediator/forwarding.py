"""Routing 2.0: keep an envelope for its recipient. Accepted means committed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import orjson

from identity.errors import InvalidDid
from mediator.addresses import canonical
from mediator.config import Conformance, Limits
from mediator.dispatch import Handler, Request
from mediator.errors import Refusal
from mediator.live import LiveAccounts
from mediator.stores.interface import InboxFull, SenderLimit, Store
from messaging.encoding import load_object
from messaging.errors import MalformedMessage
from messaging.message import Attachment
from messaging.protocols.routing import Forward

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


def handlers(
    store: Store,
    live: LiveAccounts,
    ours: Collection[str],
    limits: Limits,
    conformance: Conformance,
) -> Mapping[str, Handler]:
    async def forward(request: Request) -> None:
        """Never answered, not even for `please_ack`: a 2xx says all there is to say."""
        message = Forward.from_message(request.message)
        recipient = _recipient(message, ours)
        try:
            account = await store.enqueue(
                recipient,
                [_envelope(a, limits.delivery_bytes) for a in message.attachments],
                sender=request.sender,
                expires=_expiry(request, limits),
                now=request.now,
            )
        except InboxFull as error:
            raise Refusal(QUEUE_FULL, str(error), status=TRY_LATER) from error
        except SenderLimit as error:
            raise Refusal(SENDER_LIMIT, str(error), status=TRY_LATER) from error
        if account is not None:
            live.wake(account)
        elif conformance.report_unknown_recipients:
            raise Refusal("e.p.req.not_enroll", "nobody takes mail for `next`", status=BAD_REQUEST)
        # else: mail for nobody looks like mail for somebody

    return {Forward.TYPE: forward}


def _recipient(forward: Forward, ours: Collection[str]) -> str:
    try:
        recipient = canonical(forward.next)
    except InvalidDid as error:
        raise Refusal(BAD_NEXT, str(error), status=BAD_REQUEST) from error
    if recipient in ours:
        raise Refusal(BAD_NEXT, "`next` is this mediator: nothing to pass on", status=BAD_REQUEST)
    return recipient


def _envelope(attachment: Attachment, max_bytes: int) -> bytes:
    """The bytes to keep: compact JSON, so that equal envelopes are equal bytes however attached."""
    content = attachment.content()
    if len(content) > max_bytes:
        raise Refusal(
            TOO_BIG, f"an attached envelope has at most {max_bytes} bytes", status=TOO_LARGE
        )
    value = attachment.json if attachment.base64 is None else load_object(content)
    if not isinstance(value, dict):
        raise MalformedMessage("an attached envelope is a JSON object")
    # Only brackets nest: with few of them in the text there is nothing to walk.
    if content.count(b"{") + content.count(b"[") > MAX_DEPTH:
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


def _expiry(request: Request, limits: Limits) -> int:
    latest = request.now + limits.lifetime
    wanted = request.message.expires_time
    return latest if wanted is None else min(latest, wanted)
