"""What every chapter of a session stands on: its machine, what to wait for, words for a person."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from agent.network_helper.client import NetworkHelper
from agent.report import Report
from agent.session.descriptor import short
from agent.session.events import Ended, Event, Moved, Outcome, Proposed, Withdrew
from agent.session.heart import Heart
from agent.session.machine import EARLY, SessionMachine

_E = TypeVar("_E", bound=Event)
_T = TypeVar("_T")


PATIENCE = 8.0  # seconds for the next step of others who are awake
EACH_PATIENCE = 1.25  # for each party, where that is more: many are slow, above all on one machine
MAX_MOVES = 256  # changes of others' networks that wait; more are dropped


class Stopped(Exception):
    """The chapters end here; the machine already knows why."""


@dataclass
class Stage:
    """Carries the machine's events to whoever waits; `over` is how the session ended."""

    machine: SessionMachine
    me: str
    helper: NetworkHelper
    report: Report
    heart: Heart | None = None
    pumped: asyncio.Event = field(default_factory=asyncio.Event)
    moves: asyncio.Queue[Moved] = field(default_factory=lambda: asyncio.Queue(MAX_MOVES))
    over: asyncio.Future[Ended] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    fault: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    _events: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)
    _company: list[asyncio.Task[Any]] = field(default_factory=list)
    _closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def patience(self) -> float:
        """Seconds in which everybody's next step is to be expected; then somebody is lost."""
        return max(PATIENCE, EACH_PATIENCE * len(self.machine.draft.parties))

    def accompany(self, work: Coroutine[Any, Any, Any]) -> None:
        """Work that goes on until the session ends; `fault` becomes its exception if it fails."""
        self.own(asyncio.create_task(work))

    def own(self, task: asyncio.Task[Any]) -> None:
        """The same for work that has begun, and may end well before."""
        task.add_done_callback(self._note_end)
        self._company.append(task)

    def at_end(self, close: Callable[[], None]) -> None:
        """Called when the session ends, the newest first."""
        self._closing.callback(close)

    async def clear(self) -> None:
        """End everything that accompanies the session."""
        if self.heart is not None:
            self.heart.close()
        for task in self._company:
            task.cancel()
        await asyncio.gather(*self._company, return_exceptions=True)
        self._closing.close()

    def pump(self) -> None:
        """Move the machine's events to where they are waited for; `Post` takes its messages."""
        while (event := self.machine.next_event()) is not None:
            if isinstance(event, Ended) and not self.over.done():
                self.over.set_result(event)
            if not isinstance(event, Moved):
                self._events.put_nowait(event)
            elif not self.moves.full():
                self.moves.put_nowait(event)
        if self.heart is not None:
            self.heart.news(self.machine)
        self.pumped.set()

    async def expect(self, kind: type[_E], timeout: float) -> _E:
        """The next event of this kind; progress of others is told meanwhile.

        Raises: Stopped, after `timeout` seconds.
        """
        return await self.within(timeout, self.next(kind), self.machine.waiting_for)

    async def within(
        self, timeout: float, waiting: Awaitable[_T], missing: Callable[[], Sequence[str]]
    ) -> _T:
        """What is waited for; before everybody has proposed it may be late, later it is lost.

        Raises: Stopped.
        """
        try:
            async with asyncio.timeout(timeout):
                return await waiting
        except TimeoutError:
            late = missing()
            if self.machine.state not in EARLY:
                self.lose(late, timeout)
            reason = f"waited {timeout:.0f} s for {self.names(late) or 'the others'}"
            party = late[0] if len(late) == 1 else None
            self.machine.stop(reason, time.time(), party=party, outcome=Outcome.TIMEOUT)
            self.pump()
            raise Stopped from None

    def lose(self, parties: Sequence[str], seconds: float) -> NoReturn:
        """End the session since these parties said nothing for so long.

        Raises: Stopped.
        """
        reason = f"lost {self.names(parties) or 'the others'}: no word for {seconds:.0f} s"
        party = parties[0] if len(parties) == 1 else None
        self.machine.stop(reason, time.time(), party=party, lost=True)
        self.pump()
        raise Stopped

    def fail(self, reason: str, party: str, *, lost: bool = False) -> NoReturn:
        """End the session for everybody; `lost` if this party may come back.

        Raises: Stopped.
        """
        self.machine.stop(reason, time.time(), party=party, lost=lost)
        self.pump()
        raise Stopped

    def on_said(self, did: str, text: str) -> None:
        """A statement came through the mesh."""
        self.machine.handle_pulse(did, text, time.time())
        self.pump()

    def on_lost(self, did: str) -> None:
        """A party is silent in the mesh; once we have its result, that is its right."""
        if not self.machine.has_result_of(did):
            reason = f"lost {self.name(did)}: no sign of life"
            self.machine.stop(reason, time.time(), party=did, lost=True)
            self.pump()

    def step(self, name: str, text: str) -> None:
        self.report.event("step", name=name, text=text)

    def name(self, did: str) -> str:
        return f"party{self.machine.draft.parties.index(did)}"

    def names(self, dids: Sequence[str]) -> str:
        return ", ".join(f"{self.name(did)} ({short(did)})" for did in dids)

    def _note_end(self, task: asyncio.Task[Any]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not self.fault.done():
            self.fault.set_exception(error)

    async def next(self, *kinds: type[_E]) -> _E:
        """The next event of one of these kinds; progress of others is told meanwhile."""
        while True:
            match await self._events.get():
                case event if isinstance(event, kinds):
                    return event
                case Proposed(party, waiting):
                    still = f"; waiting for {self.names(waiting)}" if waiting else ""
                    self.step("proposed", f"{self.name(party)} wants the same session{still}")
                case Withdrew(party, reason):
                    self.step("withdrew", f"{self.name(party)} left: {reason}")
