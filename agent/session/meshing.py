"""The chapters from the first proposal to a mesh in which everybody is heard."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from agent.connection.gathering import gather, keep_mapping, with_mapped
from agent.connection.port_mapping import keep_mapped, map_port
from agent.connection.turn import TurnRelay, TurnServer, TurnUnusable
from agent.connection.udp import UdpPort
from agent.errors import AgentError
from agent.mail.mailbox import Mailbox
from agent.mail.strangers import policy_beside
from agent.running import Traces
from agent.session import mesh
from agent.session.descriptor import Descriptor, KeyAgreement
from agent.session.events import Agreed, Described, Event, State
from agent.session.export import MeshExport
from agent.session.heart import Heart
from agent.session.offers import OwnSide, make_own_side, peer_key, with_turn
from agent.session.paths import Paths
from agent.session.preshared import Decapsulator, End, NotConfirmed, PairKeys
from agent.session.relaying import Pair, Relaying
from agent.session.stage import Stage
from agent.telling import answering
from agent.wireguard.config import LEAST_MTU, MOST_MTU, Interface
from traversal.candidate import Address, LocalSide
from traversal.port_mapping import Mapped

GATHER_TIMEOUT = 3.0  # seconds
STUN_TIMEOUT = 1.5  # seconds after which UDP counts as blocked, for now
STUN_SOON = 0.4  # the same, at least, where the mediator answers requests faster
STUN_ROUNDS = 4  # such requests that would take as long
MAPPING_TIMEOUT = 10.0  # seconds; most routers never answer
MAPPING_SOON = 0.1  # seconds that offers wait for a router's port; one that comes later is told


@dataclass
class Meshing:
    """How we come to an agreement with everybody, and to a mesh; in this order, each once."""

    stage: Stage
    mailbox: Mailbox
    traces: Traces
    decapsulator: Decapsulator
    turn: TurnServer | None = None
    try_hard: bool = False
    _relaying: Relaying = field(init=False)
    _turn_relay: TurnRelay | None = None
    _own: OwnSide | None = None
    _pairs: PairKeys | None = None
    _interface: Interface | None = None
    _servers: tuple[Address, ...] = ()
    _stun_timeout: float = STUN_TIMEOUT
    _mapping: asyncio.Task[None] | None = None
    _mapped: Mapped | None = None
    _paths: Paths | None = None
    _creating: asyncio.Task[None] | None = None
    _offered_at: float = 0.0

    def __post_init__(self) -> None:
        self._relaying = Relaying(self.stage, self.mailbox.account)

    async def agree(self, patience: float) -> Agreed:
        """Until everybody has signed the same descriptor, and offered how to be reached.

        Raises: Stopped, after `patience` seconds; AgentError.
        """
        return await self.stage.within(patience, self._agree(), self.stage.machine.waiting_for)

    async def raise_mesh(self, agreed: Agreed) -> None:
        """Until every tunnel works both ways; looking for better paths goes on with the session.

        Raises: Stopped, AgentError.
        """
        own = self._own
        if self._creating is None or own is None:
            raise RuntimeError("a mesh is raised after an agreement")
        await self._creating
        heart = await self._take_port_over(own, agreed)
        policy = await policy_beside((await self.mailbox.account.endpoints()).http)
        descriptor, traces = agreed.descriptor, self.traces
        paths = Paths(self.stage, descriptor, traces, heart, self._servers, self._mapped, policy)
        await paths.start(own, agreed)
        self._paths = paths
        self.stage.accompany(self._relaying.keep(paths.connectivity, descriptor))
        await self._await_everybody(heart, paths)
        seconds = time.monotonic() - self._offered_at
        self.stage.report.event("mesh", seconds=round(seconds, 3))
        paths.tell()
        self.stage.accompany(self._answer(agreed, paths))

    async def _answer(self, agreed: Agreed, paths: Paths) -> NoReturn:
        """Tell our owner's other commands what the mesh is, until the session ends."""
        descriptor, interface = agreed.descriptor, self._interface
        if interface is None:
            raise RuntimeError("there is no mesh to tell of")

        def tell(kind: str) -> str:
            endpoints = {peer_key(agreed.offers[did]): at for did, at in paths.endpoints().items()}
            rank = descriptor.rank(self.stage.me)
            return MeshExport(
                descriptor.content, descriptor.id, rank, LEAST_MTU, endpoints, interface
            ).text(kind)

        async with answering(self.traces.socket, tell):
            await asyncio.Event().wait()
        raise AssertionError("an event that nobody sets was set")

    async def _agree(self) -> Agreed:
        port = await UdpPort.bind()
        self.stage.at_end(port.close)
        self._mapping = asyncio.create_task(self._map(port))
        self.stage.own(self._mapping)
        while True:
            async with owned(keep_mapping(port, self._servers)):
                event = await self._next_event()
            match event:
                case Described():
                    await self._offer(port, event)
                case Agreed():
                    return event

    async def _next_event(self) -> Event:
        """Once we have signed, the others are awake as well, and have not long to follow."""
        stage, machine = self.stage, self.stage.machine
        while True:
            signed = machine.state is State.SIGNING
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(stage.patience if signed else None):
                    return await stage.next(Described, Agreed)
            if machine.state is State.SIGNING:
                stage.lose(machine.waiting_for(), stage.patience)

    async def _offer(self, port: UdpPort, described: Described) -> None:
        descriptor = described.descriptor
        await self._start_creating(descriptor)
        self._servers, relays, _ = await asyncio.gather(
            self._stun_servers(), self._relaying.tickets(descriptor), self._start_turn(port)
        )
        self._own = await self._gather(port, descriptor, relays)
        self._pairs = self._pair_keys(self._own, described)
        self._offered_at = time.monotonic()
        self.stage.machine.offers_made(self._own.offers(self._pairs), time.time())
        self.stage.pump()

    def _pair_keys(self, own: OwnSide, described: Described) -> PairKeys | None:
        """Our half of the pre-shared keys; the machine lets nobody in who has no key for it."""
        if self.stage.machine.draft.key_agreement is KeyAgreement.CLASSICAL:
            return None
        descriptor, keys = described.descriptor, described.encapsulation_keys
        others = {did: End(descriptor.rank(did), key or "") for did, key in keys.items()}
        me = others.pop(self.stage.me)
        return PairKeys(self.decapsulator, descriptor.id, me, others, own.public_key)

    def _preshared(self, agreed: Agreed) -> dict[str, bytes]:
        """The key of every pair. Raises: Stopped, naming with whom we have none."""
        if self._pairs is None:
            self.stage.step("keys", "x25519 alone: what is recorded today may be read one day")
            return {}
        keys = {}
        for did, offer in agreed.offers.items():
            try:
                keys[did] = self._pairs.key(did, offer)
            except NotConfirmed as error:
                self.stage.fail(f"no key with {self.stage.name(did)}: {error}", did)
        words = f"{agreed.descriptor.key_agreement}: confirmed with everybody"
        self.stage.step("keys", words)
        return keys

    async def _start_creating(self, descriptor: Descriptor) -> None:
        """While messages travel; a party that starts over changes our addresses."""
        if self._creating is not None:
            await self._creating
            await self.stage.helper.remove()
        self._creating = asyncio.create_task(self._create_interface(descriptor))
        self.stage.own(self._creating)

    async def _create_interface(self, descriptor: Descriptor) -> None:
        rank = descriptor.rank(self.stage.me)
        addresses = (descriptor.addresses[rank], descriptor.addresses6[rank])
        created = await self.stage.helper.create(addresses, MOST_MTU)
        words = f"private network namespace with {created.implementation} is up"
        self.stage.step("interface", words)

    async def _stun_servers(self) -> tuple[Address, ...]:
        """Our mediator's; without it we still have the addresses of our own interfaces."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(GATHER_TIMEOUT):
                servers = await self.mailbox.account.stun_servers()
            took = STUN_ROUNDS * (time.monotonic() - began)
            self._stun_timeout = min(max(STUN_SOON, took), STUN_TIMEOUT)
            return servers
        except (AgentError, TimeoutError) as error:
            self.stage.step("stun", f"the mediator names no STUN server now: {error}")
            return ()

    async def _gather(
        self,
        port: UdpPort,
        descriptor: Descriptor,
        relays: Mapping[str, Pair],
    ) -> OwnSide:
        gathered = await gather(port, self._servers, self._stun_timeout)
        if self._mapping is not None:
            await asyncio.wait([self._mapping], timeout=MAPPING_SOON)
        mapped = with_mapped(gathered.candidates, self._mapped)
        candidates = with_turn(mapped, self._turn_relay)
        kinds = ", ".join(map(str, candidates))
        words = f"mapping {gathered.mapping}; candidates: {kinds}; relays: {len(relays)}"
        self.stage.step("candidates", words)
        others = [did for did in descriptor.parties if did != self.stage.me]
        sides = {did: LocalSide.fresh(candidates, birthday=self.try_hard) for did in others}
        return make_own_side(descriptor.id, port, sides, relays, self._turn_relay)

    async def _start_turn(self, port: UdpPort) -> None:
        """Our address on a TURN server, for the session; the session goes on without, too."""
        if self.turn is None or self._turn_relay is not None:
            return
        try:
            relay = await TurnRelay.start(self.turn, port.port, GATHER_TIMEOUT)
        except TurnUnusable as error:
            self.stage.step("turn", f"the TURN server gives us no address: {error}")
            return
        self._turn_relay = relay
        self.stage.accompany(_keep(relay))

    async def _map(self, port: UdpPort) -> None:
        """What the router opens for us stays open with the session, and no longer."""
        self._mapped = mapped = await map_port(port.port, MAPPING_TIMEOUT)
        if mapped is not None:
            words = f"the router opens {mapped.external} for us ({mapped.protocol})"
            if mapped.double_nat:
                words += ", which is private: another NAT follows"
            self.stage.step("port-mapping", words)
            self.stage.accompany(keep_mapped(mapped, self._remapped))
            if self._paths is not None:
                self._paths.remap(mapped)

    def _remapped(self, mapped: Mapped | None) -> None:
        words = f"opens {mapped.external} instead" if mapped else "opens no port for us any more"
        self.stage.step("port-mapping", f"the router {words}")
        self._mapped = mapped
        if self._paths is not None:
            self._paths.remap(mapped)

    async def _take_port_over(self, own: OwnSide, agreed: Agreed) -> Heart:
        """WireGuard has our port and knows everybody before anything is sent."""
        stage, descriptor = self.stage, agreed.descriptor
        preshared = self._preshared(agreed)
        own.port.close()
        self._interface = mesh.plan(descriptor, stage.me, own, agreed.offers, preshared)
        await stage.helper.apply(self._interface)
        stage.heart = await Heart.start(
            stage.helper, descriptor, stage.me, stage.on_said, stage.on_lost
        )
        return stage.heart

    async def _await_everybody(self, heart: Heart, paths: Paths) -> None:
        """Raises: Stopped, naming who is not reached, and why."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.stage.patience):
                await heart.all_heard()
        if lost := heart.unheard():
            self._give_up(lost, paths.missing())

    def _give_up(self, lost: Sequence[str], pathless: Mapping[str, str]) -> NoReturn:
        stage = self.stage
        for did, reason in pathless.items():
            stage.step("no-path", f"{stage.name(did)}: no path: {reason}")
        if pathless:
            names = ", ".join(map(stage.name, pathless))
            did, reason = next(iter(pathless.items()))
            words = f"no path from {stage.name(stage.me)} to {names}: {reason}"
            stage.fail(words, did, lost=True)
        stage.lose(lost, stage.patience)


async def _keep(relay: TurnRelay) -> None:
    """Until cancelled; the server is told that it may forget us."""
    try:
        await asyncio.Future()
    finally:
        await relay.close()


@contextlib.asynccontextmanager
async def owned(work: Awaitable[None]) -> AsyncIterator[None]:
    """Work that ends with the block."""
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
