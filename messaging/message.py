"""A DIDComm v2 message in plaintext, and its attachments."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

import orjson
import pybase64

from messaging.encoding import MAX_BYTES, load_object
from messaging.errors import MalformedMessage

PLAIN = "application/didcomm-plain+json"
MAX_ATTACHMENTS = 100  # as many as one delivery of a mediator carries
_MILLISECONDS = 100_000_000_000  # seconds never get this large; some clients count in milliseconds


def new_id() -> str:
    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True)
class Attachment:
    """One of `json`, `base64` and `links` holds what is attached; `extra` what we do not know."""

    id: str | None = None
    json: Any = None
    base64: str | None = None
    links: tuple[str, ...] = ()
    hash: str | None = None  # multihash; `links` need one
    media_type: str | None = None
    format: str | None = None
    filename: str | None = None
    description: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def content(self) -> bytes:
        """The attached bytes; JSON is written compactly again, links are not followed.

        Raises: MalformedMessage.
        """
        if self.base64 is not None:
            return _decode_liberally(self.base64)
        if self.json is not None:
            return orjson.dumps(self.json)
        raise MalformedMessage("the attachment holds no content")

    @classmethod
    def from_json(cls, value: object) -> Self:
        if not isinstance(value, dict):
            raise MalformedMessage("an attachment is an object")
        data = value.get("data")
        if not isinstance(data, dict):
            raise MalformedMessage("an attachment has `data`")
        return cls(
            id=_text(value, "id"),
            json=data.get("json"),
            base64=_text(data, "base64"),
            links=_texts(data, "links"),
            hash=_text(data, "hash"),
            media_type=_text(value, "media_type"),
            format=_text(value, "format"),
            filename=_text(value, "filename"),
            description=_text(value, "description"),
            extra={name: value[name] for name in value.keys() - _ATTACHMENT_MEMBERS},
        )

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = dict(self.extra)
        for name in ("id", "media_type", "format", "filename", "description"):
            if (text := getattr(self, name)) is not None:
                value[name] = text
        data: dict[str, Any] = {}
        if self.json is not None:
            data["json"] = self.json
        if self.base64 is not None:
            data["base64"] = self.base64
        if self.links:
            data["links"] = list(self.links)
        if self.hash is not None:
            data["hash"] = self.hash
        value["data"] = data
        return value


@dataclass(frozen=True, slots=True)
class Message:
    """Header and body. `frm` and `from_prior` are claims; `packing.Opened` says what is proven."""

    type: str
    body: Mapping[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=new_id)
    frm: str | None = None
    to: tuple[str, ...] = ()
    thid: str | None = None
    pthid: str | None = None
    created_time: int | None = None  # UTC seconds
    expires_time: int | None = None  # UTC seconds
    from_prior: str | None = None  # compact JWS
    return_route: str | None = None
    please_ack: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def thread(self) -> str:
        """The thread it belongs to: its own when it begins one."""
        return self.thid if self.thid is not None else self.id

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a plaintext message; unknown headers are kept in `extra`.

        Raises: MalformedMessage, for any other input whatsoever.
        Source: DIDComm Messaging v2.1, "Plaintext Message Structure".
        """
        if len(data) > MAX_BYTES:
            raise MalformedMessage(f"longer than {MAX_BYTES} bytes")
        return cls.from_json(load_object(data))

    def serialize(self) -> bytes:
        """Raises: MalformedMessage if the body or an attachment is not JSON."""
        try:
            return orjson.dumps(self.to_json())
        except TypeError as error:
            raise MalformedMessage("the message holds something that is not JSON") from error

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        # Hot path: one look-up per header, a check only for those that are there.
        get = value.get
        kind, identifier, body = get("type"), get("id"), get("body")
        if type(kind) is not str or not kind or type(identifier) is not str or not identifier:
            raise MalformedMessage("a message has a `type` and an `id`")
        if body is None:
            body = {}
        elif type(body) is not dict:
            raise MalformedMessage("`body` is not an object")
        return cls(
            type=kind,
            body=body,
            id=identifier,
            frm=_text(value, "from"),
            to=_texts(value, "to"),
            thid=_text(value, "thid"),
            pthid=_text(value, "pthid"),
            created_time=_seconds(value, "created_time"),
            expires_time=_seconds(value, "expires_time"),
            from_prior=_text(value, "from_prior"),
            return_route=_return_route(value),
            please_ack=_texts(value, "please_ack"),
            attachments=_attachments(value),
            extra={name: value[name] for name in value if name not in _HEADERS},
        )

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {**self.extra} if self.extra else {}
        value["id"] = self.id
        value["typ"] = PLAIN
        value["type"] = self.type
        value["body"] = self.body
        if self.frm is not None:
            value["from"] = self.frm
        if self.to:
            value["to"] = self.to
        if self.thid is not None:
            value["thid"] = self.thid
        if self.pthid is not None:
            value["pthid"] = self.pthid
        if self.created_time is not None:
            value["created_time"] = self.created_time
        if self.expires_time is not None:
            value["expires_time"] = self.expires_time
        if self.from_prior is not None:
            value["from_prior"] = self.from_prior
        if self.return_route is not None:
            value["return_route"] = self.return_route
        if self.please_ack:
            value["please_ack"] = self.please_ack
        if self.attachments:
            value["attachments"] = [attachment.to_json() for attachment in self.attachments]
        return value


