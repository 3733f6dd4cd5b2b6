"""Message pickup 3.0 and 4.0: fetch what a mediator keeps, on request or live.

The dataclasses say what is meant, in seconds and in the words of 3.0. What 4.0 writes otherwise
(`message-pickup`, `message_count_limit`, milliseconds, an empty delivery where nothing waits)
stands only in `to_message`, which writes 3.0 unless told otherwise, and in `from_message`, which
reads both.

One member is ours: `after`, by which a delivery-request pages past messages that it leaves.

Source: https://didcomm.org/messagepickup/3.0/, https://didcomm.org/message-pickup/4.0/
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Self

from messaging.errors import MalformedMessage
from messaging.message import Attachment, Message
from messaging.protocols import body

PAGING = "https://didmesh.org/pickup-paging/1.0"  # the name of `after` in discover-features
MAX_DELIVERY = 100  # messages
MAX_ACKNOWLEDGED = 1000  # ids in one messages-received
_TIMES = ("newest_received_time", "oldest_received_time")


class Version(StrEnum):
    V3 = "https://didcomm.org/messagepickup/3.0"
    V4 = "https://didcomm.org/message-pickup/4.0"

    @classmethod
    def of(cls, message: Message) -> "Version":
        """The one that a message of this protocol is written in."""
        return cls.V4 if message.type.startswith(f"{cls.V4}/") else cls.V3


def _types(name: str) -> Mapping[Version, str]:
    return {version: f"{version}/{name}" for version in Version}


PROBLEM_REPORT = _types("problem-report")[Version.V4]  # 3.0 has none of its own


@dataclass(frozen=True)
class StatusRequest:
    TYPES: ClassVar = _types("status-request")
    TYPE: ClassVar[str] = TYPES[Version.V3]

    recipient_did: str | None = None

    def to_message(self, version: Version = Version.V3, **headers: Any) -> Message:
        return Message(self.TYPES[version], _recipient(self.recipient_did), **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        return cls(_read_recipient(body.expect(message, *cls.TYPES.values())))


@dataclass(frozen=True)
class Status:
    TYPES: ClassVar = _types("status")
    TYPE: ClassVar[str] = TYPES[Version.V3]

    message_count: int
    recipient_did: str | None = None
    live_delivery: bool = False
    longest_waited_seconds: int | None = None  # 3.0 alone has it
    newest_received_time: int | None = None  # UTC seconds
    oldest_received_time: int | None = None  # UTC seconds
    total_bytes: int | None = None

    def to_message(self, version: Version = Version.V3, **headers: Any) -> Message:
        content = _recipient(self.recipient_did)
        content["message_count"] = self.message_count
        content["live_delivery"] = self.live_delivery
        if version is Version.V3 and self.longest_waited_seconds is not None:
            content["longest_waited_seconds"] = self.longest_waited_seconds
        for name in _TIMES:
            if (seconds := getattr(self, name)) is not None:
                content[name] = seconds * _units(version)
        if self.total_bytes is not None:
            content["total_bytes"] = self.total_bytes
        return Message(self.TYPES[version], content, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        content = body.expect(message, *cls.TYPES.values())
        units = _units(Version.of(message))
        times = {name: body.optional_number(content, name) for name in _TIMES}
        return cls(
            body.number(content, "message_count"),
            _read_recipient(content),
            content.get("live_delivery") is True,
            body.optional_number(content, "longest_waited_seconds"),
            total_bytes=body.optional_number(content, "total_bytes"),
            **{name: None if time is None else time // units for name, time in times.items()},
        )


@dataclass(frozen=True)
class DeliveryRequest:
    TYPES: ClassVar = _types("delivery-request")
    TYPE: ClassVar[str] = TYPES[Version.V3]

    limit: int
    recipient_did: str | None = None
    after: str | None = None  # only what came after this delivered message, acknowledged or not

    def to_message(self, version: Version = Version.V3, **headers: Any) -> Message:
        content = _recipient(self.recipient_did)
        content[_limit_name(version)] = self.limit
        if self.after is not None:
            content["after"] = self.after
        return Message(self.TYPES[version], content, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        content = body.expect(message, *cls.TYPES.values())
        name = _limit_name(Version.of(message))
        return cls(
            # Drafts of 4.0 called it `limit`, too.
            body.number(content, name if name in content else "limit"),
            _read_recipient(content),
            body.optional_text(content, "after"),
        )


@dataclass(frozen=True)
class Delivery:
    """Each attachment is an envelope; its id is the mediator's, for `MessagesReceived`."""

    TYPES: ClassVar = _types("delivery")
    TYPE: ClassVar[str] = TYPES[Version.V3]

    attachments: tuple[Attachment, ...]
    recipient_did: str | None = None

    def to_message(self, version: Version = Version.V3, **headers: Any) -> Message:
        if not self.attachments:  # a list that says so: 4.0 demands it
            headers["extra"] = {"attachments": []}
        content = _recipient(self.recipient_did)
        return Message(self.TYPES[version], content, attachments=self.attachments, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        content = body.expect(message, *cls.TYPES.values())
        if any(attachment.id is None for attachment in message.attachments):
            raise MalformedMessage("a delivered message has an id")
        return cls(message.attachments, _read_recipient(content))


@dataclass(frozen=True)
class MessagesReceived:
    TYPES: ClassVar = _types("messages-received")
    TYPE: ClassVar[str] = TYPES[Version.V3]

    ids: tuple[str, ...]  # of attachments

    def to_message(self, version: Version = Version.V3, **headers: Any) -> Message:
        return Message(self.TYPES[version], {"message_id_list": list(self.ids)}, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        ids = body.texts(body.expect(message, *cls.TYPES.values()), "message_id_list")
        if len(ids) > MAX_ACKNOWLEDGED:
            raise MalformedMessage(f"more than {MAX_ACKNOWLEDGED} acknowledgements at once")
        return cls(ids)


@dataclass(frozen=True)
class LiveDeliveryChange:
    TYPES: ClassVar = _types("live-delivery-change")
    TYPE: ClassVar[str] = TYPES[Version.V3]

    live_delivery: bool

    def to_message(self, version: Version = Version.V3, **headers: Any) -> Message:
        return Message(self.TYPES[version], {"live_delivery": self.live_delivery}, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        value = body.expect(message, *cls.TYPES.values()).get("live_delivery")
        if value not in (True, False, "true", "false"):  # as text, too: it occurs
            raise MalformedMessage("`live_delivery` is true or false")
        return cls(value in (True, "true"))


def _units(version: Version) -> int:
    """How many units of time on the wire a second has."""
    return 1000 if version is Version.V4 else 1


def _limit_name(version: Version) -> str:
    return "message_count_limit" if version is Version.V4 else "limit"


def _recipient(did: str | None) -> dict[str, Any]:
    return {} if did is None else {"recipient_did": did}


def _read_recipient(content: Mapping[str, Any]) -> str | None:
    """Its older name is `recipient_key`."""
    did = body.optional_text(content, "recipient_did")
    return did if did is not None else body.optional_text(content, "recipient_key")
