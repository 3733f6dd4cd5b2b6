"""What a session machine tells: its states, and the events that others act on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from agent.session.descriptor import Descriptor
from messaging.protocols.session import Offer, Propose


class State(StrEnum):
    PROPOSING = "proposing"
    OFFERING = "offering"
    SIGNING = "signing"
    MESHING = "meshing"
    READY = "ready"
    RUNNING = "running"
    FINISHING = "finishing"
    ENDED = "ended"


class Outcome(StrEnum):
    DONE = "done"  # every party's program ended well, and equal results are equal
    FAILED = "failed"  # a program failed, a party was lost or said stop
    TIMEOUT = "timeout"  # somebody did not come, or did not answer in time
    REFUSED = "refused"  # somebody wants something else than we; nothing ran
    MISMATCH = "mismatch"  # the programs ended well but their results differ


@dataclass(frozen=True)
class Proposed:
    """One more party wants the same session; `waiting` are those we have not heard from."""

    party: str
    waiting: tuple[str, ...]


@dataclass(frozen=True)
class Described:
    """Everybody has proposed the same; make offers and call `offers_made`. May come again."""

    descriptor: Descriptor
    encapsulation_keys: Mapping[str, str | None]  # by DID


@dataclass(frozen=True)
class Agreed:
    """Everybody has signed, and made an offer, by DID; build the mesh, then call `mesh_ready`."""

    descriptor: Descriptor
    offers: Mapping[str, Offer]


@dataclass(frozen=True)
class Moved:
    """A party has more addresses than it offered, or other relays; not checked yet."""

    party: str
    candidates: Sequence[Mapping[str, Any]]
    relays: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Released:
    """Everybody is ready: run the program, then call `program_ended`."""


@dataclass(frozen=True)
class Withdrew:
    """A party took its proposal back; it may come again."""

    party: str
    reason: str


@dataclass(frozen=True)
class Continuation:
    """What the next epoch of these parties has to know of the one that ended."""

    epoch: int  # the next one's
    previous: str  # the session that ended
    spent: frozenset[str] = frozenset()  # nonces of the epochs before: they propose nothing now
    early: Mapping[str, Propose] = field(default_factory=dict)  # who has come again already


@dataclass(frozen=True)
class Ended:
    outcome: Outcome
    reason: str  # a sentence for a person
    party: str | None = None  # whose fault, where it is somebody's
    lost: bool = False  # whether this party was lost, so that all may begin again when it is back


Event = Proposed | Withdrew | Described | Agreed | Moved | Released | Ended