_HEADERS = frozenset(
    {
        *("id", "typ", "type", "body", "from", "to", "thid", "pthid", "created_time"),
        *("expires_time", "from_prior", "return_route", "please_ack", "attachments"),
    }
)
_ATTACHMENT_MEMBERS = frozenset({"id", "data", "media_type", "format", "filename", "description"})


def _text(value: Mapping[str, Any], name: str) -> str | None:
    text = value.get(name)
    if text is None or type(text) is str:
        return text
    raise MalformedMessage(f"`{name}` is not a string")


def _texts(value: Mapping[str, Any], name: str) -> tuple[str, ...]:
    texts = value.get(name)
    if texts is None:
        return ()
    if type(texts) is not list:
        raise MalformedMessage(f"`{name}` is not a list")
    for text in texts:
        if type(text) is not str:
            raise MalformedMessage(f"`{name}` is not a list of strings")
    return tuple(texts)


def _seconds(value: Mapping[str, Any], name: str) -> int | None:
    """UTC seconds; clients in use also write milliseconds or an ISO 8601 string."""
    time = value.get(name)
    if time is None:
        return None
    if type(time) is str:
        time = _iso_seconds(time, name)
    if type(time) not in (int, float) or not abs(time) < 1e16:
        raise MalformedMessage(f"`{name}` is not a time")
    return int(time) // 1000 if time >= _MILLISECONDS else int(time)


def _iso_seconds(text: str, name: str) -> int:
    try:
        time = datetime.fromisoformat(text)
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError) as error:
        raise MalformedMessage(f"`{name}` is not a time") from error


def _return_route(value: Mapping[str, Any]) -> str | None:
    route = _text(value, "return_route")
    custom = value.get("custom_headers")
    if route is None and type(custom) is list:  # where some older clients put it
        for header in custom:
            if type(header) is dict and type(header.get("return_route")) is str:
                return str(header["return_route"])
    return route


def _attachments(value: Mapping[str, Any]) -> tuple[Attachment, ...]:
    attachments = value.get("attachments")
    if not attachments:
        return ()
    if type(attachments) is not list:
        raise MalformedMessage("`attachments` is not a list")
    if len(attachments) > MAX_ATTACHMENTS:
        raise MalformedMessage(f"more than {MAX_ATTACHMENTS} attachments")
    return tuple(Attachment.from_json(attachment) for attachment in attachments)


def _decode_liberally(text: str) -> bytes:
    """base64 or base64url, padded or not: all of them occur in attachments."""
    text = text.rstrip("=").replace("+", "-").replace("/", "_")
    try:
        return pybase64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except ValueError as error:
        raise MalformedMessage("the attachment is not base64") from error
