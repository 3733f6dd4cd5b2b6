"""The chapters from the last signature to a mesh in which everybody is heard."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass

from agent.connection.connectivity import Connectivity, Found, NotFound
from agent.connection.gathering import gather, keep_mapping
from agent.connection.udp import UdpPort
from agent.errors import AgentError
from agent.mail.mailbox import Mailbox
from agent.running import RunningSession, Traces
from agent.session import mesh
from agent.session.descriptor import Descriptor
from agent.session.events import OffersComplete
from agent.session.heart import Heart
from agent.session.offers import OwnSide, check_key, make_own_side
from agent.session.stage import Stage
from traversal.candidate import Address, RemoteSide

MTU = 1280
OFFERS_TIMEOUT = 8.0  # seconds, from the last signature to the last offer; everybody is awake now
GATHER_TIMEOUT = 3.0
PATHS_TIMEOUT = 8.0
MESH_TIMEOUT = 8.0


@dataclass(frozen=True)
class Meshing:
    """How we come to a mesh with everybody in the descriptor; `raise_mesh` once."""

    stage: Stage
    descriptor: Descriptor
    mailbox: Mailbox
    traces: Traces

    async def raise_mesh(self) -> None:
        """Until every tunnel works both ways.

        Raises: Stopped, AgentError.
        """
        self._note({})
        creating = asyncio.create_task(self._create_interface())
        try:
            servers = await self._stun_servers()
            own = await self._gather(servers)
            offered_at = time.monotonic()
            self.stage.machine.offers_made(own.offers(), time.time())
            self.stage.pump()
            async with owned(keep_mapping(own.port, servers)):
                complete = await self.stage.expect(OffersComplete, OFFERS_TIMEOUT)
            paths = await self._find_paths(own, complete)
            await creating
        except BaseException:
            creating.cancel()
            raise
        await self._configure(own, complete, paths)
        self.stage.report.event("mesh", seconds=round(time.monotonic() - offered_at, 3))
        self._note({did: self._tell_path(did, path) for did, path in paths.items()})

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
                return await self.mailbox.stun_servers()
        except (AgentError, TimeoutError) as error:
            self.stage.step("stun", f"the mediator names no STUN server now: {error}")
            return ()

    async def _gather(self, servers: Sequence[Address]) -> OwnSide:
        port = await UdpPort.bind()
        gathered = await gather(port, servers, GATHER_TIMEOUT)
        kinds = ", ".join(
            f"{candidate.kind} {candidate.address.host}:{candidate.address.port}"
            for candidate in gathered.candidates
        )
        self.stage.step("candidates", f"mapping {gathered.mapping}; candidates: {kinds}")
        others = [did for did in self.descriptor.parties if did != self.stage.me]
        return make_own_side(self.descriptor.id, port, gathered.candidates, others)

    async def _find_paths(self, own: OwnSide, complete: OffersComplete) -> dict[str, Found]:
        connectivity = Connectivity(own.port)
        stage, descriptor = self.stage, self.descriptor
        rank = descriptor.rank(stage.me)
        for did, offer in complete.offers.items():
            first = rank < descriptor.rank(did)
            try:
                check_key(did, own, complete.offers)
                remote = RemoteSide.from_json(offer.side)
                connectivity.add_party(did, own.sides[did], remote, controlling=first)
            except ValueError as error:
                stage.fail(f"{stage.name(did)} made an offer that cannot be used: {error}", did)
        settled = await connectivity.establish(PATHS_TIMEOUT, lambda *_: None)
        own.port.close()
        found = {did: path for did, path in settled.items() if isinstance(path, Found)}
        missing = {did: path for did, path in settled.items() if isinstance(path, NotFound)}
        for did, path in missing.items():
            stage.step("no-path", f"{stage.name(did)}: no direct path: {path.reason}")
        if missing:
            names = ", ".join(map(stage.name, missing))
            first_missing, path = next(iter(missing.items()))
            words = f"no direct path from {stage.name(stage.me)} to {names}: {path.reason}"
            stage.fail(words, first_missing)
        return found

    async def _configure(
        self, own: OwnSide, complete: OffersComplete, paths: Mapping[str, Found]
    ) -> None:
        stage = self.stage
        await stage.helper.apply(mesh.plan(self.descriptor, stage.me, own, complete.offers))
        await stage.helper.set_endpoints(
            [mesh.endpoint(complete.offers[did], path) for did, path in paths.items()]
        )
        stage.heart = await Heart.start(
            stage.helper, self.descriptor, stage.me, stage.on_said, stage.on_lost
        )
        await stage.within(MESH_TIMEOUT, stage.heart.all_heard(), stage.heart.unheard)

    def _tell_path(self, did: str, path: Found) -> dict[str, object]:
        heart = self.stage.heart
        facts = mesh.describe(path, heart.rtt(did) if heart is not None else None)
        self.stage.report.event("path", party=self.stage.name(did), did=did, **facts)
        return facts

    def _note(self, paths: Mapping[str, object]) -> None:
        """Write down for `agent status` what runs here."""
        descriptor = self.descriptor
        self.traces.write(RunningSession(os.getpid(), descriptor.id, descriptor.parties, paths))


@contextlib.asynccontextmanager
async def owned(work: Awaitable[None]) -> AsyncIterator[None]:
    """Work that ends with the block."""
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
