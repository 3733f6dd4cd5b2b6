"""A session from the first proposal to the empty machine, told from top to bottom.

`SessionMachine` decides; this module does what it says: brings messages to the mailbox and back,
makes offers, finds paths, raises the mesh, probes the program's ports, runs the program, watches
everybody's pulse, and in every case takes it all down again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from agent.connection.connectivity import Connectivity, Found, NotFound
from agent.connection.gathering import gather, keep_mapping
from agent.connection.udp import UdpPort
from agent.errors import AgentError
from agent.launch import adapters
from agent.launch.program import Program, write_files
from agent.mail.mailbox import Mailbox
from agent.network_helper.client import NetworkHelper, Removed
from agent.report import Report
from agent.running import RunningSession, Traces
from agent.session import mesh
from agent.session.descriptor import Descriptor, short
from agent.session.events import (
    Agreed,
    Ended,
    Event,
    OffersComplete,
    Outcome,
    Proposed,
    Released,
    State,
    Withdrew,
)
from agent.session.heart import Heart
from agent.session.machine import SessionMachine
from agent.session.offers import OwnSide, check_key, make_own_side
from agent.session.post import LIFETIME, Post
from agent.session.probe import PortsClosed, probe_ports
from agent.session.runner import ProgramFailed, run_program
from traversal.candidate import Address, RemoteSide

MTU = 1280
CLOCK_SKEW = 120  # seconds that parties' clocks may differ
OFFERS_TIMEOUT = 8.0  # seconds, from the last signature to the last offer; everybody is awake now
GATHER_TIMEOUT = 3.0
PATHS_TIMEOUT = 8.0
MESH_TIMEOUT = 8.0
PROBE_TIMEOUT = 8.0
READY_TIMEOUT = 30.0  # somebody lost is found by pulse
RESULTS_TIMEOUT = 60.0
LAST_WORDS = 5.0  # seconds to bring what we still have to say to the mediators
FAREWELL = 2.0  # seconds in which the others may still fetch our result from the mesh

_E = TypeVar("_E", bound=Event)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Ending:
    """How a session ended here, and what is left of it on this machine."""

    ended: Ended
    result: bytes | None
    removed: Removed


@dataclass
class Story:
    """One run of one program with these parties; `tell` it once."""

    machine: SessionMachine
    program: Program
    inputs: Mapping[str, int]
    me: str
    mailbox: Mailbox
    helper: NetworkHelper
    traces: Traces
    report: Report
    patience: float  # seconds to wait for the other parties to come
    _events: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)
    _over: asyncio.Future[Ended] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    _heart: Heart | None = None
    _result: bytes | None = None

    async def tell(self) -> Ending:
        """Live through the session; whatever happens, the machine is left as it was."""
        lifetime = max(LIFETIME, int(self.patience) + CLOCK_SKEW)
        try:
            async with (
                Post(
                    self.machine, self.mailbox, self.me, self._pump, self._trouble, lifetime
                ) as post,
                _owned(self._tick()),
            ):
                self._pump()
                ended = await self._until_over(self._chapters(), post.failed)
                if ended.outcome is not Outcome.DONE or not await self._all_know():
                    await post.flush(LAST_WORDS)
        finally:
            removed = await self._take_down()
        return Ending(ended, self._result, removed)

    def stop(self) -> None:
        """End the session because our user said so; others repeat the reason, so it names us."""
        reason = f"{self._name(self.me)} was stopped by its owner"
        self.machine.stop(reason, time.time(), party=self.me)
        self._pump()

    async def _all_know(self) -> bool:
        """Whether everybody heard of the good end in the mesh already, so that no mail need."""
        return self._heart is not None and await self._heart.farewell(FAREWELL)

    # the chapters

    async def _chapters(self) -> None:
        self._step("propose", f"proposed to {self._names(self.machine.waiting_for())}; waiting")
        agreed = await self._expect(Agreed, self.patience)
        descriptor = agreed.descriptor
        self._step("agreed", f"everybody signed session {descriptor.id[:16]}")
        self._note(descriptor, {})
        creating = asyncio.create_task(self._create_interface(descriptor))
        try:
            servers = await self._stun_servers()
            own = await self._gather(descriptor, servers)
            offered_at = time.monotonic()
            self.machine.offers_made(own.offers(), time.time())
            self._pump()
            async with _owned(keep_mapping(own.port, servers)):
                complete = await self._expect(OffersComplete, OFFERS_TIMEOUT)
            paths = await self._find_paths(descriptor, own, complete)
            await creating
        except BaseException:
            creating.cancel()
            raise
        await self._raise_mesh(descriptor, own, complete, paths, offered_at)
        await self._probe(descriptor)
        self.machine.mesh_ready(time.time())
        self._pump()
        await self._expect(Released, READY_TIMEOUT)
        await self._run(descriptor)
        await self._expect(Ended, RESULTS_TIMEOUT)

    async def _create_interface(self, descriptor: Descriptor) -> None:
        rank = descriptor.rank(self.me)
        addresses = (descriptor.addresses[rank], descriptor.addresses6[rank])
        created = await self.helper.create(addresses, MTU)
        self._step("interface", f"private network namespace with {created.implementation} is up")

    async def _stun_servers(self) -> tuple[Address, ...]:
        """Our mediator's; without it we still have the addresses of our own interfaces."""
        try:
            async with asyncio.timeout(GATHER_TIMEOUT):
                return await self.mailbox.stun_servers()
        except (AgentError, TimeoutError) as error:
            self._step("stun", f"the mediator names no STUN server now: {error}")
            return ()

    async def _gather(self, descriptor: Descriptor, servers: Sequence[Address]) -> OwnSide:
        port = await UdpPort.bind()
        gathered = await gather(port, servers, GATHER_TIMEOUT)
        kinds = ", ".join(
            f"{candidate.kind} {candidate.address.host}:{candidate.address.port}"
            for candidate in gathered.candidates
        )
        self._step("candidates", f"mapping {gathered.mapping}; candidates: {kinds}")
        others = [did for did in descriptor.parties if did != self.me]
        return make_own_side(descriptor.id, port, gathered.candidates, others)

    async def _find_paths(
        self, descriptor: Descriptor, own: OwnSide, complete: OffersComplete
    ) -> dict[str, Found]:
        connectivity = Connectivity(own.port)
        rank = descriptor.rank(self.me)
        for did, offer in complete.offers.items():
            first = rank < descriptor.rank(did)
            try:
                check_key(did, own, complete.offers)
                remote = RemoteSide.from_json(offer.side)
                connectivity.add_party(did, own.sides[did], remote, controlling=first)
            except ValueError as error:
                self._fail(f"{self._name(did)} made an offer that cannot be used: {error}", did)
        settled = await connectivity.establish(PATHS_TIMEOUT, lambda *_: None)
        own.port.close()
        found = {did: path for did, path in settled.items() if isinstance(path, Found)}
        missing = {did: path for did, path in settled.items() if isinstance(path, NotFound)}
        for did, path in missing.items():
            self._step("no-path", f"{self._name(did)}: no direct path: {path.reason}")
        if missing:
            names = ", ".join(map(self._name, missing))
            first_missing, path = next(iter(missing.items()))
            words = f"no direct path from {self._name(self.me)} to {names}: {path.reason}"
            self._fail(words, first_missing)
        return found

    async def _raise_mesh(
        self,
        descriptor: Descriptor,
        own: OwnSide,
        complete: OffersComplete,
        paths: Mapping[str, Found],
        offered_at: float,
    ) -> None:
        await self.helper.apply(
            mesh.plan(descriptor, self.me, own, complete.offers, paths, mtu=MTU)
        )
        self._heart = await Heart.start(
            self.helper, descriptor, self.me, self._on_said, self._on_lost
        )
        await self._within(MESH_TIMEOUT, self._heart.all_heard(), self._heart.unheard)
        self.report.event("mesh", seconds=round(time.monotonic() - offered_at, 3))
        told = {did: self._tell_path(did, path, self._heart) for did, path in paths.items()}
        self._note(descriptor, told)

    def _tell_path(self, did: str, path: Found, heart: Heart) -> dict[str, object]:
        facts = mesh.describe(path, heart.rtt(did))
        self.report.event("path", party=self._name(did), did=did, **facts)
        return facts

    def _note(self, descriptor: Descriptor, paths: Mapping[str, object]) -> None:
        """Write down for `agent status` what runs here."""
        self.traces.write(RunningSession(os.getpid(), descriptor.id, descriptor.parties, paths))

    async def _probe(self, descriptor: Descriptor) -> None:
        places = descriptor.program_places()
        own = places.pop(self.me)
        try:
            await probe_ports(lambda: self.helper.socket("tcp"), own, places, PROBE_TIMEOUT)
        except PortsClosed as closed:
            parties = closed.unreached or closed.unseen
            way = "cannot reach" if closed.unreached else "is not reached by"
            self._fail(
                f"{self._name(self.me)} {way} the program's port: {self._names(parties)}",
                parties[0],
            )
        self._step("ports", "the program's ports are open to and from everybody")

    async def _run(self, descriptor: Descriptor) -> None:
        rank = descriptor.rank(self.me)
        self._step(
            "run", f"everybody is ready; running {self.program.name} as {self._name(self.me)}"
        )
        seats = adapters.Seats(
            rank, descriptor.addresses, descriptor.ports, self.machine.draft.threshold
        )
        workdir = self.traces.workdir
        launch = adapters.plan(self.program, seats, self.inputs, workdir, sys.executable)
        write_files(launch.files, workdir)
        try:
            self._result = await run_program(
                self.helper, launch, workdir, self.program.manifest.timeouts, self._step
            )
        except ProgramFailed as failed:
            ranks = {str(rank): did for rank, did in enumerate(descriptor.parties)}
            if party := ranks.get(failed.lost or ""):
                self._fail(f"lost {self._name(party)}: {failed}", party)
            self._fail(f"the program of {self._name(self.me)} failed: {failed}", self.me)
        self.machine.program_ended(hashlib.sha256(self._result).hexdigest(), time.time())
        self._pump()

    # what drives them

    async def _until_over(self, chapters: Awaitable[None], failed: asyncio.Future[None]) -> Ended:
        """The chapters, until they are through or the session is over for any other reason.

        What a person can act on ends the session with its words; a fault of ours is raised, after
        everybody was told.
        """
        telling = asyncio.ensure_future(chapters)
        ends: set[asyncio.Future[Any]] = {telling, self._over, failed}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        fault = next((end.exception() for end in (failed, telling) if end.done()), None)
        if fault is not None and not self._over.done():
            words = str(fault) if isinstance(fault, AgentError) else "an internal fault"
            reason = f"{self._name(self.me)} stopped: {words}"
            self.machine.stop(reason, time.time(), party=self.me)
            self._pump()
            if not isinstance(fault, AgentError):
                raise fault
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        return self._over.result()

    async def _expect(self, kind: type[_E], timeout: float) -> _E:
        """The next event of this kind; progress of others is told meanwhile."""
        return await self._within(timeout, self._next(kind), self.machine.waiting_for)

    async def _next(self, kind: type[_E]) -> _E:
        while True:
            match await self._events.get():
                case event if isinstance(event, kind):
                    return event
                case Proposed(party, waiting):
                    still = f"; waiting for {self._names(waiting)}" if waiting else ""
                    self._step("proposed", f"{self._name(party)} wants the same session{still}")
                case Withdrew(party, reason):
                    self._step("withdrew", f"{self._name(party)} left: {reason}")

    async def _within(
        self, timeout: float, waiting: Awaitable[_T], missing: Callable[[], Sequence[str]]
    ) -> _T:
        """What is waited for; before everybody has signed it may be late, later it is lost."""
        early = self.machine.state in (State.PROPOSING, State.SIGNING)
        try:
            async with asyncio.timeout(timeout):
                return await waiting
        except TimeoutError:
            late = missing()
            names = self._names(late) or "the others"
            party = late[0] if len(late) == 1 else None
            reason, outcome = f"lost {names}: no word for {timeout:.0f} s", Outcome.FAILED
            if early:
                reason, outcome = f"waited {timeout:.0f} s for {names}", Outcome.TIMEOUT
            self.machine.stop(reason, time.time(), party=party, outcome=outcome)
            self._pump()
            raise _Stopped from None

    def _fail(self, reason: str, party: str) -> NoReturn:
        self.machine.stop(reason, time.time(), party=party)
        self._pump()
        raise _Stopped

    def _pump(self) -> None:
        """Move the machine's events to where they are waited for; `Post` takes its messages."""
        while (event := self.machine.next_event()) is not None:
            if isinstance(event, Ended) and not self._over.done():
                self._over.set_result(event)
            self._events.put_nowait(event)
        if self._heart is not None:
            self._heart.news(self.machine)

    async def _tick(self) -> None:
        """The machine's timer and the session's deadline."""
        while self.machine.state is not State.ENDED:
            await asyncio.sleep(0.1)
            now = time.time()
            timer = self.machine.next_timer()
            if timer is not None and now >= timer:
                self.machine.handle_timer(now)
            descriptor = self.machine.descriptor
            if descriptor is not None and now > descriptor.deadline:
                self.machine.stop("the session's deadline has passed", now, outcome=Outcome.TIMEOUT)
            self._pump()

    def _on_said(self, did: str, text: str) -> None:
        self.machine.handle_pulse(did, text, time.time())
        self._pump()

    def _on_lost(self, did: str) -> None:
        if not self.machine.has_result_of(did):
            self.machine.stop(f"lost {self._name(did)}: no sign of life", time.time(), party=did)
            self._pump()

    async def _take_down(self) -> Removed:
        if self._heart is not None:
            self._heart.close()
        try:
            return await self.helper.remove()
        finally:
            self.traces.remove()

    # words

    def _trouble(self, text: str) -> None:
        self._step("mail", text)

    def _step(self, name: str, text: str) -> None:
        self.report.event("step", name=name, text=text)

    def _name(self, did: str) -> str:
        return f"party{self.machine.draft.parties.index(did)}"

    def _names(self, dids: Sequence[str]) -> str:
        return ", ".join(f"{self._name(did)} ({short(did)})" for did in dids)


class _Stopped(Exception):
    """The chapters end here; the machine already knows why."""


@contextlib.asynccontextmanager
async def _owned(work: Awaitable[None]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
