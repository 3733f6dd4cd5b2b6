"""What a lobby's machines tell: their states, and the events that others act on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import rfc8785

from agent.claims.evidence import Proof
from agent.session.descriptor import Descriptor, Draft, Proposal, describe
from messaging.protocols.lobby import Claim, Requirement, Roster, to_jsons

# The draft that we make ourselves for these parties, in this order, with these roles.
DraftMaker = Callable[[Sequence[str], Sequence[str]], Draft]


class HostState(StrEnum):
    OPEN = "open"  # seats are free, or somebody is not ready
    SETTLING = "settling"  # the final roster is out, echoes come in
    BEGUN = "begun"
    CLOSED = "closed"


class GuestState(StrEnum):
    KNOCKING = "knocking"
    CHOOSING = "choosing"  # let in; gets the program, its owner decides
    READY = "ready"
    SETTLED = "settled"  # has the final roster, and signs when its owner has compared
    BEGUN = "begun"
    LEFT = "left"


class Presence(StrEnum):
    """Where a guest is, as its host sees it."""

    KNOCKING = "knocking"
    ADMITTED = "admitted"
    READY = "ready"
    GONE = "gone"
    REFUSED = "refused"


@dataclass(frozen=True)
class Gathered:
    """What a lobby ends with: everything that a session begins with."""

    draft: Draft
    nonces: tuple[str, ...]  # by rank
    created: int  # Unix milliseconds
    requires: tuple[Requirement, ...]
    claims: tuple[tuple[Claim, ...], ...]  # by rank

    @cached_property
    def descriptor(self) -> Descriptor:
        """The session's, if everybody proposes what was settled."""
        content = self.draft.to_json()
        proposals = [Proposal(content, nonce, self.created) for nonce in self.nonces]
        return describe(self.draft, proposals)

    @cached_property
    def claims_sha256(self) -> str:
        """Of everybody's claims, and of what was required, as canonical JSON; in hex."""
        claims = [to_jsons(one) for one in self.claims]
        content: dict[str, Any] = {"requires": to_jsons(self.requires), "claims": claims}
        return hashlib.sha256(rfc8785.dumps(content)).hexdigest()


def saved(gathered: Gathered | None) -> dict[str, Any] | None:
    """What of it goes to the disk; a draft is made again from the program."""
    if gathered is None:
        return None
    return {
        "parties": list(gathered.draft.parties),
        "roles": list(roles_of(gathered.draft.to_json())),
        "nonces": list(gathered.nonces),
        "created": gathered.created,
    }


def roles_of(draft: Mapping[str, Any]) -> tuple[str, ...]:
    """The roles in a draft's JSON, by rank; none where the parties are all alike."""
    roles = draft.get("roles")
    return tuple(map(str, roles)) if isinstance(roles, list) else ()


# of a host


@dataclass(frozen=True)
class Presented:
    """Somebody wants in and shows claims: get the evidence, then call `examine`."""

    did: str


@dataclass(frozen=True)
class NotProven:
    """Somebody's claims do not hold; it has been refused."""

    did: str
    reason: str


@dataclass(frozen=True)
class Knocked:
    """Somebody wants in, and has proven all that is required: call `admit` or `refuse`."""

    did: str
    name: str
    role: str
    proofs: tuple[Proof, ...]


@dataclass(frozen=True)
class Came:
    """A guest is in; `waiting` are the ones, and free seats, that are waited for."""

    did: str


@dataclass(frozen=True)
class GotReady:
    did: str


@dataclass(frozen=True)
class Parted:
    """A guest left, or was sent away."""

    did: str
    reason: str


# of a guest


@dataclass(frozen=True)
class Wanted:
    """Claims are required before we may knock: ask our owner, then call `present`."""

    requires: tuple[Requirement, ...]


@dataclass(frozen=True)
class Admitted:
    """We are in: get the program, and ask our owner; then call `approve`."""

    roster: Roster


@dataclass(frozen=True)
class RosterChanged:
    roster: Roster


@dataclass(frozen=True)
class PieceCame:
    have: int
    of: int


@dataclass(frozen=True)
class ProgramCame:
    archive: bytes


# of both


@dataclass(frozen=True)
class Settling:
    """The roster is final: look up all parties, compare the phrase, then call `confirm`."""

    gathered: Gathered


@dataclass(frozen=True)
class Reopened:
    """The roster was final and is not any more; why."""

    reason: str


@dataclass(frozen=True)
class Began:
    gathered: Gathered


@dataclass(frozen=True)
class Over:
    """Nothing will begin here."""

    reason: str
    ours: bool = False  # it was our own owner's wish


HostEvent = (
    Presented | NotProven | Knocked | Came | GotReady | Parted | Settling | Reopened | Began | Over
)
GuestEvent = (
    Wanted | Admitted | RosterChanged | PieceCame | ProgramCame | Settling | Reopened | Began | Over
)
