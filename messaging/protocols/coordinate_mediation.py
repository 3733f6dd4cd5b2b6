"""Coordinate mediation 2.0 and 3.0: ask a mediator to take messages for a DID.

The dataclasses say what is meant, in the words of 3.0. What 2.0 names otherwise (`keylist-update`
for `recipient-update`, `keys` for `dids`, one `routing_did` for a list) stands only in
`to_message`, which writes 3.0 unless told otherwise, and in `from_message`, which reads both.

Source: https://didcomm.org/coordinate-mediation/2.0/, https://didcomm.org/coordinate-mediation/3.0/
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Self, TypeVar

from messaging.errors import MalformedMessage
from messaging.message import Message
from messaging.protocols import body

MAX_UPDATES = 100
_E = TypeVar("_E", bound=StrEnum)


class Version(StrEnum):
    V2 = "https://didcomm.org/coordinate-mediation/2.0"
    V3 = "https://didcomm.org/coordinate-mediation/3.0"

    @classmethod
    def of(cls, message: Message) -> "Version":
        """The one that a message of this protocol is written in."""
        return cls.V2 if message.type.startswith(f"{cls.V2}/") else cls.V3


def _types(v2: str, v3: str) -> Mapping[Version, str]:
    return {Version.V2: f"{Version.V2}/{v2}", Version.V3: f"{Version.V3}/{v3}"}


class Action(StrEnum):
    ADD = "add"
    REMOVE = "remove"


class Result(StrEnum):
    SUCCESS = "success"
    NO_CHANGE = "no_change"
    CLIENT_ERROR = "client_error"
    SERVER_ERROR = "server_error"


@dataclass(frozen=True)
class MediateRequest:
    TYPES: ClassVar = _types("mediate-request", "mediate-request")
    TYPE: ClassVar[str] = TYPES[Version.V3]

    def to_message(self, version: Version = Version.V3, **headers: Any) -> Message:
        return Message(self.TYPES[version], **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        body.expect(message, *cls.TYPES.values())
        return cls()


@dataclass(frozen=True)
class MediateGrant:
    TYPES: ClassVar = _types("mediate-grant", "mediate-grant")
    TYPE: ClassVar[str] = TYPES[Version.V3]

    routing_dids: tuple[str, ...]  # what a party names as its service endpoint; in 2.0 one

    def to_message(self, version: Version = Version.V3, **headers: Any) -> Message:
        dids = list(self.routing_dids)
        content = {"routing_did": dids if version is Version.V3 else dids[0]}
        return Message(self.TYPES[version], content, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        content = body.expect(message, *cls.TYPES.values())
        if isinstance(content.get("routing_did"), str):  # as in 2.0; some mediators mix them up
            return cls((body.text(content, "routing_did"),))
        return cls(body.texts(content, "routing_did"))


@dataclass(frozen=True)
class MediateDeny:
    TYPES: ClassVar = _types("mediate-deny", "mediate-deny")
    TYPE: ClassVar[str] = TYPES[Version.V3]

    def to_message(self, version: Version = Version.V3, **headers: Any) -> Message:
        return Message(self.TYPES[version], **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        body.expect(message, *cls.TYPES.values())
        return cls()


@dataclass(frozen=True)
class Update:
    recipient_did: str
    action: Action


@dataclass(frozen=True)
class Updated:
    recipient_did: str
    action: Action
    result: Result


@dataclass(frozen=True)
class RecipientUpdate:
    TYPES: ClassVar = _types("keylist-update", "recipient-update")
    TYPE: ClassVar[str] = TYPES[Version.V3]

    updates: tuple[Update, ...]

    def to_message(self, version: Version = Version.V3, **headers: Any) -> Message:
        updates = [
            {"recipient_did": update.recipient_did, "action": update.action.value}
            for update in self.updates
        ]
        return Message(self.TYPES[version], {"updates": updates}, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        content = body.expect(message, *cls.TYPES.values())
        return cls(
            tuple(
                Update(body.text(entry, "recipient_did"), _member(Action, entry, "action"))
                for entry in body.objects(content, "updates", MAX_UPDATES)
            )
        )


@dataclass(frozen=True)
class RecipientUpdateResponse:
    TYPES: ClassVar = _types("keylist-update-response", "recipient-update-response")
    TYPE: ClassVar[str] = TYPES[Version.V3]

    updated: tuple[Updated, ...]

    def to_message(self, version: Version = Version.V3, **headers: Any) -> Message:
        updated = [
            {
                "recipient_did": update.recipient_did,
                "action": update.action.value,
                "result": update.result.value,
            }
            for update in self.updated
        ]
        return Message(self.TYPES[version], {"updated": updated}, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        content = body.expect(message, *cls.TYPES.values())
        return cls(
            tuple(
                Updated(
                    body.text(entry, "recipient_did"),
                    _member(Action, entry, "action"),
                    _member(Result, entry, "result"),
                )
                for entry in body.objects(content, "updated", MAX_UPDATES)
            )
        )


@dataclass(frozen=True)
class RecipientQuery:
    TYPES: ClassVar = _types("keylist-query", "recipient-query")
    TYPE: ClassVar[str] = TYPES[Version.V3]

    limit: int | None = None
    offset: int = 0

    def to_message(self, version: Version = Version.V3, **headers: Any) -> Message:
        content: dict[str, Any] = {}
        if self.limit is not None:
            content["paginate"] = {"limit": self.limit, "offset": self.offset}
        return Message(self.TYPES[version], content, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        paginate = body.expect(message, *cls.TYPES.values()).get("paginate")
        if paginate is None:
            return cls()
        if not isinstance(paginate, dict):
            raise MalformedMessage("`paginate` is not an object")
        offset = body.optional_number(paginate, "offset")
        return cls(body.optional_number(paginate, "limit"), offset or 0)


@dataclass(frozen=True)
class Recipients:
    """The answer to a RecipientQuery; with `remaining` when it was asked for in pages."""

    TYPES: ClassVar = _types("keylist", "recipient")
    TYPE: ClassVar[str] = TYPES[Version.V3]

    dids: tuple[str, ...]
    offset: int = 0
    remaining: int | None = None

    def to_message(self, version: Version = Version.V3, **headers: Any) -> Message:
        dids = [{"recipient_did": did} for did in self.dids]
        content: dict[str, Any] = {_list_name(version): dids}
        if self.remaining is not None:
            content["pagination"] = {
                "count": len(self.dids),
                "offset": self.offset,
                "remaining": self.remaining,
            }
        return Message(self.TYPES[version], content, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        content = body.expect(message, *cls.TYPES.values())
        entries = body.objects(content, _list_name(Version.of(message)), 10_000)
        dids = tuple(body.text(entry, "recipient_did") for entry in entries)
        pagination = content.get("pagination")
        if not isinstance(pagination, dict):
            return cls(dids)
        offset = body.optional_number(pagination, "offset")
        return cls(dids, offset or 0, body.optional_number(pagination, "remaining"))


def _list_name(version: Version) -> str:
    return "keys" if version is Version.V2 else "dids"


def _member(kind: type[_E], entry: Mapping[str, Any], name: str) -> _E:
    try:
        return kind(body.text(entry, name))
    except ValueError as error:
        raise MalformedMessage(f"`{name}` is none of {', '.join(kind)}") from error
