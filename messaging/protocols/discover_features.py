"""Discover features 2.0: what can you do?

Source: DIDComm Messaging v2.1, "Discover Features Protocol 2.0".
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from messaging.message import Message
from messaging.protocols import body

MAX_QUERIES = 32
MAX_DISCLOSURES = 256


@dataclass(frozen=True)
class Query:
    feature_type: str  # protocol, goal-code, header, constraint, …
    match: str  # an id, or its beginning and one `*`

    def selects(self, feature: "Feature") -> bool:
        if feature.feature_type != self.feature_type:
            return False
        if self.match.endswith("*"):
            return feature.id.startswith(self.match[:-1])
        return feature.id == self.match


@dataclass(frozen=True)
class Feature:
    feature_type: str
    id: str
    extra: Mapping[str, Any] = field(default_factory=dict)  # `roles` of a protocol, for one


@dataclass(frozen=True)
class Queries:
    TYPE: ClassVar[str] = "https://didcomm.org/discover-features/2.0/queries"

    queries: tuple[Query, ...]

    def to_message(self, **headers: Any) -> Message:
        queries = [{"feature-type": q.feature_type, "match": q.match} for q in self.queries]
        return Message(self.TYPE, {"queries": queries}, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        entries = body.objects(body.expect(message, cls.TYPE), "queries", MAX_QUERIES)
        return cls(
            tuple(Query(body.text(e, "feature-type"), body.text(e, "match")) for e in entries)
        )

    def select(self, features: Iterable[Feature]) -> "Disclose":
        """The answer: those of our features that are asked for, each once."""
        return Disclose(tuple(f for f in features if any(q.selects(f) for q in self.queries)))


@dataclass(frozen=True)
class Disclose:
    TYPE: ClassVar[str] = "https://didcomm.org/discover-features/2.0/disclose"

    disclosures: tuple[Feature, ...]

    def to_message(self, **headers: Any) -> Message:
        disclosures = [
            {**feature.extra, "feature-type": feature.feature_type, "id": feature.id}
            for feature in self.disclosures
        ]
        return Message(self.TYPE, {"disclosures": disclosures}, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        entries = body.objects(body.expect(message, cls.TYPE), "disclosures", MAX_DISCLOSURES)
        return cls(tuple(_feature(entry) for entry in entries))


def _feature(entry: Mapping[str, Any]) -> Feature:
    extra = {name: value for name, value in entry.items() if name not in ("feature-type", "id")}
    return Feature(body.text(entry, "feature-type"), body.text(entry, "id"), extra)
