"""Who is where in a lobby, as its host sees it: the terms, the guests, the seats."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from agent.lobby.events import Presence
from messaging.protocols.lobby import Offered

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


def seated(guests: Iterable[Guest]) -> list[Guest]:
    """Those who are in, in the order in which they were let in."""
    inside = (guest for guest in guests if guest.stage in INSIDE)
    return sorted(inside, key=lambda guest: guest.seat)


def why_not(known: Guest | None, *, locked: bool, full: bool) -> str | None:
    """Why somebody who knocks cannot even be asked for, in words for them."""
    if known is not None and known.stage is Presence.REFUSED:
        return "the host does not let you in"
    if locked:
        return "the lobby is locked"
    if full:
        return "all seats are taken"
    return None


def free_roles(terms: Terms, guests: Iterable[Guest]) -> list[str]:
    """The roles of the seats that nobody has, in the order of the seats."""
    free = list(terms.roles[1:])
    for guest in seated(guests):
        free.remove(guest.role)
    return free
