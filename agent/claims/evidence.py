"""What claims are judged by, and what they come to: a proof, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from identity.document import DidDocument

LEEWAY = 60  # seconds by which an issuer's clock may be ahead of ours


class Unproven(ValueError):
    """A claim does not hold; why, in words for a person."""


@dataclass(frozen=True)
class Evidence:
    """What the issuers publish, fetched from them by ourselves."""

    documents: Mapping[str, DidDocument] = field(default_factory=dict)  # of who vouches, by DID


@dataclass(frozen=True)
class Proof:
    """Who a party has proven to be, and whose word that is."""

    kind: str
    who: str  # one line
    by: str  # a DID

    def to_json(self) -> dict[str, str]:
        return {"kind": self.kind, "who": self.who, "by": self.by}
