"""Relays that one party is reached through by WebSockets, for as long as UDP does not pass.

A side is bound in one place, so a stream takes a relay over from its binding by UDP; a probe asks
on by UDP, and when it is answered the binding takes the relay back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.connection.websocket_relay import WebSocketRelay
from resolvers.guarded import Policy
from traversal.candidate import Address
from traversal.relay import RelayBinding, RelayProbe, RelayTicket

LOOK = 0.05  # seconds between two looks whether a stream is bound
TAKE_BACK = 5.0  # seconds in which a relay has to be bound by UDP that has answered a probe


@dataclass
class _Stream:
    task: asyncio.Task[None]
    probe: RelayProbe
    binding: RelayBinding | None = None  # by UDP again, not bound yet
    since: float = 0.0  # when that began


@dataclass
class Streams:
    """`offer` is told of each local address that leads into a stream which is bound."""

    deliver_to: int  # the session's port
    offer: Callable[[Address], None]
    policy: Policy  # where the other party may send us
    _open: dict[str, _Stream] = field(default_factory=dict)

    def __contains__(self, ticket: RelayTicket) -> bool:
        return ticket.id in self._open

    def open(self, binding: RelayBinding, group: asyncio.TaskGroup) -> None:
        """In place of this binding; the stream's task belongs to the group."""
        ticket = binding.ticket
        task = group.create_task(self._run(ticket))
        probe = RelayProbe(ticket, binding.server, time.monotonic())
        self._open[ticket.id] = _Stream(task, probe)

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].task.cancel()

    @property
    def probes(self) -> list[RelayProbe]:
        return [stream.probe for stream in self._open.values()]

    def next_timer(self) -> float | None:
        """When `finish` has something to say, whatever is heard."""
        begun = [stream.since for stream in self._open.values() if stream.binding is not None]
        return min(begun) + TAKE_BACK if begun else None

    def taken_back(self, now: float) -> list[RelayBinding]:
        """New bindings by UDP, of relays that have answered a probe."""
        begun = []
        for stream in self._open.values():
            if stream.probe.passes and stream.binding is None:
                stream.binding = RelayBinding(stream.probe.ticket, stream.probe.server, now)
                stream.since = now
                begun.append(stream.binding)
        return begun

    def finish(self, now: float) -> list[RelayBinding]:
        """End streams whose relay is bound by UDP; bindings to drop that have come to nothing."""
        failed = []
        for name, stream in list(self._open.items()):
            if stream.binding is not None and stream.binding.bound:
                stream.task.cancel()
                del self._open[name]
            elif stream.binding is not None and now >= stream.since + TAKE_BACK:
                failed.append(stream.binding)
                stream.probe = RelayProbe(stream.probe.ticket, stream.probe.server, now)
                stream.binding = None
        return failed

    async def _run(self, ticket: RelayTicket) -> None:
        offered = False, False
        policy = None if ticket.side == 0 else self.policy
        async with WebSocketRelay(ticket, self.deliver_to, policy=policy) as relay:
            while True:
                state = relay.bound, relay.binding.other_bound
                if relay.bound and state != offered:
                    self.offer(relay.local)
                offered = state
                await asyncio.sleep(LOOK)
