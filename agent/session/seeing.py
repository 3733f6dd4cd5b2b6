"""Telling others where we see whom, and trying what others tell: the shell around `sightings`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agent.connection.connectivity import Connectivity
from agent.connection.steering import Steering
from agent.session.sightings import Sightings
from traversal.candidate import Address, Kind, candidate


@dataclass
class Seeing:
    me: str
    parties: Sequence[str]  # by rank
    connectivity: Connectivity
    steering: Steering
    _sightings: Sightings = field(default_factory=Sightings)

    def seen(self, asker: str) -> dict[int, Address]:
        """Where we reach others directly, as WireGuard says it, which follows who moves at once."""
        found = {}
        for rank, did in enumerate(self.parties):
            tell = did != asker and self._reaches(did)
            status = self.steering.status(did) if tell else None
            if status is not None and status.endpoint is not None:
                found[rank] = Address(*status.endpoint)
        return found

    def hear(self, seen: Mapping[int, Address]) -> None:
        """Of use for whom we do not reach directly; its own word comes by mail, or not at all."""
        for rank, did in enumerate(self.parties):
            address = seen.get(rank)
            if address is None or did == self.me or self._reaches(did):
                continue
            if self._sightings.is_news(did, address, time.monotonic()):
                self.connectivity.add_remote(did, [candidate(Kind.PEER_REFLEXIVE, address)])

    def _reaches(self, did: str) -> bool:
        return did != self.me and self.connectivity.is_direct(did)
