"""How the parties of a session agree: our own protocol, `https://didmesh.org/session/1.0/`.

Every message goes from one party to one other, authcrypted. `docs/protocols/session.md` tells the
story they make together; here is their form, and the limits a stranger's message must keep.

    propose    my draft, with my nonce and my ML-KEM key   (a later one replaces an earlier one)
    withdraw   my proposal no longer stands
    offer      my signed `agree`, and how to reach me: WireGuard key, candidates, check credentials
    candidates more addresses of mine, after my network changed, or tickets for another relay
    statement  ready, result or abort, signed, where the mesh does not carry them
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from messaging.errors import MalformedMessage
from messaging.message import Message

PROTOCOL: Final = "https://didmesh.org/session/1.0"
MAX_REASON = 300  # characters
MAX_EPOCH = 99
ENCAPSULATION_KEY_BYTES, CIPHERTEXT_BYTES, TAG_BYTES = 1184, 1088, 32  # FIPS 203, table 3
_KEY_LENGTH = 44  # base64 of 32 bytes, the form WireGuard's own tools use


@dataclass(frozen=True)
class Propose:
    TYPE = f"{PROTOCOL}/propose"

    draft: Mapping[str, Any]
    nonce: str
    created: int  # Unix milliseconds
    encapsulation_key: str | None = None  # ML-KEM-768, base64url
    epoch: int = 0  # how many times these parties have begun this already
    previous: str | None = None  # the session of the epoch before, for who was in it

    def to_body(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "draft": dict(self.draft),
            "nonce": self.nonce,
            "created": self.created,
            "epoch": self.epoch,
        }
        more = {"encapsulation_key": self.encapsulation_key, "previous": self.previous}
        return body | {name: value for name, value in more.items() if value is not None}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Propose:
        draft = _field(body, "draft", dict)
        _field(draft, "parties", list)
        created = _field(body, "created", int)
        if not 0 < created < 2**53:
            raise MalformedMessage("created is not a time in milliseconds")
        key = None
        if "encapsulation_key" in body:
            key = _bytes(body, "encapsulation_key", ENCAPSULATION_KEY_BYTES)
        epoch = _field(body, "epoch", int)
        if not 0 <= epoch <= MAX_EPOCH:
            raise MalformedMessage(f"epoch is not 0 to {MAX_EPOCH}")
        previous = _session(body, "previous") if "previous" in body else None
        return cls(draft, _nonce(body, "nonce"), created, key, epoch, previous)


@dataclass(frozen=True)
class Withdraw:
    TYPE = f"{PROTOCOL}/withdraw"

    nonce: str
    reason: str
    refused: str | None = None  # the nonce of the proposal, yours or another's, that was refused
    lost: bool = False  # whether the reason is that a party was lost, which may come back

    def to_body(self) -> dict[str, Any]:
        body: dict[str, Any] = {"nonce": self.nonce, "reason": self.reason[:MAX_REASON]}
        more = {"refused": self.refused, "lost": self.lost or None}
        return body | {name: value for name, value in more.items() if value is not None}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Withdraw:
        refused = _nonce(body, "refused") if "refused" in body else None
        lost = body.get("lost") is True
        return cls(_nonce(body, "nonce"), _text(body, "reason", MAX_REASON), refused, lost)


@dataclass(frozen=True)
class Preshared:
    """The sender's half of a pair's pre-shared key, and the proof that it fits; base64url."""

    ciphertext: str  # ML-KEM-768, for the recipient's encapsulation key
    tag: str

    def to_json(self) -> dict[str, str]:
        return {"ciphertext": self.ciphertext, "tag": self.tag}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Preshared:
        """Raises: MalformedMessage."""
        ciphertext = _bytes(value, "ciphertext", CIPHERTEXT_BYTES)
        return cls(ciphertext, _bytes(value, "tag", TAG_BYTES))


@dataclass(frozen=True)
class Offer:
    """For one other party alone: never through the roster, so that nobody can step in between."""

    TYPE = f"{PROTOCOL}/offer"

    session: str
    statement: str  # `agree`, compact JWS
    wireguard_key: str  # public, base64
    side: Mapping[str, Any] = field(repr=False)  # candidates and check credentials
    relays: Sequence[Mapping[str, Any]] = field(default=(), repr=False)  # tickets for your side
    preshared: Preshared | None = None

    def to_body(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "session": self.session,
            "statement": self.statement,
            "wireguard_key": self.wireguard_key,
            "side": dict(self.side),
            "relays": list(self.relays),
        }
        return body if self.preshared is None else {**body, "preshared": self.preshared.to_json()}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Offer:
        key = _text(body, "wireguard_key", _KEY_LENGTH)
        if not re.fullmatch(r"[A-Za-z0-9+/]{43}=", key):
            raise MalformedMessage("wireguard_key is not 32 bytes in base64")
        relays = tuple(_field(body, "relays", list) if "relays" in body else ())
        side = _field(body, "side", dict)
        preshared = None
        if "preshared" in body:
            preshared = Preshared.from_json(_field(body, "preshared", dict))
        return cls(_session(body), _statement(body), key, side, relays, preshared)


@dataclass(frozen=True)
class Say:
    """A signed statement on its way; who signed it is checked where the roster is known."""

    TYPE = f"{PROTOCOL}/statement"

    session: str
    statement: str  # compact JWS

    def to_body(self) -> dict[str, Any]:
        return {"session": self.session, "statement": self.statement}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Say:
        return cls(_session(body), _statement(body))


@dataclass(frozen=True)
class Candidates:
    """More addresses beside those of the offer, for the same pair and its credentials.

    With `relays`, tickets in place of all that the sender gave before.
    """

    TYPE = f"{PROTOCOL}/candidates"

    session: str
    candidates: Sequence[Mapping[str, Any]]
    relays: Sequence[Mapping[str, Any]] = field(default=(), repr=False)

    def to_body(self) -> dict[str, Any]:
        body: dict[str, Any] = {"session": self.session, "candidates": list(self.candidates)}
        return body if not self.relays else {**body, "relays": list(self.relays)}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Candidates:
        relays = tuple(_field(body, "relays", list) if "relays" in body else ())
        return cls(_session(body), tuple(_field(body, "candidates", list)), relays)


SessionMessage = Propose | Withdraw | Offer | Candidates | Say
_BY_TYPE: Final[Mapping[str, type[SessionMessage]]] = {
    kind.TYPE: kind for kind in (Propose, Withdraw, Offer, Candidates, Say)
}


def to_message(content: SessionMessage, *, frm: str, to: str, expires_time: int) -> Message:
    return Message(
        type=content.TYPE, body=content.to_body(), frm=frm, to=(to,), expires_time=expires_time
    )


def from_message(message: Message) -> SessionMessage | None:
    """The session message in here, or None if it belongs to another protocol.

    Raises: MalformedMessage.
    """
    kind = _BY_TYPE.get(message.type)
    return None if kind is None else kind.from_body(message.body)


def _field(body: Mapping[str, Any], name: str, kind: type) -> Any:
    value = body.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise MalformedMessage(f"{name} is missing or not of the right type")
    return value


def _text(body: Mapping[str, Any], name: str, longest: int) -> str:
    value: str = _field(body, name, str)
    if len(value) > longest:
        raise MalformedMessage(f"{name} is longer than {longest} characters")
    return value


def _nonce(body: Mapping[str, Any], name: str) -> str:
    return _bytes(body, name, 32)


def _bytes(body: Mapping[str, Any], name: str, count: int) -> str:
    """So many bytes, as base64url without padding."""
    length = -(-count * 4 // 3)
    value = _text(body, name, length)
    if not re.fullmatch(rf"[A-Za-z0-9_-]{{{length}}}", value):
        raise MalformedMessage(f"{name} is not {count} bytes in base64url")
    return value


def _statement(body: Mapping[str, Any]) -> str:
    return _text(body, "statement", 2048)


def _session(body: Mapping[str, Any], name: str = "session") -> str:
    value = _text(body, name, 64)
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise MalformedMessage(f"{name} is not a SHA-256 in hex")
    return value
