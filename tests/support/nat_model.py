"""A small internet in memory: hosts, NATs by RFC 4787 behaviour, relays, IPv6 behind firewalls;
delay, loss, reordering and duplicates.

internet = Internet(Random(1))
nat = internet.nat(Mapping.INDEPENDENT, Filtering.ADDRESS_AND_PORT)
host = nat.host()
host.send(b"…", Address("198.51.100.1", 3478))
internet.run(until=1.0)
"""

import heapq
import itertools
import math
from collections.abc import Callable
from enum import Enum
from random import Random

from traversal.candidate import Address

Receiver = Callable[[bytes, Address, float], None]
Key = tuple[Address | str | None, ...]


class Mapping(Enum):
    """When an outgoing datagram gets the same outside port as an earlier one (RFC 4787 4.1)."""

    INDEPENDENT = "endpoint-independent"
    ADDRESS = "address-dependent"
    ADDRESS_AND_PORT = "address-and-port-dependent"


class Filtering(Enum):
    """Who may answer through a mapping (RFC 4787 5)."""

    INDEPENDENT = "endpoint-independent"
    ADDRESS = "address-dependent"
    ADDRESS_AND_PORT = "address-and-port-dependent"


class Ports(Enum):
    """Which outside port a new mapping gets (RFC 4787 4.2)."""

    PRESERVED = "the inside port if free, else random"
    RANDOM = "random"
    SEQUENTIAL = "the last one plus a step"


class Network:
    """Addresses that reach each other, and the NAT that leads out of them, if any."""

    def __init__(self, internet: "Internet", prefix: str, gateway: "NatBox | None") -> None:
        self.internet = internet
        self.gateway = gateway
        self._prefix = prefix
        self._nodes: dict[str, Host | NatBox] = {}

    def host(self, port: int = 40000, firewall: Filtering | None = None) -> "Host":
        return self._add(Host(self, self._next_address(), port, firewall))

    @property
    def nodes(self) -> list["Host | NatBox | Relay"]:
        return list(self._nodes.values())

    def relay(self, port: int = 50000) -> "Relay":
        return self._add(Relay(self, self._next_address(), port))

    def nat(
        self,
        mapping: Mapping,
        filtering: Filtering,
        *,
        hairpin: bool = False,
        prefix: str = "192.168.1",
        ports: Ports | None = None,
        step: int = 1,
        lifetime: float = math.inf,
        blocked: bool = False,
    ) -> "Network":
        """A network behind a new NAT; prefixes may repeat, as in real homes.

        Unless told, ports are preserved where mappings do not vary, as most NATs do, else random.
        `lifetime` is in seconds without outgoing datagrams; `blocked` lets no UDP out.
        """
        preserved = Ports.PRESERVED if mapping is Mapping.INDEPENDENT else Ports.RANDOM
        box = NatBox(self, self._next_address(), mapping, filtering, ports or preserved)
        box.hairpin, box.step, box.lifetime, box.blocked = hairpin, step, lifetime, blocked
        self._add(box)
        box.inside = Network(self.internet, prefix, box)
        return box.inside

    def carry(self, data: bytes, source: Address, destination: Address) -> None:
        node = self._nodes.get(destination.host)
        if node is not None:
            self.internet.deliver(node, data, source, destination)
        elif self.gateway is not None:
            self.gateway.outward(data, source, destination)

    def hand_over(self, data: bytes, source: Address, destination: Address) -> None:
        """The last stretch: delay and loss have been suffered already."""
        if destination.host in self._nodes:
            self._nodes[destination.host].inward(data, source, destination)

    def _add(self, node):
        self._nodes[node.address.host] = node
        return node

    def _next_address(self) -> str:
        separator = "" if ":" in self._prefix else "."
        return f"{self._prefix}{separator}{len(self._nodes) + 10}"


class Host:
    """A machine with one port; its firewall, if any, lets in what answers it."""

    def __init__(
        self, network: Network, ip: str, port: int, firewall: Filtering | None = None
    ) -> None:
        self.network = network
        self.address = Address(ip, port)
        self.on_datagram: Receiver = lambda data, source, now: None
        self.more_ports: set[int] = set()
        self.on_port: Callable[[bytes, Address, float, int], None] = lambda *_: None
        self._firewall = firewall
        self._opened: set[Key] = set()

    @property
    def stacks(self) -> "list[Host]":
        return [self]

    def send(self, data: bytes, destination: Address) -> None:
        if self._firewall is not None:
            self._opened.add(part(self._firewall.name, destination))
        self.network.carry(data, self.address, destination)

    def send_from(self, port: int, data: bytes, destination: Address) -> None:
        assert port in self.more_ports
        self.network.carry(data, Address(self.address.host, port), destination)

    def inward(self, data: bytes, source: Address, destination: Address) -> None:
        if destination == self.address and self._lets_in(source):
            self.on_datagram(data, source, self.network.internet.now)
        elif destination.port in self.more_ports:
            self.on_port(data, source, self.network.internet.now, destination.port)

    def _lets_in(self, source: Address) -> bool:
        return self._firewall is None or part(self._firewall.name, source) in self._opened

    def seen_from(self, server: "Host | Relay") -> Address:
        """What a STUN server answers, at once and without loss."""
        outside, address = self.network, self.address
        while (gateway := outside.gateway) is not None:
            address = gateway.map(address, server.address)
            outside = gateway.outside
        return address


