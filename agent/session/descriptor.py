"""What must be equal for everybody: the draft each party brings, and the descriptor they sign.

A **draft** is what a party can say alone: roster in order, program, parameters, versions. Parties
whose drafts differ never start; `differences` says in words what differs. A **descriptor** is the
draft plus one fresh nonce of each party and all that follows from them: mesh addresses, ports and
the deadline. Its SHA-256 is the session's name, so no two sessions share one, and a signature
given for one session says nothing about another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

import rfc8785

from traversal.candidate import Address

VERSION = 1
MIN_PARTIES, MAX_PARTIES = 2, 64
MAX_DIFFERENCES = 6
PULSE_PORT = 11364
FIRST_PROGRAM_PORT = 11365  # MPyC's own default, so that people recognise it
DEFAULT_LIFETIME = 24 * 3600  # seconds


class KeyAgreement(StrEnum):
    """How the tunnels get their keys: WireGuard's own way, or with ML-KEM beside it."""

    HYBRID = "x25519+ml-kem-768"
    CLASSICAL = "x25519"


@dataclass(frozen=True)
class Draft:
    """All that a party knows before it has met the others; equal for all or nothing starts."""

    parties: tuple[str, ...]  # DIDs; the order gives the rank
    roles: tuple[str, ...]  # of each party, by rank; "party" where all are alike
    program: str
    sha256: str  # of the program's deterministic archive, hex
    adapter: str
    threshold: int
    runtime: Mapping[str, str]  # package -> version, where the versions must match
    outputs: Mapping[str, str]  # output -> who learns it: "all", or roles with ", " between
    parameters: Mapping[str, Any]
    key_agreement: KeyAgreement = KeyAgreement.HYBRID

    def to_json(self) -> dict[str, Any]:
        return {
            "v": VERSION,
            "parties": list(self.parties),
            "roles": list(self.roles),
            "program": {"name": self.program, "sha256": self.sha256},
            "adapter": self.adapter,
            "threshold": self.threshold,
            "runtime": dict(self.runtime),
            "outputs": dict(self.outputs),
            "parameters": dict(self.parameters),
            "key_agreement": str(self.key_agreement),
        }


@dataclass(frozen=True)
class Proposal:
    """One party's draft with its nonce; a later proposal of the same party replaces an earlier."""

    draft: Mapping[str, Any]
    nonce: str
    created: int  # Unix milliseconds
    encapsulation_key: str | None = None  # ML-KEM-768, base64url; None where that is not agreed
    epoch: int = 0  # as far as this party knows
    previous: str | None = None  # the session of the epoch before, if this party was in it


@dataclass(frozen=True)
class Descriptor:
    """What every party signs; `id` is its SHA-256 in hex and names the session."""

    content: Mapping[str, Any]
    id: str

    @property
    def parties(self) -> tuple[str, ...]:
        return tuple(self.content["parties"])

    @property
    def addresses(self) -> tuple[str, ...]:
        """The parties' IPv4 addresses in the mesh, by rank."""
        return tuple(self.content["mesh"]["ipv4"])

    @property
    def addresses6(self) -> tuple[str, ...]:
        """The parties' unique local IPv6 addresses in the mesh, by rank."""
        return tuple(self.content["mesh"]["ipv6"])

    @property
    def ports(self) -> tuple[int, ...]:
        """The program's TCP ports, by rank."""
        return tuple(self.content["mesh"]["ports"])

    @property
    def pulse_port(self) -> int:
        """The UDP port of everybody's heartbeat."""
        return int(self.content["mesh"]["pulse_port"])

    @property
    def epoch(self) -> int:
        """0, and 1 more each time that a lost party made these parties begin again."""
        return int(self.content["epoch"])

    @property
    def previous(self) -> str | None:
        """The session of the epoch before."""
        return self.content["previous"]  # type: ignore[no-any-return]

    @property
    def key_agreement(self) -> str:
        """How the tunnels get their keys, as `KeyAgreement` spells it."""
        return str(self.content["key_agreement"])

    @property
    def deadline(self) -> int:
        """Unix seconds after which the session ends whatever it does."""
        return int(self.content["deadline"])

    def program_places(self) -> dict[str, Address]:
        """Where each party's program listens, by DID."""
        places = zip(self.parties, self.addresses, self.ports, strict=True)
        return {did: Address(host, port) for did, host, port in places}

    def rank(self, did: str) -> int:
        return self.parties.index(did)


