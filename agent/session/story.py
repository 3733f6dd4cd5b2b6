"""A session from the first proposal to the empty machine, told from top to bottom.

`SessionMachine` decides; the chapters do what it says: `meshing` makes offers, finds paths and
raises the mesh, `computing` probes the program's ports and runs the program. Meanwhile `Post`
brings messages to the mailbox and back, and in every case all of it is taken down again.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.connection.turn import TurnServer
from agent.errors import AgentError
from agent.launch.program import Program
from agent.launch.sandbox import Sandbox
from agent.mail.mailbox import Mailbox
from agent.network_helper.client import NetworkHelper, Removed
from agent.report import Report
from agent.running import Traces
from agent.session.computing import compute, probe
from agent.session.events import Ended, Outcome, Released, State
from agent.session.machine import SessionMachine
from agent.session.meshing import Meshing, owned
from agent.session.post import LIFETIME, Post
from agent.session.preshared import Decapsulator
from agent.session.stage import Stage
from agent.words import phrase
from messaging.rotation import PriorDid

CLOCK_SKEW = 120  # seconds that parties' clocks may differ
READY_TIMEOUT = 30.0  # somebody lost is found by pulse
RESULTS_TIMEOUT = 60.0
LAST_WORDS = 5.0  # seconds to bring what we still have to say to the mediators
RAN = (Outcome.DONE, Outcome.MISMATCH)
FAREWELL = 2.0  # seconds in which the others may still fetch our result from the mesh


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
    sandbox: Sandbox
    traces: Traces
    decapsulator: Decapsulator
    report: Report
    patience: float  # seconds to wait for the other parties to come
    turn: TurnServer | None = None
    try_hard: bool = False  # to take part in birthday attempts
    _stage: Stage = field(init=False)
    stopped: bool = False  # by our user
    _result: bytes | None = None

    def __post_init__(self) -> None:
        self._stage = Stage(self.machine, self.me, self.helper, self.report)

    async def tell(self) -> Ending:
        """Live through the session; whatever happens, the machine is left as it was."""
        lifetime = max(LIFETIME, int(self.patience) + CLOCK_SKEW)
        stage = self._stage
        post = Post(
            self.machine, self.mailbox, self.me, stage.pump, stage.pumped, self._trouble, lifetime
        )
        try:
            async with post, owned(self._tick()):
                stage.pump()
                ended = await self._until_over(self._chapters(), post.failed)
                if ended.outcome in RAN:
                    self.machine.say_by_mail(await self._who_may_not_know())
                await post.flush(LAST_WORDS)
        finally:
            removed = await self._take_down()
        return Ending(ended, self._result, removed)

    def stop(self) -> None:
        """End the session because our user said so; others repeat the reason, so it names us."""
        self.stopped = True
        reason = f"{self._stage.name(self.me)} was stopped by its owner"
        self.machine.stop(reason, time.time(), party=self.me)
        self._stage.pump()

    def rotated(self, prior: PriorDid) -> None:
        """Somebody has another DID than before."""
        self.machine.handle_rotation(prior.old, prior.new, time.time())
        self._stage.pump()

    async def _chapters(self) -> None:
        stage = self._stage
        waiting = stage.names(self.machine.waiting_for())
        stage.step("propose", f"proposed to {waiting}; waiting")
        meshing = Meshing(
            stage, self.mailbox, self.traces, self.decapsulator, self.turn, self.try_hard
        )
        agreed = await meshing.agree(self.patience)
        descriptor = agreed.descriptor
        stage.step("agreed", f"everybody signed session {descriptor.id[:16]}")
        await meshing.raise_mesh(agreed)
        await probe(stage, descriptor)
        telling = asyncio.create_task(self._tell_phrase(descriptor.id))
        stage.own(telling)
        self.machine.mesh_ready(time.time())
        stage.pump()
        await stage.expect(Released, READY_TIMEOUT)
        await telling
        workdir = self.traces.workdir
        self._result = await compute(
            stage, descriptor, self.program, self.inputs, self.sandbox, workdir
        )
        self.machine.program_ended(hashlib.sha256(self._result).hexdigest(), time.time())
        stage.pump()
        await stage.expect(Ended, RESULTS_TIMEOUT)

    async def _tell_phrase(self, session: str) -> None:
        """What people may compare, to be sure that nobody stands between them.

        It costs a processor some 50 ms, in which the others become ready; before, parties on the
        same machine may still look for paths.
        """
        words = await asyncio.to_thread(phrase, session)
        self.report.event("phrase", words=words, session=session)

    async def _until_over(self, chapters: Awaitable[None], failed: asyncio.Future[None]) -> Ended:
        """The chapters, until they are through or the session is over for any other reason.

        What a person can act on ends the session with its words; a fault of ours is raised, after
        everybody was told.
        """
        telling = asyncio.ensure_future(chapters)
        over = self._stage.over
        faults: list[asyncio.Future[Any]] = [failed, self._stage.fault, telling]
        await asyncio.wait({*faults, over}, return_when=asyncio.FIRST_COMPLETED)
        fault = next((end.exception() for end in faults if end.done()), None)
        if fault is not None and not over.done():
            words = str(fault) if isinstance(fault, AgentError) else "an internal fault"
            reason = f"{self._stage.name(self.me)} stopped: {words}"
            self.machine.stop(reason, time.time(), party=self.me)
            self._stage.pump()
            if not isinstance(fault, AgentError):
                raise fault
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        return over.result()

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
            if self._stage.heart is not None:
                self.machine.say_by_mail(self._stage.heart.missed())
            self._stage.pump()

    async def _who_may_not_know(self) -> Sequence[str]:
        """Who has not heard of the good end in the mesh, and is told by mail."""
        heart = self._stage.heart
        return self.machine.draft.parties if heart is None else await heart.farewell(FAREWELL)

    async def _take_down(self) -> Removed:
        await self._stage.clear()
        try:
            return await self.helper.remove()
        finally:
            self.traces.remove()

    def _trouble(self, text: str) -> None:
        self._stage.step("mail", text)
