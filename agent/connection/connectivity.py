"""Connectivity: a path to every party, and a better one, for as long as the session lives.

A shell around one PathFinder and some RelayBindings per party, without a decision in it: datagrams
go to the one whose credentials or transaction they name, and what these want sent is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from agent.connection.gathering import Gathered, Inquiry
from agent.connection.more_ports import MorePorts
from agent.connection.port import Arrival, Port
from agent.connection.streams import Streams
from agent.connection.trying_hard import TryingHard
from resolvers.guarded import OPEN_INTERNET, Policy
from traversal import stun
from traversal.agreement import Event, State
from traversal.candidate import (
    Address,
    Candidate,
    Kind,
    LocalSide,
    Nat,
    RemoteSide,
    candidate,
    nat_of,
    turn_candidate,
)
from traversal.datagram import Datagram
from traversal.explanation import Explanation
from traversal.pairs import Path
from traversal.paths import PathFinder
from traversal.relay import RelayBinding, RelayProbe, RelayTicket
from traversal.stun import Class, MalformedStun
from traversal.turns import Pacer, Turns

LONGEST_SLEEP = 60.0  # seconds
LOOK = 0.1  # seconds between two looks while streams are waited for
STREAM_AFTER = 1.0  # seconds without an answer of a relay by UDP, and without a path
STREAM_EACH = 0.2  # the same for each party, where that is more: then many are slow, not blocked
STREAM_SOON = 0.3  # the same, if no STUN server has answered either
MAX_ASKED = 8192  # requests of ours whose answers find their party


@dataclass
class _Party:
    finder: PathFinder
    remote: tuple[Candidate, ...]
    tickets: tuple[RelayTicket, ...]
    streams: Streams
    unseen: bool  # no STUN server has answered us, so that UDP may be blocked
    bindings: list[RelayBinding] = field(default_factory=list)
    offered: set[Address] = field(default_factory=set)  # relays
    served: bool = False  # whether a relay of ours has ever had us
    bound_since: float = 0.0  # when binding began

    def sources(self) -> list[PathFinder | RelayBinding | RelayProbe]:
        """Whatever sends by itself."""
        return [self.finder, *self.bindings, *self.streams.probes]


class Connectivity:
    """All parties over one port, which stays the caller's; `run` is to be running.

    `on_event` is called, within `run`, with the party and what its finder tells.
    """

    def __init__(self, port: Port, on_event: Callable[[str, Event], None]) -> None:
        self._port = port
        self._on_event = on_event
        self._parties: dict[str, _Party] = {}
        self._by_username: dict[str, str] = {}
        self._asked: dict[bytes, str] = {}  # who is to get the answer, by transaction
        self._pacer = Pacer.shared()
        self._turns = Turns()
        self._more = MorePorts(port.inbox)
        self.trying_hard = TryingHard(self._more, self._wake)
        self._inquiry: Inquiry | None = None
        self._on_gathered: Callable[[Gathered], None] = lambda _: None

    def add_party(
        self,
        party: str,
        local: LocalSide,
        remote: RemoteSide,
        *,
        controlling: bool,
        tickets: Iterable[RelayTicket] = (),
        policy: Policy = OPEN_INTERNET,
    ) -> None:
        """`local` is what this party, and nobody else, was offered; `tickets` are for our side.

        `policy` says to which addresses this party may have us open streams.

        Raises: ValueError, if two parties would be told apart by nothing.
        """
        now = time.monotonic()
        pacer = self._pacer
        finder = PathFinder(local, remote, controlling=controlling, now=now, pacer=pacer)
        if party in self._parties or finder.username in self._by_username:
            raise ValueError(f"{party} uses the credentials of another party")
        self._parties[party] = _Party(
            finder,
            remote.candidates,
            tuple(tickets),
            Streams(self._port.port, lambda local: self._offer_relay(party, local), policy),
            nat_of(local.candidates) is Nat.UNKNOWN,
        )
        self._by_username[finder.username] = party
        if local.birthday and remote.birthday:
            self.trying_hard.add(party, finder, now)
        self._bind(self._parties[party], now)
        self._wake(party)

    def add_remote(self, party: str, candidates: Iterable[Candidate]) -> None:
        """Addresses that this party offers later."""
        self._parties[party].finder.add_remote(tuple(candidates), time.monotonic())
        self._wake(party)

    def offer_turn(self, party: str, local: Address) -> None:
        """A port of this machine leads to this party, through a TURN server."""
        self._parties[party].finder.add_remote([turn_candidate(local)], time.monotonic())
        self._wake(party)

    def set_local(self, candidates: Sequence[Candidate]) -> None:
        """Our network changed: everything is proven anew, and bound from where we are now."""
        now = time.monotonic()
        for name, party in self._parties.items():
            party.finder.set_local(candidates, now)
            self._bind(party, now)
            self._wake(name)

    def set_tickets(self, party: str, tickets: Sequence[RelayTicket], side: int) -> None:
        """In place of all that this party and we had of this side; the finder knows no pause."""
        known, now = self._parties[party], time.monotonic()
        left = [ticket for ticket in known.tickets if ticket.side == side]
        known.tickets = (*(one for one in known.tickets if one not in left), *tickets)
        known.streams.leave(left)
        known.bindings = [one for one in known.bindings if one.ticket not in left]
        known.offered.clear()
        known.bound_since = now
        known.bindings += self._bindings(tickets, now)
        self._wake(party)

    def lacks_relay(self, party: str) -> bool:
        """Whether the relay that we ask for serves this party no more, or never did and is missed.

        Ours are the tickets of side 0.
        """
        known, now = self._parties[party], time.monotonic()
        ours = [ticket for ticket in known.tickets if ticket.side == 0]
        path = known.finder.path
        if not known.served and path is not None and not path.relayed:
            return False
        by_stream = [known.streams.serve(one, now) for one in ours if one in known.streams]
        by_udp = [not one.has_failed(now) for one in known.bindings if one.ticket in ours]
        reached = by_stream or by_udp
        if ours and not reached:  # it is in a network that we do not speak to
            return False
        return not any(reached)

    def distress(self, party: str) -> None:
        """WireGuard says that the path in use is dead."""
        now = time.monotonic()
        self._parties[party].finder.distress(now)
        for binding in self._parties[party].bindings:
            binding.doubt(now)
        self._wake(party)

    def inquire(
        self, servers: Sequence[Address], timeout: float, then: Callable[[Gathered], None]
    ) -> None:
        """Gather anew, meanwhile; a later call replaces an earlier one."""
        self._inquiry, self._on_gathered = Inquiry(self._port, servers, timeout), then
        self._port.inbox.wake()

    def path(self, party: str) -> Path | None:
        return self._parties[party].finder.path

    def is_direct(self, party: str) -> bool:
        """Whether a direct path to it is in use that is not in distress."""
        return self._parties[party].finder.is_direct

    def relays(self, party: str) -> tuple[Address, ...]:
        """Where a relay takes, or took, datagrams for this party."""
        return self._parties[party].finder.relays()

    def explain(self, party: str) -> Explanation:
        """What there is to say of the path, or of its absence."""
        return self._parties[party].finder.explain()

    def explain_relays(self, party: str) -> str:
        """Why no relay helps, where there is no path at all."""
        known = self._parties[party]
        words = [str(binding) for binding in known.bindings]
        words += ["a relay is tried by a WebSocket, too"] * bool(known.streams.probes)
        if not known.tickets:
            words.append("neither side has a relay")
        return "; ".join(words) or "no address of a relay can be reached from here"

    async def run(self) -> NoReturn:
        """Until cancelled."""
        with contextlib.closing(self._more):
            async with asyncio.TaskGroup() as streams:
                while True:
                    self._turn(streams)
                    for arrival in await self._port.inbox.arrivals(self._next_timer()):
                        self._handle(arrival)

    def _wake(self, party: str) -> None:
        self._turns.wake(party)
        self._port.inbox.wake()

    def _bind(self, party: _Party, now: float) -> None:
        party.offered.clear()
        party.streams.close()
        party.bound_since = now
        party.bindings = self._bindings(party.tickets, now)

    def _bindings(self, tickets: Sequence[RelayTicket], now: float) -> list[RelayBinding]:
        return [
            RelayBinding(ticket, server, now, pacer=self._pacer)
            for ticket in tickets
            if (server := self._server_of(ticket)) is not None
        ]

    def _server_of(self, ticket: RelayTicket) -> Address | None:
        """One address of the relay, both sides' the same family if they can: a side binds once."""
        servers = sorted(ticket.servers(), key=lambda server: server.version)
        return next((server for server in servers if self._port.speaks_to(server)), None)

    def _turn(self, streams: asyncio.TaskGroup) -> None:
        """Serve whoever is due; what is not costs nothing, however many parties there are."""
        now = time.monotonic()
        for name in self.trying_hard.turn(now):
            self._turns.wake(name)
        for name in self._turns.due(now):
            slot = self._pacer.next_slot
            timer = self._serve(name, now, streams)
            self._turns.served(name, timer, got_slot=self._pacer.next_slot != slot)
        self._turn_inquiry()

    def _serve(self, name: str, now: float, streams: asyncio.TaskGroup) -> float:
        """When to serve this party next."""
        party = self._parties[name]
        self._offer_relays(name, party)
        self._return_to_udp(party, now)
        if self._needs_streams(party, now):
            self._turn_to_streams(party, streams)
        for source in party.sources():
            for datagram in source.datagrams_to_send(now):
                self._note_asked(datagram.data, name)
                self._send(datagram)
        while (event := party.finder.next_event()) is not None:
            self._on_event(name, event)
        return self._timer_of(party, now)

    def _send(self, datagram: Datagram) -> None:
        if datagram.source_port is None:
            self._port.send(datagram.data, datagram.destination)
        else:
            self._more.send(datagram.data, datagram.destination, datagram.source_port)

    def _note_asked(self, data: bytes, party: str) -> None:
        transaction = stun.transaction_of_request(data)
        if transaction is not None:
            self._asked[transaction] = party
            if len(self._asked) > MAX_ASKED:
                del self._asked[next(iter(self._asked))]

    def _offer_relays(self, name: str, party: _Party) -> None:
        """A relay is worth checking once both sides are bound, which the later one is told."""
        for binding in party.bindings:
            party.served = party.served or (binding.bound and binding.ticket.side == 0)
            if binding.other_bound:
                self._offer_bound(name, party, binding.server)

    def _offer_bound(self, name: str, party: _Party, server: Address) -> None:
        if server not in party.offered:
            party.offered.add(server)
            self._offer_relay(name, server)

    def _hear_relay(self, name: str, party: _Party, source: Address) -> None:
        """The other side's first check through a relay tells us that it has come."""
        if source in {binding.server for binding in party.bindings}:
            self._offer_bound(name, party, source)

    def _offer_relay(self, name: str, address: Address) -> None:
        finder = self._parties[name].finder
        finder.add_remote([candidate(Kind.RELAY, address)], time.monotonic())
        self._wake(name)

    def _return_to_udp(self, party: _Party, now: float) -> None:
        """Where UDP passes again, everything else may, too."""
        if begun := party.streams.taken_back(now):
            party.bindings += begun
            party.finder.add_remote(party.remote, now)
        for failed in party.streams.finish(now):
            party.bindings.remove(failed)

    def _needs_streams(self, party: _Party, now: float) -> bool:
        if now < self._streams_at(party) or not self._lacks_a_way(party):
            return False
        party.finder.distress(now)  # a relay that we are not bound at brings us nothing
        return True

    def _streams_at(self, party: _Party) -> float:
        """When to try streams, if there is no way then."""
        patience = max(STREAM_AFTER, STREAM_EACH * len(self._parties))
        return party.bound_since + (STREAM_SOON if party.unseen else patience)

    def _lacks_a_way(self, party: _Party) -> bool:
        """Whether a stream could help: there is no path, or one by a relay that does not answer."""
        silent, path = self._silent(party), party.finder.path
        dead = path is not None and path.endpoint in {one.server for one in silent}
        return bool(silent) and (dead or party.finder.state is State.CHECKING)

    def _silent(self, party: _Party) -> list[RelayBinding]:
        """Relays that do not answer by UDP, and that can be reached by a stream."""
        return [
            one
            for one in party.bindings
            if not one.bound
            and one.ticket.websocket is not None
            and one.ticket not in party.streams
        ]

    def _turn_to_streams(self, party: _Party, streams: asyncio.TaskGroup) -> None:
        """A side is bound in one place, so the relay hears no more of us by UDP."""
        for binding in self._silent(party):
            party.bindings.remove(binding)
            party.offered.discard(binding.server)
            party.streams.open(binding, streams)

    def _turn_inquiry(self) -> None:
        inquiry = self._inquiry
        if inquiry is None:
            return
        inquiry.ask()
        if inquiry.is_over():
            self._inquiry = None
            self._on_gathered(inquiry.gathered())

    def _timer_of(self, party: _Party, now: float) -> float:
        timers = [source.next_timer() for source in party.sources()]
        timers.append(party.streams.next_timer())
        if self._lacks_a_way(party):
            timers.append(max(self._streams_at(party), now + LOOK))
        return min((timer for timer in timers if timer is not None), default=math.inf)

    def _next_timer(self) -> float:
        inquiry = math.inf if self._inquiry is None else self._inquiry.next_timer()
        timers = self._turns.next_timer(), self.trying_hard.next_timer(), inquiry
        return min(*timers, time.monotonic() + LONGEST_SLEEP)

    def _handle(self, arrival: Arrival) -> None:
        """Checks name us and their sender, answers the request they answer; others are dropped."""
        try:
            message = stun.parse(arrival.data)
        except MalformedStun:
            return
        if message.cls is Class.REQUEST:
            name = self._by_username.get(message.attributes.get("USERNAME", ""))
            if name is not None:
                party = self._parties[name]
                self._hear_relay(name, party, arrival.source)
                finder = party.finder
                finder.handle_datagram(arrival.data, arrival.source, arrival.at, arrival.port)
                self._turns.wake(name)
            return
        name = self._asked.get(message.transaction)
        if name is not None:
            self._handle_answer(self._parties[name], arrival, message.transaction)
            self._turns.wake(name)
        elif self._inquiry is not None:
            self._inquiry.hear(arrival)

    def _handle_answer(self, party: _Party, arrival: Arrival, transaction: bytes) -> None:
        if party.finder.awaits(transaction):
            party.finder.handle_datagram(arrival.data, arrival.source, arrival.at, arrival.port)
        for binding in party.bindings:
            if binding.awaits(transaction):
                binding.handle_datagram(arrival.data, arrival.source, arrival.at)
                return
        for probe in party.streams.probes:
            probe.handle_datagram(arrival.data, arrival.source)
