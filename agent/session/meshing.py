"""The chapters from the last signature to a mesh in which everybody is heard."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from agent.connection.gathering import gather, keep_mapping, with_mapped
from agent.connection.port_mapping import keep_mapped, map_port
from agent.connection.udp import UdpPort
from agent.errors import AgentError
from agent.mail.mailbox import Mailbox
from agent.running import Traces
from agent.session import mesh
from agent.session.descriptor import Descriptor
from agent.session.events import OffersComplete
from agent.session.heart import Heart
from agent.session.offers import OwnSide, make_own_side
from agent.session.paths import Paths
from agent.session.stage import Stage
from traversal.candidate import Address
from traversal.port_mapping import Mapped
from traversal.relay import RelayTicket

MTU = 1280
OFFERS_TIMEOUT = 8.0  # seconds, from the last signature to the last offer; everybody is awake now
GATHER_TIMEOUT = 3.0
MAPPING_TIMEOUT = 0.6  # a router that maps ports answers sooner; most do not
MESH_TIMEOUT = 10.0


@dataclass(frozen=True)
class Meshing:
    """How we come to a mesh with everybody in the descriptor; `raise_mesh` once."""

    stage: Stage
    descriptor: Descriptor
    mailbox: Mailbox
    traces: Traces

    async def raise_mesh(self) -> None:
        """Until every tunnel works both ways; looking for better paths goes on with the session.

        Raises: Stopped, AgentError.
        """
        creating = asyncio.create_task(self._create_interface())
        port = await UdpPort.bind()
        mapping = asyncio.create_task(map_port(port.port, MAPPING_TIMEOUT))
        try:
            servers, relays = await asyncio.gather(self._stun_servers(), self._relays())
            own = await self._gather(port, servers, relays, mapping)
            offered_at = time.monotonic()
            self.stage.machine.offers_made(own.offers(), time.time())
            self.stage.pump()
            async with owned(keep_mapping(own.port, servers)):
                complete = await self.stage.expect(OffersComplete, OFFERS_TIMEOUT)
                await creating
        except BaseException:
            creating.cancel()
            mapping.cancel()
            raise
        heart = await self._take_port_over(own, complete)
        paths = Paths(self.stage, self.descriptor, self.traces, heart)
        await paths.start(own, complete)
        await self._await_everybody(heart, paths)
        self.stage.report.event("mesh", seconds=round(time.monotonic() - offered_at, 3))
        paths.tell()

    async def _create_interface(self) -> None:
        rank = self.descriptor.rank(self.stage.me)
        addresses = (self.descriptor.addresses[rank], self.descriptor.addresses6[rank])
        created = await self.stage.helper.create(addresses, MTU)
        words = f"private network namespace with {created.implementation} is up"
        self.stage.step("interface", words)

    async def _stun_servers(self) -> tuple[Address, ...]:
        """Our mediator's; without it we still have the addresses of our own interfaces."""
        try:
            async with asyncio.timeout(GATHER_TIMEOUT):
                return await self.mailbox.account.stun_servers()
        except (AgentError, TimeoutError) as error:
            self.stage.step("stun", f"the mediator names no STUN server now: {error}")
            return ()

    async def _relays(self) -> tuple[tuple[RelayTicket, RelayTicket], ...]:
        """Tickets for our mediator's relay, one for each party; it may have none."""
        account, count = self.mailbox.account, len(self.descriptor.parties) - 1
        try:
            async with asyncio.timeout(GATHER_TIMEOUT):
                return await account.relays(self.descriptor.id, count)
        except (AgentError, TimeoutError) as error:
            self.stage.step("relay", f"the mediator relays nothing for us: {error}")
            return ()

    async def _gather(
        self,
        port: UdpPort,
        servers: tuple[Address, ...],
        relays: tuple[tuple[RelayTicket, RelayTicket], ...],
        mapping: asyncio.Task[Mapped | None],
    ) -> OwnSide:
        gathered = await gather(port, servers, GATHER_TIMEOUT)
        candidates = with_mapped(gathered.candidates, self._keep(await mapping))
        kinds = ", ".join(f"{found.kind} {found.address}" for found in candidates)
        words = f"mapping {gathered.mapping}; candidates: {kinds}; relays: {len(relays)}"
        self.stage.step("candidates", words)
        others = [did for did in self.descriptor.parties if did != self.stage.me]
        return make_own_side(self.descriptor.id, port, candidates, others, relays)

    def _keep(self, mapped: Mapped | None) -> Mapped | None:
        """What the router has opened for us stays open with the session, and no longer."""
        if mapped is None:
            return None
        words = f"the router opens {mapped.external} for us ({mapped.protocol})"
        if mapped.double_nat:
            words += ", which is private: another NAT follows"
        self.stage.step("port-mapping", words)
        self.stage.accompany(keep_mapped(mapped, self._remapped))
        return mapped

    def _remapped(self, mapped: Mapped | None) -> None:
        words = f"opens {mapped.external} instead" if mapped else "opens no port for us any more"
        self.stage.step("port-mapping", f"the router {words}")

    async def _take_port_over(self, own: OwnSide, complete: OffersComplete) -> Heart:
        """WireGuard has our port and knows everybody before anything is sent."""
        stage = self.stage
        own.port.close()
        await stage.helper.apply(mesh.plan(self.descriptor, stage.me, own, complete.offers))
        stage.heart = await Heart.start(
            stage.helper, self.descriptor, stage.me, stage.on_said, stage.on_lost
        )
        return stage.heart

    async def _await_everybody(self, heart: Heart, paths: Paths) -> None:
        """Raises: Stopped, naming who is not reached, and why."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MESH_TIMEOUT):
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
            stage.fail(f"no direct path from {stage.name(stage.me)} to {names}: {reason}", did)
        stage.fail(f"lost {stage.names(lost)}: no word for {MESH_TIMEOUT:.0f} s", lost[0])


@contextlib.asynccontextmanager
async def owned(work: Awaitable[None]) -> AsyncIterator[None]:
    """Work that ends with the block."""
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
