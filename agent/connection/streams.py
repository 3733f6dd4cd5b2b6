"""Relays that one party is reached through by WebSockets, for as long as UDP does not pass.

A side is bound in one place, so a stream takes a relay over from its binding by UDP; a probe asks
on by UDP, and when it is answered the binding takes the relay back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from agent.connection.websocket_relay import WebSocketRelay
from resolvers.guarded import Policy
from traversal.candidate import Address
from traversal.relay import RelayBinding, RelayProbe, RelayTicket

LOOK = 0.05  # seconds between two looks whether a stream is bound
FAILED_AFTER = 5.0  # seconds without a binding after which a ticket seems of no use any more
TAKE_BACK = 5.0  # seconds in which a relay has to be bound by UDP that has answered a probe


@dataclass
class _Stream:
    task: asyncio.Task[None]
    probe: RelayProbe
    served_at: float  # when it was last bound, or began
    refused: bool = False
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
        now = time.monotonic()
        task = group.create_task(self._run(ticket))
        probe = RelayProbe(ticket, binding.server, now)
        self._open[ticket.id] = _Stream(task, probe, now)

    def close(self) -> None:
        self.leave([stream.probe.ticket for stream in self._open.values()])

    def leave(self, tickets: Collection[RelayTicket]) -> None:
        """End those that there are with these tickets."""
        for ticket in tickets:
            if ticket in self:
                self._open.pop(ticket.id).task.cancel()

    def serve(self, ticket: RelayTicket, now: float) -> bool:
        """Whether there is a stream with this ticket that is bound, or may become so."""
        stream = self._open.get(ticket.id)
        if stream is None or stream.refused:
            return False
        return now < stream.served_at + FAILED_AFTER

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
                if stream := self._open.get(ticket.id):
                    stream.refused = relay.binding.refusal is not None
                    if relay.bound:
                        stream.served_at = time.monotonic()
                await asyncio.sleep(LOOK)
