"""Coordinate mediation 3.0: ask a mediator to take messages for a DID.

The dataclasses say what is meant; names and shapes on the wire are 3.0's and stand only in
`to_message` and `from_message`, since 2.0 says the same with others (`keylist-update`, a single
`routing_did`).

Source: https://didcomm.org/coordinate-mediation/3.0/
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Self, TypeVar

from messaging.errors import MalformedMessage
from messaging.message import Message
from messaging.protocols import body

PROTOCOL = "https://didcomm.org/coordinate-mediation/3.0"
MAX_UPDATES = 100
_E = TypeVar("_E", bound=StrEnum)


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
    TYPE: ClassVar[str] = f"{PROTOCOL}/mediate-request"

    def to_message(self, **headers: Any) -> Message:
        return Message(self.TYPE, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        body.expect(message, cls.TYPE)
        return cls()


@dataclass(frozen=True)
class MediateGrant:
    TYPE: ClassVar[str] = f"{PROTOCOL}/mediate-grant"

    routing_dids: tuple[str, ...]  # what a party names as its service endpoint

    def to_message(self, **headers: Any) -> Message:
        return Message(self.TYPE, {"routing_did": list(self.routing_dids)}, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        content = body.expect(message, cls.TYPE)
        if isinstance(content.get("routing_did"), str):  # as in 2.0; some mediators mix them up
            return cls((body.text(content, "routing_did"),))
        return cls(body.texts(content, "routing_did"))


@dataclass(frozen=True)
class MediateDeny:
    TYPE: ClassVar[str] = f"{PROTOCOL}/mediate-deny"

    def to_message(self, **headers: Any) -> Message:
        return Message(self.TYPE, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        body.expect(message, cls.TYPE)
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
    TYPE: ClassVar[str] = f"{PROTOCOL}/recipient-update"

    updates: tuple[Update, ...]

    def to_message(self, **headers: Any) -> Message:
        updates = [
            {"recipient_did": update.recipient_did, "action": update.action.value}
            for update in self.updates
        ]
        return Message(self.TYPE, {"updates": updates}, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        entries = body.objects(body.expect(message, cls.TYPE), "updates", MAX_UPDATES)
        return cls(
            tuple(
                Update(body.text(e, "recipient_did"), _member(Action, e, "action")) for e in entries
            )
        )


@dataclass(frozen=True)
class RecipientUpdateResponse:
    TYPE: ClassVar[str] = f"{PROTOCOL}/recipient-update-response"

    updated: tuple[Updated, ...]

    def to_message(self, **headers: Any) -> Message:
        updated = [
            {
                "recipient_did": update.recipient_did,
                "action": update.action.value,
                "result": update.result.value,
            }
            for update in self.updated
        ]
        return Message(self.TYPE, {"updated": updated}, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        entries = body.objects(body.expect(message, cls.TYPE), "updated", MAX_UPDATES)
        return cls(
            tuple(
                Updated(
                    body.text(entry, "recipient_did"),
                    _member(Action, entry, "action"),
                    _member(Result, entry, "result"),
                )
                for entry in entries
            )
        )


@dataclass(frozen=True)
class RecipientQuery:
    TYPE: ClassVar[str] = f"{PROTOCOL}/recipient-query"

    limit: int | None = None
    offset: int = 0

    def to_message(self, **headers: Any) -> Message:
        content: dict[str, Any] = {}
        if self.limit is not None:
            content["paginate"] = {"limit": self.limit, "offset": self.offset}
        return Message(self.TYPE, content, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        paginate = body.expect(message, cls.TYPE).get("paginate")
        if paginate is None:
            return cls()
        if not isinstance(paginate, dict):
            raise MalformedMessage("`paginate` is not an object")
        offset = body.optional_number(paginate, "offset")
        return cls(body.optional_number(paginate, "limit"), offset or 0)


@dataclass(frozen=True)
class Recipients:
    """The answer to a RecipientQuery; with `remaining` when it was asked for in pages."""

    TYPE: ClassVar[str] = f"{PROTOCOL}/recipient"

    dids: tuple[str, ...]
    offset: int = 0
    remaining: int | None = None

    def to_message(self, **headers: Any) -> Message:
        content: dict[str, Any] = {"dids": [{"recipient_did": did} for did in self.dids]}
        if self.remaining is not None:
            content["pagination"] = {
                "count": len(self.dids),
                "offset": self.offset,
                "remaining": self.remaining,
            }
        return Message(self.TYPE, content, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        content = body.expect(message, cls.TYPE)
        dids = tuple(
            body.text(entry, "recipient_did") for entry in body.objects(content, "dids", 10_000)
        )
        pagination = content.get("pagination")
        if not isinstance(pagination, dict):
            return cls(dids)
        offset = body.optional_number(pagination, "offset")
        return cls(dids, offset or 0, body.optional_number(pagination, "remaining"))


def _member(kind: type[_E], entry: Mapping[str, Any], name: str) -> _E:
    try:
        return kind(body.text(entry, name))
    except ValueError as error:
        raise MalformedMessage(f"`{name}` is none of {', '.join(kind)}") from error
