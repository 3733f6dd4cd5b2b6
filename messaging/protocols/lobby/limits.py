"""How a lobby's messages are bounded, and their members read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from identity.codec import b64url_decode
from messaging.errors import MalformedMessage
from messaging.protocols.body import number, text

PROTOCOL: Final = "https://didmesh.org/lobby/1.0"
MAX_REASON = 300  # characters
MAX_NAME = 40  # characters of what a guest calls itself
MAX_SEATS = 64
MAX_DID = 4096
MAX_STATEMENT = 1100  # bytes of an echo
MAX_LINK = 16 * 1024  # characters
PIECE = 128 * 1024  # bytes of a program in one message: fits an envelope in an envelope
MAX_PIECES = 64
_HASH = re.compile(r"[0-9a-f]{64}")
_RANDOM = {16: 22, 32: 43}  # bytes -> characters of base64url


@dataclass(frozen=True)
class WithReason:
    """What ends something in a lobby, and why."""

    lobby: str
    reason: str

    def to_body(self) -> dict[str, Any]:
        return {"lobby": self.lobby, "reason": self.reason[:MAX_REASON]}


def bounded(body: Mapping[str, Any], name: str, longest: int) -> str:
    value = text(body, name)
    if len(value) > longest:
        raise MalformedMessage(f"`{name}` is longer than {longest} characters")
    return value


def line(body: Mapping[str, Any], name: str, longest: int) -> str:
    """One printable line, perhaps an empty one."""
    value = body.get(name, "")
    if type(value) is not str or len(value) > longest or not value.isprintable():
        raise MalformedMessage(f"`{name}` is not a line of at most {longest} characters")
    return value


def is_random(value: str, size: int) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_-]+", value) is not None and len(value) == _RANDOM[size]


def random_text(body: Mapping[str, Any], name: str, size: int) -> str:
    value = bounded(body, name, 64)
    if not is_random(value, size):
        raise MalformedMessage(f"`{name}` is not {size} bytes in base64url")
    return value


def sha256_hex(body: Mapping[str, Any], name: str) -> str:
    value = bounded(body, name, 64)
    if not _HASH.fullmatch(value):
        raise MalformedMessage(f"`{name}` is not a SHA-256 in hex")
    return value


def milliseconds(body: Mapping[str, Any]) -> int:
    created = number(body, "created")
    if not 0 < created < 2**53:
        raise MalformedMessage("`created` is not a time in milliseconds")
    return created


def element_bytes(body: Mapping[str, Any], name: str) -> bytes:
    try:
        value = b64url_decode(bounded(body, name, 43))
    except ValueError as error:
        raise MalformedMessage(f"`{name}` is not base64url") from error
    if len(value) != 32:
        raise MalformedMessage(f"`{name}` is not 32 bytes")
    return value
