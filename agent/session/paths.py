"""Everybody's path for as long as the session lives: found, used, told, and left when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NoReturn

from agent.connection.changes import network_changes
from agent.connection.check_socket import CheckSocket
from agent.connection.connectivity import Connectivity
from agent.connection.gathering import Gathered, with_mapped
from agent.connection.outer_mtu import room_for_packets
from agent.connection.steering import Steering
from agent.connection.turn import TurnRelay
from agent.rootless.handover import process_id
from agent.running import RunningSession, Traces
from agent.session import mesh
from agent.session.descriptor import Descriptor
from agent.session.events import Agreed
from agent.session.heart import Heart
from agent.session.offers import OwnSide, check_key, given_tickets, peer_key, with_turn
from agent.session.seeing import Seeing
from agent.session.stage import Stage
from agent.wireguard.config import LEAST_MTU
from resolvers.guarded import Policy
from traversal.agreement import Event, PathFound, PathSettled
from traversal.candidate import (
    MAPPED,
    Address,
    BadCandidate,
    Candidate,
    Kind,
    Nat,
    RemoteSide,
    candidates_from_json,
    nat_of,
)
from traversal.port_mapping import Mapped
from traversal.relay import BadTicket

GATHER_TIMEOUT = 3.0  # seconds
LOOK_AGAIN = 5.0  # seconds, at least, between two looks for our addresses because of a path
LONGEST_LOOK = 60.0  # the same while nothing comes of it
TICK = 1.0  # seconds between two thoughts about looking
MOVE_INTERVAL = 0.5  # seconds between two changes of others' networks that we act on
TURN_PEERS = 6  # addresses of a party to which ways are kept open
NOTE_INTERVAL = 1.0  # seconds between two notes for `agent status`, `ping` and `wait`


@dataclass
class Paths:
    """Our end of every path; started when WireGuard has the port and knows all parties.

    Nobody answers a check before that, so whoever has found a path may send at once: a handshake
    that meets a WireGuard without its peer would be lost, and repeated only after five seconds.
    """

    stage: Stage
    descriptor: Descriptor
    traces: Traces
    heart: Heart
    servers: Sequence[Address]  # STUN
    mapped: Mapped | None  # what the router opens for us
    policy: Policy  # where others may have us open streams
    connectivity: Connectivity = field(init=False)
    _steering: Steering = field(init=False)
    _told: dict[str, tuple[object, ...]] = field(default_factory=dict)
    _since: dict[str, tuple[Address, float]] = field(default_factory=dict)  # Unix seconds
    _telling: bool = False
    _offered: frozenset[Address] = frozenset()
    _turn: TurnRelay | None = None
    _looked_at: float = -math.inf
    _look_wait: float = LOOK_AGAIN

    async def start(self, own: OwnSide, agreed: Agreed) -> None:
        """Raises: Stopped, naming whose offer is of no use."""
        port = CheckSocket(await self.stage.helper.checks(), own.port.port)
        self.connectivity = Connectivity(port, self._on_event)
        keys = {did: peer_key(offer) for did, offer in agreed.offers.items()}
        rank = self.descriptor.rank
        leads = {did for did in keys if rank(self.stage.me) < rank(did)}
        self._turn = own.turn
        self._steering = Steering(self.stage.helper, keys, leads, self.heart.reach, self._distress)
        self.heart.watch_mtus(self._limit, self._on_mtu)
        self.connectivity.trying_hard.let_in = self._steering.let_in
        seeing = Seeing(self.stage.me, self.descriptor.parties, self.connectivity, self._steering)
        self.heart.seen, self.heart.on_seen = seeing.seen, seeing.hear
        for did in agreed.offers:
            self._add(did, own, agreed)
        self._offered, self._looked_at = _places(own.candidates), time.monotonic()
        if _places(with_mapped(own.candidates, self.mapped)) != self._offered:
            self._look_again()  # the router has opened a port since we made our offers
        for work in (
            self._connect(port),
            self._steering.run(),
            self._keep_noting(),
            self._follow_others(),
            self._follow_our_network(),
            self._keep_looking(),
        ):
            self.stage.accompany(work)

    def missing(self) -> dict[str, str]:
        """The parties to which there is no path, and why."""
        others = [did for did in self.descriptor.parties if did != self.stage.me]
        lacking = [did for did in others if self.connectivity.path(did) is None]
        explain, explain_relays = self.connectivity.explain, self.connectivity.explain_relays
        return {did: f"{explain(did).reason or ''}; {explain_relays(did)}" for did in lacking}

    def tell(self) -> None:
        """Tell every path now, and from now on every change."""
        self._telling = True
        for did in self.descriptor.parties:
            if did != self.stage.me:
                self._tell(did)
        self._note()

    def endpoints(self) -> dict[str, tuple[str, int]]:
        """Where WireGuard reaches each party now, where it does."""
        others = [did for did in self.descriptor.parties if did != self.stage.me]
        found = {did: self.connectivity.path(did) for did in others}
        return {
            did: (path.endpoint.host, path.endpoint.port)
            for did, path in found.items()
            if path is not None
        }

    async def _connect(self, port: CheckSocket) -> None:
        with contextlib.closing(port):
            await self.connectivity.run()

    def _add(self, did: str, own: OwnSide, agreed: Agreed) -> None:
        offer, stage = agreed.offers[did], self.stage
        try:
            remote = RemoteSide.from_json(offer.side)
            check_key(did, own, agreed.offers)
            self.connectivity.add_party(
                did,
                own.sides[did],
                remote,
                controlling=self.descriptor.rank(stage.me) < self.descriptor.rank(did),
                tickets=own.tickets(did, offer),
                policy=self.policy,
            )
        except ValueError as error:
            stage.fail(f"{stage.name(did)} made an offer that cannot be used: {error}", did)
        self._reach_by_turn(did, remote.candidates)

    def _reach_by_turn(self, did: str, candidates: Sequence[Candidate]) -> None:
        """Only what is not inside a network can be reached from the server, or reach it."""
        if self._turn is None or self._turn.relayed is None:
            return
        version = self._turn.relayed.version
        outside = [
            found.address
            for found in candidates
            if not found.address.private and found.address.version == version
        ][:TURN_PEERS]
        hosts = {address.host for address in outside}
        self._turn.reach(hosts, outside, partial(self.connectivity.offer_turn, did))

    async def _follow_others(self) -> NoReturn:
        """Each change has us send checks, so nobody gets more than a few a second out of us."""
        while True:
            moved = await self.stage.moves.get()
            with contextlib.suppress(BadCandidate, BadTicket):
                if moved.relays:
                    self.connectivity.set_tickets(moved.party, given_tickets(moved.relays), 1)
                candidates = candidates_from_json(list(moved.candidates))
                self.connectivity.add_remote(moved.party, candidates)
                self._reach_by_turn(moved.party, candidates)
            await asyncio.sleep(MOVE_INTERVAL)

    async def _follow_our_network(self) -> None:
        async for change in network_changes():
            self.stage.step("network", f"our {change} changed: looking for our addresses again")
            self._look_again()

    def remap(self, mapped: Mapped | None) -> None:
        """The router opens another port for us, or none any more."""
        self.mapped = mapped
        self._look_again()

    def _distress(self, did: str) -> None:
        """A path is dead: perhaps our router was restarted, and shows us at another address."""
        self.connectivity.distress(did)
        self._look_wait = LOOK_AGAIN
        if time.monotonic() >= self._looked_at + LOOK_AGAIN:
            self._look_again()

    async def _keep_looking(self) -> NoReturn:
        """While a path is not direct; a router that is restarted answers nobody for a while."""
        while True:
            await asyncio.sleep(TICK)
            others = (did for did in self.descriptor.parties if did != self.stage.me)
            if all(self.connectivity.is_direct(did) for did in others):
                self._look_wait = LOOK_AGAIN
            elif time.monotonic() >= self._looked_at + self._look_wait:
                self._look_wait = min(2 * self._look_wait, LONGEST_LOOK)
                self._look_again()

    def _look_again(self) -> None:
        self._looked_at = time.monotonic()
        self.heart.ask()
        self.connectivity.inquire(self.servers, GATHER_TIMEOUT, self._gathered)

    def _gathered(self, gathered: Gathered) -> None:
        mapped = with_mapped(gathered.candidates, self.mapped)
        candidates = with_turn(mapped, self._turn)
        places = _places(candidates)
        silent = gathered.rtt is None and bool(self.servers)
        if places == self._offered or not gathered.candidates:
            return
        if (
            silent and places <= self._offered
        ):  # the same network, and nobody to see us from outside
            return
        self._offered = places
        self.connectivity.set_local(candidates)
        self.stage.machine.moved([found.to_json() for found in candidates])
        kinds = ", ".join(map(str, candidates))
        self.stage.step("candidates", f"candidates now: {kinds}")

    def _on_event(self, did: str, event: Event) -> None:
        match event:
            case PathFound(path):
                self.heart.hold_mtu(did)
                self._steering.set_mtu(did, LEAST_MTU)
                late = () if path.relayed else self.connectivity.relays(did)
                self._steering.aim(did, path.endpoint, late, path.source_port)
                if self._since.get(did, (None,))[0] != path.endpoint:
                    self._since[did] = path.endpoint, time.time()
                if self._telling:
                    self._tell(did)
            case PathSettled():
                self._steering.settle(did)
                self.heart.search_mtu(did)

    def _limit(self, did: str) -> int:
        path = self.connectivity.path(did)
        return LEAST_MTU if path is None else room_for_packets(path)

    def _on_mtu(self, did: str, mtu: int) -> None:
        if mtu == LEAST_MTU:
            words = f"large packets to {self.stage.name(did)} do not arrive any more"
            self.stage.step("mtu", f"{words}: {mtu} bytes at most, until more are seen to pass")
        self._steering.set_mtu(did, mtu)

    def _tell(self, did: str) -> None:
        facts = self._facts(did)
        told = facts.get("kind"), facts.get("endpoint")
        if facts and self._told.get(did) != told:
            self._told[did] = told
            self.stage.report.event("path", party=self.stage.name(did), did=did, **facts)

    def _facts(self, did: str) -> dict[str, object]:
        """All there is to say of a path; nothing where there is none."""
        path = self.connectivity.path(did)
        if path is None:
            return {}
        return mesh.describe(path) | (self._trouble(did) if path.relayed else {})

    def _trouble(self, did: str) -> dict[str, object]:
        """Why there is no better path, and when (Unix seconds) the next try is, if there is one."""
        explanation = self.connectivity.explain(did)
        if explanation.next_try is None:
            return {"why": explanation.reason}
        wait = max(0.0, explanation.next_try - time.monotonic())
        return {"why": explanation.reason, "next_try": math.ceil(time.time() + wait)}

    def _noted(self, did: str) -> dict[str, object]:
        facts = self._facts(did) or {"kind": "none", **self._trouble(did)}
        facts["mtu"] = self.heart.mtu(did)
        if did in self._since:
            facts["since"] = round(self._since[did][1], 3)
        answer = self.heart.last_answer(did)
        if answer is not None:
            ago = time.monotonic() - answer[0]
            facts["answered"] = round(time.time() - ago, 3)
            facts["mesh_rtt_ms"] = round(answer[1] * 1000, 2)
        status = self._steering.status(did)
        if status is not None:
            facts["rx_bytes"], facts["tx_bytes"] = status.rx_bytes, status.tx_bytes
            facts["last_handshake"] = status.last_handshake
        return facts

    def _note(self) -> None:
        """Write down for `agent status` what runs here."""
        noted = {did: self._noted(did) for did in self.descriptor.parties if did != self.stage.me}
        parties = self.descriptor.parties
        self.traces.write(RunningSession(process_id(), self.descriptor.id, parties, noted))

    async def _keep_noting(self) -> NoReturn:
        while True:
            self._note()
            await asyncio.sleep(NOTE_INTERVAL)


def _places(candidates: Sequence[Candidate]) -> frozenset[Address]:
    """What tells one network from another: of a NAT that varies its ports, no port of them."""
    varies = nat_of(candidates) is Nat.VARYING
    return frozenset(
        found.address._replace(port=0)
        if varies
        and found.kind is Kind.SERVER_REFLEXIVE
        and not found.foundation.startswith(MAPPED)
        else found.address
        for found in candidates
    )
