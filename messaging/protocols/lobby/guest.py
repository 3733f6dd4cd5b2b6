"""What a guest says to its host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from messaging.errors import MalformedMessage
from messaging.protocols.body import number
from messaging.protocols.lobby.claims import Claim, claims_of, to_jsons
from messaging.protocols.lobby.limits import (
    MAX_NAME,
    MAX_PIECES,
    MAX_REASON,
    MAX_STATEMENT,
    PROTOCOL,
    WithReason,
    bounded,
    line,
    milliseconds,
    random_text,
    sha256_hex,
)


@dataclass(frozen=True)
class Knock:
    """Again with the same nonce: tell me where we are. With a newer one: I have lost everything."""

    TYPE = f"{PROTOCOL}/knock"

    lobby: str
    token: str = field(repr=False)
    nonce: str
    created: int  # Unix milliseconds, of the nonce
    name: str = ""
    role: str = ""
    claims: tuple[Claim, ...] = ()

    def to_body(self) -> dict[str, Any]:
        return {
            "lobby": self.lobby,
            "token": self.token,
            "nonce": self.nonce,
            "created": self.created,
            "name": self.name,
            "role": self.role,
            "claims": to_jsons(self.claims),
        }

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Knock:
        return cls(
            random_text(body, "lobby", 16),
            random_text(body, "token", 16),
            random_text(body, "nonce", 32),
            milliseconds(body),
            line(body, "name", MAX_NAME),
            line(body, "role", MAX_NAME),
            claims_of(body),
        )


@dataclass(frozen=True)
class Want:
    TYPE = f"{PROTOCOL}/want"

    lobby: str
    sha256: str
    pieces: tuple[int, ...]

    def to_body(self) -> dict[str, Any]:
        return {"lobby": self.lobby, "sha256": self.sha256, "pieces": list(self.pieces)}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Want:
        pieces = body.get("pieces")
        if not isinstance(pieces, list) or len(pieces) > MAX_PIECES:
            raise MalformedMessage("`pieces` is not a short list")
        if not all(type(piece) is int and 0 <= piece < MAX_PIECES for piece in pieces):
            raise MalformedMessage("`pieces` are not numbers of pieces")
        return cls(
            random_text(body, "lobby", 16), sha256_hex(body, "sha256"), tuple(dict.fromkeys(pieces))
        )


@dataclass(frozen=True)
class Ready:
    TYPE = f"{PROTOCOL}/ready"

    lobby: str
    sha256: str  # of the program that its owner has agreed to run

    def to_body(self) -> dict[str, Any]:
        return {"lobby": self.lobby, "sha256": self.sha256}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Ready:
        return cls(random_text(body, "lobby", 16), sha256_hex(body, "sha256"))


@dataclass(frozen=True)
class Echo:
    TYPE = f"{PROTOCOL}/echo"

    lobby: str
    seq: int
    statement: str  # compact JWS

    def to_body(self) -> dict[str, Any]:
        return {"lobby": self.lobby, "seq": self.seq, "statement": self.statement}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Echo:
        statement = bounded(body, "statement", MAX_STATEMENT)
        return cls(random_text(body, "lobby", 16), number(body, "seq"), statement)


class Leave(WithReason):
    TYPE = f"{PROTOCOL}/leave"

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Leave:
        return cls(random_text(body, "lobby", 16), bounded(body, "reason", MAX_REASON))


FromGuest = Knock | Want | Ready | Echo | Leave