class DualHost:
    """A machine with IPv4 and IPv6."""

    def __init__(self, *stacks: Host) -> None:
        self.stacks = list(stacks)
        self.network, self.address = stacks[0].network, stacks[0].address

    @property
    def on_datagram(self) -> Receiver:
        return self.stacks[0].on_datagram

    @on_datagram.setter
    def on_datagram(self, receiver: Receiver) -> None:
        for stack in self.stacks:
            stack.on_datagram = receiver

    def send(self, data: bytes, destination: Address) -> None:
        for stack in self.stacks:
            if stack.address.version == destination.version:
                stack.send(data, destination)

    def seen_from(self, server: "Host | Relay") -> Address:
        return next(
            s for s in self.stacks if s.address.version == server.address.version
        ).seen_from(server)


class Relay:
    """One port of a mediator that passes datagrams between two addresses; the port is all they see.

    Binding happens at once and without loss; from then it forwards what comes from either.
    """

    def __init__(self, network: Network, ip: str, port: int) -> None:
        self.network = network
        self.address = Address(ip, port)
        self._sides: list[Address] = []
        self.forwarded = 0
        self.up = True

    def bind(self, *hosts: Host) -> None:
        self._sides = [host.seen_from(self) for host in hosts]

    def inward(self, data: bytes, source: Address, destination: Address) -> None:
        if destination == self.address and source in self._sides and self.up:
            self.forwarded += 1
            other = self._sides[1 - self._sides.index(source)]
            self.network.carry(data, self.address, other)


class NatBox:
    hairpin, step, lifetime, blocked = False, 1, math.inf, False

    def __init__(
        self, outside: Network, ip: str, mapping: Mapping, filtering: Filtering, ports: Ports
    ) -> None:
        self.outside = outside
        self.inside: Network | None = None
        self.address = Address(ip, 0)
        self._mapping, self._filtering, self._assignment = mapping, filtering, ports
        self._last_port = outside.internet.random.randint(1024, 65535)
        self._ports: dict[Key, int] = {}
        self._owners: dict[int, Address] = {}
        self._opened: dict[int, set[Key]] = {}
        self._used: dict[int, float] = {}

    def outward(self, data: bytes, source: Address, destination: Address) -> None:
        if self.blocked:
            return
        mapped = self.map(source, destination)
        if destination.host == self.address.host:
            if self.hairpin:
                self.inward(data, mapped, destination)
            return
        self.outside.carry(data, mapped, destination)

    def inward(self, data: bytes, source: Address, destination: Address) -> None:
        port = destination.port
        if self._is_alive(port) and self._filter_key(source) in self._opened[port]:
            self.inside.hand_over(data, source, self._owners[port])

    def map(self, source: Address, destination: Address) -> Address:
        key = (source, *part(self._mapping.name, destination))
        if key not in self._ports or not self._is_alive(self._ports[key]):
            self._ports[key] = port = self._new_port(source.port)
            self._owners[port], self._opened[port] = source, set()
        port = self._ports[key]
        self._used[port] = self.outside.internet.now
        self._opened[port].add(self._filter_key(destination))
        return Address(self.address.host, port)

    def forget(self) -> None:
        """As after a restart: whoever sends next is shown another port."""
        self._ports.clear()
        self._used.clear()

    def _is_alive(self, port: int) -> bool:
        return self.outside.internet.now <= self._used.get(port, -math.inf) + self.lifetime

    def _filter_key(self, other: Address) -> Key:
        return part(self._filtering.name, other)

    def _new_port(self, wanted: int) -> int:
        if self._assignment is Ports.PRESERVED and wanted not in self._owners:
            return wanted
        while True:
            if self._assignment is Ports.SEQUENTIAL:
                port = 1024 + (self._last_port + self.step - 1024) % (65536 - 1024)
            else:
                port = self.outside.internet.random.randint(1024, 65535)
            self._last_port = port
            if port not in self._owners:
                return port


def part(behaviour: str, address: Address) -> Key:
    """What of an address a NAT with this behaviour looks at."""
    return {"INDEPENDENT": (), "ADDRESS": (address.host,), "ADDRESS_AND_PORT": (address,)}[
        behaviour
    ]


class Internet(Network):
    """The public network, the clock, and the datagrams on their way."""

    def __init__(
        self,
        random: Random,
        *,
        delay: float = 0.01,
        jitter: float = 0.0,
        loss: float = 0.0,
        duplicates: float = 0.0,
    ) -> None:
        super().__init__(self, "198.51.100", None)
        self.random = random
        self.now = 0.0
        self.carried = 0
        self._delay, self._jitter, self.loss = delay, jitter, loss
        self.duplicates = duplicates
        self._queue: list = []
        self._order = itertools.count()
        self.six = Network(self, "2001:db8::", None)

    def deliver(self, node, data: bytes, source: Address, destination: Address) -> None:
        """Jitter reorders; a share of the datagrams arrives twice."""
        self.carried += 1
        copies = 1 + (self.random.random() < self.duplicates)
        for _ in range(copies):
            if self.random.random() >= self.loss:
                wait = self._delay + self.random.random() * self._jitter
                self.at(self.now + wait, lambda: node.inward(data, source, destination))

    def at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (when, next(self._order), action))

    def step(self, until: float) -> bool:
        """Let the next thing happen; False if nothing is left before that time."""
        if not self._queue or self._queue[0][0] >= until:
            return False
        self.now, _, action = heapq.heappop(self._queue)
        action()
        return True
