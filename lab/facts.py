"""What came out of a demo, and whether it is what had to come out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from lab.runs import Leftovers

KINDS = ("interfaces", "namespaces", "processes")  # that a party counts after its session


@dataclass(frozen=True)
class Nat:
    home: str
    kind: str
    mapping: str | None
    filtering: str | None
    verified: bool


@dataclass(frozen=True)
class PartyFacts:
    did: str
    output: str | None  # exactly what its program printed
    exit_code: int | None  # None: it had to be stopped

    @property
    def line(self) -> str | None:
        return None if self.output is None else self.output.removesuffix("\n")


@dataclass(frozen=True)
class Pair:
    """Two parties; `endpoint` is where `a` sends to `b`, `endpoint_back` the other way."""

    a: str
    b: str
    path: str  # "direct", or "none" if one of the two did not report one
    endpoint: str | None
    endpoint_back: str | None
    rtt_ms: float | None


@dataclass
class Cleanup:
    """What was found that should be gone, by name."""

    interfaces: list[str] = field(default_factory=list)
    namespaces: list[str] = field(default_factory=list)
    processes: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        return {name: len(found) for name, found in self._lists().items()}

    def remains(self) -> list[str]:
        return [f"{name}: {what}" for name, found in self._lists().items() for what in found]

    def add_report(self, party: str, counted: Mapping[str, Any]) -> None:
        """What a party's own check after its session has counted."""
        for name in KINDS:
            self._lists()[name] += [f"reported by {party}"] * int(counted.get(name, 0))

    def add_leftovers(self, left: Leftovers) -> None:
        self.namespaces += left.namespaces
        self.processes += map(str, left.processes)
        self.keys += left.directories  # the parties' keystores are in them

    def _lists(self) -> dict[str, list[str]]:
        return {
            "interfaces": self.interfaces,
            "namespaces": self.namespaces,
            "processes": self.processes,
            "keys": self.keys,
        }


@dataclass
class Facts:
    """Filled as the scenario goes on; `ok` once all of it is as it has to be."""

    expected: str
    parties: list[PartyFacts] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    nats: list[Nat] = field(default_factory=list)
    cleanup: Cleanup = field(default_factory=Cleanup)
    mesh_seconds: float | None = None
    total_seconds: float = 0.0
    error: str | None = None
    hint: str | None = None

    def take_mesh(self, events: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Paths and times out of what the parties reported, both ends put together."""
        paths = {
            (party, event["party"]): event
            for party, said in events.items()
            for event in said
            if event.get("event") == "path"
        }
        for a, b in combinations(events, 2):
            there, back = paths.get((a, b)), paths.get((b, a))
            kinds = {event["kind"] if event else "none" for event in (there, back)}
            self.pairs.append(
                Pair(
                    a,
                    b,
                    path=kinds.pop() if len(kinds) == 1 else "none",
                    endpoint=there["endpoint"] if there else None,
                    endpoint_back=back["endpoint"] if back else None,
                    rtt_ms=there["rtt_ms"] if there else None,
                )
            )
        meshes = [e for said in events.values() for e in said if e.get("event") == "mesh"]
        if len(meshes) == len(events):
            first_offer = min(mesh["t"] - mesh["seconds"] for mesh in meshes)
            self.mesh_seconds = round(max(mesh["t"] for mesh in meshes) - first_offer, 3)

    def shortcoming(self) -> str | None:
        """The first thing that is not as it has to be, as a sentence; None if all is well."""
        if self.error is not None:
            return self.error
        for number, party in enumerate(self.parties):
            if party.line != self.expected or party.exit_code != 0:
                return f"party{number} printed {party.line!r} instead of {self.expected!r}"
        for pair in self.pairs:
            if pair.path != "direct":
                return f"{pair.a} and {pair.b} were not connected directly at both ends"
        if self.mesh_seconds is None:
            return "not every party reported its mesh"
        if remains := self.cleanup.remains():
            return f"something was left: {', '.join(remains)}"
        return None

    def to_json(self) -> dict[str, Any]:
        shortcoming = self.shortcoming()
        return {
            "ok": shortcoming is None,
            "error": shortcoming,
            "hint": self.hint,
            "parties": [
                {"did": party.did, "result": party.line, "exit_code": party.exit_code}
                for party in self.parties
            ],
            "pairs": [vars(pair) for pair in self.pairs],
            "mesh_seconds": self.mesh_seconds,
            "total_seconds": self.total_seconds,
            "nats": [vars(nat) for nat in self.nats],
            "cleanup": self.cleanup.counts(),
        }
