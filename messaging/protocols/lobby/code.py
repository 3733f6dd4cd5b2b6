"""How whoever knows the spoken code gets the link: SPAKE2, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from identity.codec import b64url_encode
from messaging.protocols.lobby.limits import (
    MAX_LINK,
    PROTOCOL,
    bounded,
    element_bytes,
)


@dataclass(frozen=True)
class Speak:
    """Goes to the DID that the code's first word gives; from the DID that will knock."""

    TYPE = f"{PROTOCOL}/speak"

    element: bytes

    def to_body(self) -> dict[str, Any]:
        return {"element": b64url_encode(self.element)}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Speak:
        return cls(element_bytes(body, "element"))


@dataclass(frozen=True)
class Answer:
    TYPE = f"{PROTOCOL}/answer"

    element: bytes

    def to_body(self) -> dict[str, Any]:
        return {"element": b64url_encode(self.element)}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Answer:
        return cls(element_bytes(body, "element"))


@dataclass(frozen=True)
class Prove:
    TYPE = f"{PROTOCOL}/prove"

    proof: bytes = field(repr=False)

    def to_body(self) -> dict[str, Any]:
        return {"proof": b64url_encode(self.proof)}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Prove:
        return cls(element_bytes(body, "proof"))


@dataclass(frozen=True)
class GiveLink:
    TYPE = f"{PROTOCOL}/link"

    proof: bytes = field(repr=False)
    link: str = field(repr=False)

    def to_body(self) -> dict[str, Any]:
        return {"proof": b64url_encode(self.proof), "link": self.link}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> GiveLink:
        return cls(element_bytes(body, "proof"), bounded(body, "link", MAX_LINK))


CodeMessage = Speak | Answer | Prove | GiveLink
