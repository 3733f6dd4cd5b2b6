"""What claims are judged by, and what they come to: a proof, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from identity.document import DidDocument

Keys = Mapping[str, Mapping[str, Any]]  # an issuer's JWKs, by kid

LEEWAY = 60  # seconds by which an issuer's clock may be ahead of ours


class Unproven(ValueError):
    """A claim does not hold; why, in words for a person."""


class NoEvidence(Unproven):
    """The issuer could not be asked: it may hold all the same."""


@dataclass(frozen=True)
class Moment:
    """Where and when claims are judged."""

    lobby: str
    now: float  # Unix seconds
    knocks: bool = False  # its party is at the door: what it shows has to be fresh


@dataclass(frozen=True)
class Evidence:
    """What the issuers publish, fetched from them by ourselves."""

    documents: Mapping[str, DidDocument] = field(default_factory=dict)  # of who vouches, by DID
    keys: Mapping[str, Keys] = field(default_factory=dict)  # of where one logs in, by issuer


@dataclass(frozen=True)
class Proof:
    """Who a party has proven to be, and whose word that is."""

    kind: str
    who: str  # one line
    by: str  # a DID, or the address of an issuer

    def to_json(self) -> dict[str, str]:
        return {"kind": self.kind, "who": self.who, "by": self.by}
