"""Connectivity: a path to every party, over one UDP port.

A shell around one PathFinder per party, without a decision in it: datagrams go to the finder whose
credentials they name, and what the finders want sent is sent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agent.connection.udp import Arrival, UdpPort
from traversal import stun
from traversal.candidate import Address, Kind, LocalSide, Nat, RemoteSide, nat_of
from traversal.pairs import Tried
from traversal.paths import Event, PairFailed, PathFinder, PathFound, PathSettled
from traversal.stun import Class, MalformedStun

__all__ = [
    "Connectivity",
    "Event",
    "Found",
    "LocalSide",
    "NotFound",
    "PairFailed",
    "PathFound",
    "PathSettled",
    "RemoteSide",
]


@dataclass(frozen=True)
class Found:
    """`endpoint` is for WireGuard; `rtt` in seconds."""

    endpoint: Address
    rtt: float
    local_kind: Kind
    remote_kind: Kind
    same_lan: bool


@dataclass(frozen=True)
class NotFound:
    """`reason` is a sentence for people; `tried` says what came of each address."""

    reason: str
    tried: tuple[Tried, ...]


@dataclass(frozen=True)
class _Party:
    finder: PathFinder
    local: LocalSide
    remote: RemoteSide


class Connectivity:
    """One port for all parties; the port stays the caller's, also after `establish`."""

    def __init__(self, port: UdpPort) -> None:
        self._port = port
        self._parties: dict[str, _Party] = {}
        self._by_username: dict[str, PathFinder] = {}
        self._settled: set[str] = set()

    def add_party(
        self, party: str, local: LocalSide, remote: RemoteSide, *, controlling: bool
    ) -> None:
        """`local` is what this party, and nobody else, was offered.

        Raises: ValueError, if two parties would be told apart by nothing.
        """
        now = time.monotonic()
        finder = PathFinder(local, remote, controlling=controlling, now=now)
        if party in self._parties or finder.username in self._by_username:
            raise ValueError(f"{party} uses the credentials of another party")
        self._parties[party] = _Party(finder, local, remote)
        self._by_username[finder.username] = finder

    async def establish(
        self, timeout: float, on_event: Callable[[str, Event], None]
    ) -> Mapping[str, Found | NotFound]:
        """A path to each party, or why there is none after `timeout` seconds.

        Returns as soon as every party knows the path it shares with us. Whoever has a path is
        still answered until then.
        """
        deadline = time.monotonic() + timeout
        self._turn(on_event)
        while len(self._settled) < len(self._parties) and time.monotonic() < deadline:
            arrival = await self._next_arrival(min(deadline, self._next_timer()))
            if arrival is not None:
                self._handle(arrival)
            self._turn(on_event)
        return {name: _outcome(party) for name, party in self._parties.items()}

    async def _next_arrival(self, until: float) -> Arrival | None:
        if not self._port.datagrams.empty():
            return self._port.datagrams.get_nowait()
        try:
            async with asyncio.timeout(until - time.monotonic()):
                return await self._port.datagrams.get()
        except TimeoutError:
            return None

    def _next_timer(self) -> float:
        timers = (party.finder.next_timer() for party in self._parties.values())
        return min((timer for timer in timers if timer is not None), default=float("inf"))

    def _handle(self, arrival: Arrival) -> None:
        finder = self._finder_for(arrival.data)
        if finder is not None:
            finder.handle_datagram(arrival.data, arrival.source, arrival.at)

    def _finder_for(self, data: bytes) -> PathFinder | None:
        """Checks name us and their sender, answers the check they answer; others are strangers."""
        try:
            message = stun.parse(data)
        except MalformedStun:
            return None
        if message.cls is Class.REQUEST:
            return self._by_username.get(message.attributes.get("USERNAME", ""))
        finders = self._by_username.values()
        return next((finder for finder in finders if finder.awaits(message.transaction)), None)

    def _turn(self, on_event: Callable[[str, Event], None]) -> None:
        now = time.monotonic()
        for name, party in self._parties.items():
            for datagram in party.finder.datagrams_to_send(now):
                self._port.send(datagram.data, datagram.destination)
            while (event := party.finder.next_event()) is not None:
                self._note(name, event)
                on_event(name, event)

    def _note(self, party: str, event: Event) -> None:
        if isinstance(event, PathSettled):
            self._settled.add(party)
        elif isinstance(event, PathFound):
            self._settled.discard(party)


def _outcome(party: _Party) -> Found | NotFound:
    path = party.finder.path
    if path is None:
        return NotFound(_reason(party), party.finder.tried())
    return Found(path.endpoint, path.rtt, path.local_kind, path.remote_kind, path.same_lan)


def _reason(party: _Party) -> str:
    ours, theirs = nat_of(party.local.candidates), nat_of(party.remote.candidates)
    return f"{_symptom(party.finder)}; we: {ours}; they: {theirs}{_verdict(ours, theirs)}"


def _symptom(finder: PathFinder) -> str:
    tried = finder.tried()
    if finder.role_conflict:
        return "both sides claim the same role, so the offers do not belong together"
    if not tried:
        return "no address of theirs can be tried from here"
    if any(pair.answered for pair in tried):
        return "an address answered, but the sides could not agree on it in time"
    if any(pair.heard for pair in tried):
        return "their checks reach us, our checks stay unanswered"
    return f"none of {len(tried)} addresses answered, and none of their checks reached us"


def _verdict(ours: Nat, theirs: Nat) -> str:
    if Nat.VARYING in (ours, theirs) and Nat.NONE not in (ours, theirs):
        return " (such a pair often has no direct path and needs a relay)"
    return ""
