"""What a host says to its guests, and to whom it wants as guests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from identity.codec import b64url_encode
from messaging.errors import MalformedMessage
from messaging.message import Attachment, Message
from messaging.protocols.body import number, objects, texts
from messaging.protocols.lobby.claims import (
    Claim,
    Requirement,
    claims_by_rank,
    claims_of,
    requires_of,
    to_jsons,
)
from messaging.protocols.lobby.limits import (
    MAX_DID,
    MAX_LINK,
    MAX_NAME,
    MAX_PIECES,
    MAX_REASON,
    MAX_SEATS,
    MAX_STATEMENT,
    PIECE,
    PROTOCOL,
    WithReason,
    bounded,
    is_random,
    line,
    milliseconds,
    random_text,
    sha256_hex,
)


@dataclass(frozen=True)
class Seat:
    """One party in a roster; `stage` is where it is: admitted or ready."""

    did: str
    role: str
    name: str  # what it calls itself
    stage: str
    claims: tuple[Claim, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "did": self.did,
            "role": self.role,
            "name": self.name,
            "stage": self.stage,
            "claims": to_jsons(self.claims),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Seat:
        return cls(
            bounded(value, "did", MAX_DID),
            line(value, "role", MAX_NAME),
            line(value, "name", MAX_NAME),
            line(value, "stage", MAX_NAME),
            claims_of(value),
        )


@dataclass(frozen=True)
class Offered:
    """The program that will run: its label, and what it really is."""

    name: str
    sha256: str
    pieces: int  # of its archive

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "sha256": self.sha256, "pieces": self.pieces}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Offered:
        pieces = number(value, "pieces")
        if not 0 < pieces <= MAX_PIECES:
            raise MalformedMessage(f"a program has 1 to {MAX_PIECES} pieces")
        return cls(line(value, "name", MAX_NAME * 2), sha256_hex(value, "sha256"), pieces)


@dataclass(frozen=True)
class Roster:
    TYPE = f"{PROTOCOL}/roster"

    lobby: str
    seq: int
    title: str
    program: Offered
    seats: int
    locked: bool
    expires: int  # UTC seconds
    entries: tuple[Seat, ...]
    requires: tuple[Requirement, ...] = ()

    def to_body(self) -> dict[str, Any]:
        return {
            "lobby": self.lobby,
            "seq": self.seq,
            "title": self.title,
            "program": self.program.to_json(),
            "seats": self.seats,
            "locked": self.locked,
            "expires": self.expires,
            "entries": [entry.to_json() for entry in self.entries],
            "requires": to_jsons(self.requires),
        }

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Roster:
        program = body.get("program")
        if not isinstance(program, dict):
            raise MalformedMessage("`program` is not an object")
        seats = number(body, "seats")
        if not 2 <= seats <= MAX_SEATS:
            raise MalformedMessage(f"a lobby has 2 to {MAX_SEATS} seats")
        entries = tuple(map(Seat.from_json, objects(body, "entries", MAX_SEATS)))
        if len({entry.did for entry in entries}) != len(entries):
            raise MalformedMessage("a party has two seats")
        return cls(
            random_text(body, "lobby", 16),
            number(body, "seq"),
            line(body, "title", 200),
            Offered.from_json(program),
            seats,
            body.get("locked") is True,
            number(body, "expires"),
            entries,
            requires_of(body),
        )


@dataclass(frozen=True)
class Require:
    """The answer to a knock that lacks claims: show these, and knock again."""

    TYPE = f"{PROTOCOL}/require"

    lobby: str
    requires: tuple[Requirement, ...]

    def to_body(self) -> dict[str, Any]:
        return {"lobby": self.lobby, "requires": to_jsons(self.requires)}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Require:
        requires = requires_of(body)
        if not requires:
            raise MalformedMessage("`requires` is empty")
        return cls(random_text(body, "lobby", 16), requires)


@dataclass(frozen=True)
class Piece:
    """Its bytes travel as the message's one attachment."""

    TYPE = f"{PROTOCOL}/piece"

    lobby: str
    sha256: str
    index: int
    data: bytes = field(repr=False)

    def to_body(self) -> dict[str, Any]:
        return {"lobby": self.lobby, "sha256": self.sha256, "index": self.index}

    def attachments(self) -> tuple[Attachment, ...]:
        return (Attachment(id="piece", base64=b64url_encode(self.data)),)

    @classmethod
    def from_message(cls, message: Message) -> Piece:
        body = message.body
        index = number(body, "index")
        if index >= MAX_PIECES or len(message.attachments) != 1:
            raise MalformedMessage("a piece has a number and one attachment")
        data = message.attachments[0].content()
        if not 0 < len(data) <= PIECE:
            raise MalformedMessage(f"a piece has 1 to {PIECE} bytes")
        return cls(random_text(body, "lobby", 16), sha256_hex(body, "sha256"), index, data)


@dataclass(frozen=True)
class Settle:
    TYPE = f"{PROTOCOL}/settle"

    lobby: str
    seq: int
    draft: Mapping[str, Any]
    nonces: tuple[str, ...]  # by rank
    created: int  # Unix milliseconds, of all proposals
    claims: tuple[tuple[Claim, ...], ...] = ()  # everybody's, by rank

    def to_body(self) -> dict[str, Any]:
        return {
            "lobby": self.lobby,
            "seq": self.seq,
            "draft": dict(self.draft),
            "nonces": list(self.nonces),
            "created": self.created,
            "claims": [to_jsons(claims) for claims in self.claims],
        }

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Settle:
        draft, nonces, created = body.get("draft"), texts(body, "nonces"), milliseconds(body)
        if not isinstance(draft, dict) or not isinstance(draft.get("parties"), list):
            raise MalformedMessage("`draft` is not a draft")
        if not all(is_random(nonce, 32) for nonce in nonces) or len(nonces) > MAX_SEATS:
            raise MalformedMessage("`nonces` are not nonces")
        lobby, seq = random_text(body, "lobby", 16), number(body, "seq")
        return cls(lobby, seq, draft, nonces, created, claims_by_rank(body))


@dataclass(frozen=True)
class Begin:
    TYPE = f"{PROTOCOL}/begin"

    lobby: str
    seq: int
    statements: tuple[str, ...]  # everybody's echo, by rank

    def to_body(self) -> dict[str, Any]:
        return {"lobby": self.lobby, "seq": self.seq, "statements": list(self.statements)}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Begin:
        statements = texts(body, "statements")
        if len(statements) > MAX_SEATS or any(len(s) > MAX_STATEMENT for s in statements):
            raise MalformedMessage("`statements` are not a lobby's echoes")
        return cls(random_text(body, "lobby", 16), number(body, "seq"), statements)


class Refuse(WithReason):
    TYPE = f"{PROTOCOL}/refuse"

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Refuse:
        return cls(random_text(body, "lobby", 16), bounded(body, "reason", MAX_REASON))


class Close(WithReason):
    TYPE = f"{PROTOCOL}/close"

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Close:
        return cls(random_text(body, "lobby", 16), bounded(body, "reason", MAX_REASON))


@dataclass(frozen=True)
class Call:
    TYPE = f"{PROTOCOL}/call"

    link: str = field(repr=False)

    def to_body(self) -> dict[str, Any]:
        return {"link": self.link}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Call:
        return cls(bounded(body, "link", MAX_LINK))


FromHost = Require | Roster | Piece | Settle | Begin | Refuse | Close
