"""What every chapter of a session stands on: its machine, what to wait for, words for a person."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from agent.network_helper.client import NetworkHelper
from agent.report import Report
from agent.session.descriptor import short
from agent.session.events import Ended, Event, Outcome, Proposed, State, Withdrew
from agent.session.heart import Heart
from agent.session.machine import SessionMachine

_E = TypeVar("_E", bound=Event)
_T = TypeVar("_T")


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
    over: asyncio.Future[Ended] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    fault: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    _events: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)
    _company: list[asyncio.Task[Any]] = field(default_factory=list)

    def accompany(self, work: Coroutine[Any, Any, Any]) -> None:
        """Work that goes on until the session ends; `fault` becomes its exception if it fails."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._note_end)
        self._company.append(task)

    async def clear(self) -> None:
        """End everything that accompanies the session."""
        if self.heart is not None:
            self.heart.close()
        for task in self._company:
            task.cancel()
        await asyncio.gather(*self._company, return_exceptions=True)

    def pump(self) -> None:
        """Move the machine's events to where they are waited for; `Post` takes its messages."""
        while (event := self.machine.next_event()) is not None:
            if isinstance(event, Ended) and not self.over.done():
                self.over.set_result(event)
            self._events.put_nowait(event)
        if self.heart is not None:
            self.heart.news(self.machine)

    async def expect(self, kind: type[_E], timeout: float) -> _E:
        """The next event of this kind; progress of others is told meanwhile.

        Raises: Stopped, after `timeout` seconds.
        """
        return await self.within(timeout, self._next(kind), self.machine.waiting_for)

    async def within(
        self, timeout: float, waiting: Awaitable[_T], missing: Callable[[], Sequence[str]]
    ) -> _T:
        """What is waited for; before everybody has signed it may be late, later it is lost.

        Raises: Stopped.
        """
        early = self.machine.state in (State.PROPOSING, State.SIGNING)
        try:
            async with asyncio.timeout(timeout):
                return await waiting
        except TimeoutError:
            late = missing()
            names = self.names(late) or "the others"
            party = late[0] if len(late) == 1 else None
            reason, outcome = f"lost {names}: no word for {timeout:.0f} s", Outcome.FAILED
            if early:
                reason, outcome = f"waited {timeout:.0f} s for {names}", Outcome.TIMEOUT
            self.machine.stop(reason, time.time(), party=party, outcome=outcome)
            self.pump()
            raise Stopped from None

    def fail(self, reason: str, party: str) -> NoReturn:
        """End the session for everybody.

        Raises: Stopped.
        """
        self.machine.stop(reason, time.time(), party=party)
        self.pump()
        raise Stopped

    def on_said(self, did: str, text: str) -> None:
        """A statement came through the mesh."""
        self.machine.handle_pulse(did, text, time.time())
        self.pump()

    def on_lost(self, did: str) -> None:
        """A party is silent in the mesh; once we have its result, that is its right."""
        if not self.machine.has_result_of(did):
            self.machine.stop(f"lost {self.name(did)}: no sign of life", time.time(), party=did)
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

    async def _next(self, kind: type[_E]) -> _E:
        while True:
            match await self._events.get():
                case event if isinstance(event, kind):
                    return event
                case Proposed(party, waiting):
                    still = f"; waiting for {self.names(waiting)}" if waiting else ""
                    self.step("proposed", f"{self.name(party)} wants the same session{still}")
                case Withdrew(party, reason):
                    self.step("withdrew", f"{self.name(party)} left: {reason}")
