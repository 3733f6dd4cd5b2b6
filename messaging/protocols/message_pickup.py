"""Message pickup 3.0: fetch what a mediator keeps, on request or live.

Source: https://didcomm.org/messagepickup/3.0/
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from messaging.errors import MalformedMessage
from messaging.message import Attachment, Message
from messaging.protocols import body

PROTOCOL = "https://didcomm.org/messagepickup/3.0"
MAX_DELIVERY = 100  # messages
MAX_ACKNOWLEDGED = 1000  # ids in one messages-received
_STATISTICS = (
    *("longest_waited_seconds", "newest_received_time", "oldest_received_time"),
    "total_bytes",
)


@dataclass(frozen=True)
class StatusRequest:
    TYPE: ClassVar[str] = f"{PROTOCOL}/status-request"

    recipient_did: str | None = None

    def to_message(self, **headers: Any) -> Message:
        return Message(self.TYPE, _recipient(self.recipient_did), **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        return cls(_read_recipient(message, cls.TYPE))


@dataclass(frozen=True)
class Status:
    TYPE: ClassVar[str] = f"{PROTOCOL}/status"

    message_count: int
    recipient_did: str | None = None
    live_delivery: bool = False
    longest_waited_seconds: int | None = None
    newest_received_time: int | None = None  # UTC seconds
    oldest_received_time: int | None = None  # UTC seconds
    total_bytes: int | None = None

    def to_message(self, **headers: Any) -> Message:
        content = _recipient(self.recipient_did)
        content["message_count"] = self.message_count
        content["live_delivery"] = self.live_delivery
        for name in _STATISTICS:
            if (value := getattr(self, name)) is not None:
                content[name] = value
        return Message(self.TYPE, content, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        content = body.expect(message, cls.TYPE)
        statistics = {name: body.optional_number(content, name) for name in _STATISTICS}
        return cls(
            body.number(content, "message_count"),
            _read_recipient(message, cls.TYPE),
            content.get("live_delivery") is True,
            **statistics,
        )


@dataclass(frozen=True)
class DeliveryRequest:
    TYPE: ClassVar[str] = f"{PROTOCOL}/delivery-request"

    limit: int
    recipient_did: str | None = None

    def to_message(self, **headers: Any) -> Message:
        return Message(
            self.TYPE, {**_recipient(self.recipient_did), "limit": self.limit}, **headers
        )

    @classmethod
    def from_message(cls, message: Message) -> Self:
        limit = body.number(body.expect(message, cls.TYPE), "limit")
        if limit < 1:
            raise MalformedMessage("`limit` is at least 1")
        return cls(limit, _read_recipient(message, cls.TYPE))


@dataclass(frozen=True)
class Delivery:
    """Each attachment is an envelope; its id is the mediator's, for `MessagesReceived`."""

    TYPE: ClassVar[str] = f"{PROTOCOL}/delivery"

    attachments: tuple[Attachment, ...]
    recipient_did: str | None = None

    def to_message(self, **headers: Any) -> Message:
        content = _recipient(self.recipient_did)
        return Message(self.TYPE, content, attachments=self.attachments, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        recipient = _read_recipient(message, cls.TYPE)
        if any(attachment.id is None for attachment in message.attachments):
            raise MalformedMessage("a delivered message has an id")
        return cls(message.attachments, recipient)


@dataclass(frozen=True)
class MessagesReceived:
    TYPE: ClassVar[str] = f"{PROTOCOL}/messages-received"

    ids: tuple[str, ...]  # of attachments

    def to_message(self, **headers: Any) -> Message:
        return Message(self.TYPE, {"message_id_list": list(self.ids)}, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        ids = body.texts(body.expect(message, cls.TYPE), "message_id_list")
        if len(ids) > MAX_ACKNOWLEDGED:
            raise MalformedMessage(f"more than {MAX_ACKNOWLEDGED} acknowledgements at once")
        return cls(ids)


@dataclass(frozen=True)
class LiveDeliveryChange:
    TYPE: ClassVar[str] = f"{PROTOCOL}/live-delivery-change"

    live_delivery: bool

    def to_message(self, **headers: Any) -> Message:
        return Message(self.TYPE, {"live_delivery": self.live_delivery}, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        value = body.expect(message, cls.TYPE).get("live_delivery")
        if value not in (True, False, "true", "false"):  # as text, too: it occurs
            raise MalformedMessage("`live_delivery` is true or false")
        return cls(value in (True, "true"))


def _recipient(did: str | None) -> dict[str, Any]:
    return {} if did is None else {"recipient_did": did}


def _read_recipient(message: Message, type_: str) -> str | None:
    """Its older name is `recipient_key`."""
    content = body.expect(message, type_)
    did = body.optional_text(content, "recipient_did")
    return did if did is not None else body.optional_text(content, "recipient_key")