def describe(draft: Draft, proposals: Sequence[Proposal]) -> Descriptor:
    """The descriptor that follows from one draft and everybody's proposals, in roster order.

    The epoch is the newest that anybody knows of: who comes back after a crash remembers none.
    Addresses come from a hash of draft and nonces: no coordinator gives them out, and within the
    session's own network namespace they can clash with nothing.
    """
    newest = max(proposals, key=lambda proposal: proposal.epoch)
    content: dict[str, Any] = {
        **draft.to_json(),
        "epoch": newest.epoch,
        "previous": newest.previous,
        "nonces": [proposal.nonce for proposal in proposals],
        "deadline": min(proposal.created for proposal in proposals) // 1000 + DEFAULT_LIFETIME,
    }
    seed = hashlib.sha256(rfc8785.dumps(content)).digest()
    ranks = range(len(draft.parties))
    content["mesh"] = {
        "ipv4": [f"10.{seed[0]}.{seed[1]}.{rank + 1}" for rank in ranks],
        "ipv6": [f"{_ula_prefix(seed)}::{rank + 1:x}" for rank in ranks],
        "ports": [FIRST_PROGRAM_PORT + MAX_PARTIES * newest.epoch + rank for rank in ranks],
        "pulse_port": PULSE_PORT,
    }
    return Descriptor(content, descriptor_id(content))


def descriptor_id(content: Mapping[str, Any]) -> str:
    """SHA-256, in hex, of the canonical JSON (RFC 8785) of a descriptor's content."""
    return hashlib.sha256(rfc8785.dumps(dict(content))).hexdigest()


def alike(roles: Sequence[str], outputs: Mapping[str, str]) -> tuple[tuple[int, ...], ...]:
    """The ranks of parties who learn the same, group by group: their results must be equal.

    What is opened to "self" is each party's own: whoever learns it is alone in its group.
    """
    groups: dict[frozenset[str], list[int]] = {}
    for rank, role in enumerate(roles):
        learns = {what for what, to in outputs.items() if to == "all" or role in to.split(", ")}
        learns |= {f"{what} of {rank}" for what, to in outputs.items() if to == "self"}
        groups.setdefault(frozenset(learns), []).append(rank)
    return tuple(map(tuple, groups.values()))


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """What differs between two drafts, a sentence each, for a person; empty when they are equal.

    At most `MAX_DIFFERENCES`: the other draft may be anything that fits in a message.
    """
    return [
        f"{_name(path)}: ours is {_show(mine)}, theirs is {_show(other)}"
        for path, mine, other in islice(_walk((), ours, theirs), MAX_DIFFERENCES)
    ]


def check_roster(parties: Sequence[str]) -> None:
    """Raises: ValueError, with a sentence for a person, unless this can be a session's roster."""
    if len(set(parties)) != len(parties):
        raise ValueError("a party is named twice")
    if not MIN_PARTIES <= len(parties) <= MAX_PARTIES:
        raise ValueError(
            f"a session has {MIN_PARTIES} to {MAX_PARTIES} parties, this one {len(parties)}"
        )


_MISSING = object()


def _walk(
    path: tuple[str, ...], ours: Any, theirs: Any
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in sorted({*ours, *theirs}):
            yield from _walk((*path, key), ours.get(key, _MISSING), theirs.get(key, _MISSING))
    elif path == ("parties",) and isinstance(theirs, list):
        yield from _roster_differences(ours, theirs)
    elif path == ("roles",) and isinstance(theirs, list) and len(theirs) == len(ours):
        for rank, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            if mine != other:
                yield ("role", f"of party{rank}"), mine, other
    elif ours != theirs:
        yield path, ours, theirs


def _roster_differences(
    ours: list[str], theirs: list[Any]
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    if ours == theirs:
        return
    if sorted(ours) == sorted(map(str, theirs)):
        yield ("order",), [ours.index(did) for did in ours], [ours.index(str(d)) for d in theirs]
        return
    for did in ours:
        if did not in theirs:
            yield ("roster", short(did)), "in", "out"
    for did in theirs:
        if did not in ours:
            yield ("roster", short(str(did))), "out", "in"


def short(did: str) -> str:
    """A DID short enough for a line on the screen; for people only, never for comparing."""
    return did if len(did) <= 28 else f"{did[:18]}…{did[-6:]}"


def _name(path: tuple[str, ...]) -> str:
    return _show(" ".join(path)) if path else "draft"


def _show(value: Any) -> str:
    if value is _MISSING:
        return "missing"
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _ula_prefix(seed: bytes) -> str:
    digits = "fd" + seed[2:7].hex()
    return ":".join(digits[i : i + 4] for i in range(0, 12, 4))
