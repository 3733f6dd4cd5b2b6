"""The relay of a mediator: opens ports, has binds judged, and gives every open pair its flows.

Python is always ready to forward; where the kernel does it (`kernel`), nothing comes here but
binds, pairs of two kinds of address, and parties on WebSockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mediator.relay.flow import Flow
from mediator.relay.port import Port
from traversal.candidate import Address
from traversal.relay import RelayPair
from traversal.relay_server import Channel, PairOpened, RelayServer, Rules, Source
from traversal.segments import Run

log = logging.getLogger(__name__)

LOOK = 5.0  # seconds between looks for who has gone
RESTART_TIME = 180.0  # seconds in which all ports are open for pairs of before a restart


@dataclass(frozen=True)
class KernelFlow:
    """From one bound address to the other, in the kernel's words."""

    source: Address
    destination: Address
    own: str  # our address, which the destination knows


@dataclass(frozen=True)
class Count:
    packets: int = 0
    bytes: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.packets + other.packets, self.bytes + other.bytes)


class Kernel(Protocol):
    """What forwards without us, soon; of what is asked about one port, the last counts.

    `open` says whether it will forward this pair.
    """

    works: bool

    def open(self, port: int, flows: tuple[KernelFlow, KernelFlow]) -> bool: ...

    def close(self, port: int) -> None: ...

    async def counts(self) -> Mapping[int, Count]: ...


