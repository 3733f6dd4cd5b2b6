"""Who is where in a lobby, as its host sees it: the terms, the guests, the seats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from agent.claims.evidence import Proof
from agent.lobby.events import HostState, Presence
from messaging.protocols.lobby import (
    Claim,
    Close,
    Knock,
    Offered,
    Refuse,
    Requirement,
    claims_of,
    requires_of,
    to_jsons,
)

MAX_CLAIMS_OF_ALL = 400 * 1024  # characters: they go round together, in one message

INSIDE = (Presence.ADMITTED, Presence.READY)
OUTSIDE = (Presence.GONE, Presence.REFUSED)


@dataclass(frozen=True)
class Terms:
    """What a lobby is for; never changes."""

    lobby: str
    token: str = field(repr=False)
    title: str
    program: Offered
    seats: int
    least: int  # parties that the program needs
    roles: tuple[str, ...]  # by seat; the first is the host's
    expires: int  # UTC seconds
    requires: tuple[Requirement, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "requires": to_jsons(self.requires)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Terms:
        """What `to_json` gave."""
        return cls(
            **{
                **value,
                "program": Offered(**value["program"]),
                "roles": tuple(value["roles"]),
                "requires": requires_of(value),
            }
        )


@dataclass(frozen=True)
class Guest:
    did: str
    nonce: str
    created: int  # Unix milliseconds, of the nonce
    name: str
    role: str
    stage: Presence
    seat: int = 0
    sent: int = 0  # pieces of the program
    claims: tuple[Claim, ...] = ()
    proofs: tuple[Proof, ...] = ()  # what the claims came to

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "claims": to_jsons(self.claims)}

    @classmethod
    def at_the_door(
        cls, did: str, knock: Knock, claims: tuple[Claim, ...] = (), proofs: tuple[Proof, ...] = ()
    ) -> Guest:
        who = (did, knock.nonce, knock.created, knock.name, knock.role)
        return cls(*who, Presence.KNOCKING, claims=claims, proofs=proofs)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Guest:
        """What `to_json` gave."""
        return cls(
            **{
                **value,
                "stage": Presence(value["stage"]),
                "claims": claims_of(value),
                "proofs": tuple(Proof(**proof) for proof in value.get("proofs", ())),
            }
        )


def seated(guests: Iterable[Guest]) -> list[Guest]:
    """Those who are in, in the order in which they were let in."""
    inside = (guest for guest in guests if guest.stage in INSIDE)
    return sorted(inside, key=lambda guest: guest.seat)


def why_not(
    state: HostState, lobby: str, known: Guest | None, *, locked: bool, full: bool
) -> Close | Refuse | None:
    """What somebody hears who is not in, and cannot even be asked for."""
    match state:
        case HostState.CLOSED:
            return Close(lobby, "the lobby is closed")
        case HostState.BEGUN:
            return Refuse(lobby, "it has begun without you")
    if known is not None and known.stage is Presence.REFUSED:
        return Refuse(lobby, "the host does not let you in")
    if locked:
        return Refuse(lobby, "the lobby is locked")
    return Refuse(lobby, "all seats are taken") if full else None


def free_roles(terms: Terms, guests: Iterable[Guest]) -> list[str]:
    """The roles of the seats that nobody has, in the order of the seats."""
    free = list(terms.roles[1:])
    for guest in seated(guests):
        free.remove(guest.role)
    return free


def fits(claims: Iterable[Sequence[Claim]]) -> bool:
    """Whether a roster with all these parties' claims still fits a message."""
    return sum(len(str(to_jsons(one))) for one in claims) <= MAX_CLAIMS_OF_ALL