class Relay:
    def __init__(
        self,
        key: bytes,
        rules: Rules,
        listen: Sequence[str],
        kernel: Kernel | None,
        clock: Callable[[], float],
    ) -> None:
        self._rules = rules
        self._server = RelayServer(key, rules, clock())
        self._listen = listen
        self.kernel = kernel
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._ports: dict[int, Port] = {}
        self._flows: dict[int, tuple[Flow, Flow]] = {}
        self._channels: dict[Channel, Callable[[Sequence[Run]], None]] = {}
        self._channel_flows: dict[Channel, Flow] = {}
        self._in_kernel: dict[int, Count] = {}
        self._kernel_ports: set[int] = set()  # of open pairs that the kernel was told of
        self._closed = Count()  # what pairs that are gone had

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serves until the block is left."""
        for number in self._rules.ports:
            self._open_port(number)
        looking = asyncio.create_task(self._keep_looking())
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            for port in self._ports.values():
                port.close()

    def reserve(self, account: str, session: str, count: int) -> list[RelayPair]:
        """For so many pairs, or fewer; a port that is another program's is left out."""
        pairs = self._server.reserve(account, session, count, self._clock())
        self._apply()
        return [pair for pair in pairs if self._open_port(pair.port)]

    def handle_bind(self, data: bytes, source: Source, port: int | None) -> bytes | None:
        answer = self._server.handle_bind(data, source, port, self._clock())
        self._apply()
        return answer

    # WebSockets

    def enter(self, channel: Channel, send: Callable[[Sequence[Run]], None]) -> None:
        self._channels[channel] = send

    def leave(self, channel: Channel) -> None:
        self._server.leave(channel)
        self._apply()
        del self._channels[channel]

    def is_bound(self, channel: Channel) -> bool:
        pairs = self._server.pairs.values()
        return any(side.source == channel for pair in pairs for side in pair.sides)

    def flow_of(self, channel: Channel) -> Flow | None:
        """Where what comes from there goes."""
        return self._channel_flows.get(channel)

    # What there is to know

    @property
    def in_kernel(self) -> bool:
        return self.kernel is not None and self.kernel.works

    @property
    def refused(self) -> Counter[str]:
        return self._server.refused

    def counts(self) -> dict[int, Count]:
        """What each open pair has had passed on so far, both ways together."""
        return {port: self._count(port) for port in self._flows}

    @property
    def by_python(self) -> int:
        """Open pairs that the kernel does not forward: it may not, or they are not for it."""
        return len(self._flows) - (len(self._kernel_ports) if self.in_kernel else 0)

    def total(self) -> Count:
        return sum(self.counts().values(), self._closed)

    def describe(self) -> dict[str, Any]:
        total = self.total()
        return {
            "forwarding": "kernel" if self.in_kernel else "python",
            "reserved": len(self._server.pairs) - len(self._flows),
            "open": len(self._flows),
            "by_python": self.by_python,
            "packets": total.packets,
            "bytes": total.bytes,
            "refused": sum(self.refused.values()),
        }

    # What events ask for

    def _apply(self) -> None:
        while (event := self._server.next_event()) is not None:
            self._close(event.port)
            if isinstance(event, PairOpened):
                self._open(event.port, event.sides)

    def _open(self, port: int, sides: tuple[Source, Source]) -> None:
        first, second = sides
        flows = self._flow_to(port, second), self._flow_to(port, first)
        self._flows[port] = flows
        routes: dict[Address, Flow] = {}
        for source, flow in zip(sides, flows, strict=True):
            if isinstance(source, Channel):
                self._channel_flows[source] = flow
            else:
                routes[source] = flow
        if port in self._ports:
            self._ports[port].route(routes)
        in_kernel = None if self.kernel is None else self._kernel_flows(port, sides)
        if self.kernel is not None and in_kernel is not None and self.kernel.open(port, in_kernel):
            self._kernel_ports.add(port)

    def _close(self, port: int) -> None:
        flows = self._flows.pop(port, None)
        if flows is None:
            return
        self._closed += sum((Count(f.packets, f.bytes) for f in flows), Count())
        self._closed += self._in_kernel.pop(port, Count())
        for channel, flow in list(self._channel_flows.items()):
            if flow in flows:
                del self._channel_flows[channel]
        if port in self._ports:
            self._ports[port].route({})
        if self.kernel is not None and port in self._kernel_ports:
            self._kernel_ports.remove(port)
            self.kernel.close(port)

    def _flow_to(self, port: int, side: Source) -> Flow:
        send = self._channels[side] if isinstance(side, Channel) else self._ports[port].sender(side)
        return Flow(send, self._rules.rate, self._loop.time)

    def _kernel_flows(
        self, port: int, sides: tuple[Source, Source]
    ) -> tuple[KernelFlow, KernelFlow] | None:
        """None for what only Python can do: WebSockets, and from IPv4 to IPv6."""
        first, second = sides
        if isinstance(first, Channel) or isinstance(second, Channel):
            return None
        owns = [self._ports[port].own_address(side) for side in (first, second)]
        if first.version != second.version or owns[0] is None or owns[1] is None:
            return None
        return KernelFlow(first, second, owns[1]), KernelFlow(second, first, owns[0])

    # Ports

    def _open_port(self, number: int) -> bool:
        if number not in self._ports:
            try:
                self._ports[number] = Port(
                    number, self._listen, self.handle_bind, self._addresses_at
                )
            except OSError as error:
                log.debug("port %d is not ours: %s", number, error)
        return number in self._ports

    def _addresses_at(self, port: int) -> Collection[Address]:
        pair = self._server.pairs.get(port)
        sources = () if pair is None else [side.source for side in pair.sides]
        return [source for source in sources if isinstance(source, Address)]

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            await self.look()
            if self._loop.time() - self._started > RESTART_TIME:
                for number in self._ports.keys() - self._server.pairs.keys():
                    self._ports.pop(number).close()

    async def look(self) -> None:
        """Close pairs that nobody holds any more, and count what passed in the kernel."""
        self._server.handle_timer(self._clock())
        self._apply()
        if self.kernel is not None:
            counts = await self.kernel.counts()
            self._in_kernel = {port: counts.get(port, Count()) for port in self._flows}

    def _count(self, port: int) -> Count:
        first, second = self._flows[port]
        in_python = Count(first.packets + second.packets, first.bytes + second.bytes)
        return in_python + self._in_kernel.get(port, Count())
