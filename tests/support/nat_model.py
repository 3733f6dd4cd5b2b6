"""A small internet in memory: hosts, NATs by RFC 4787 behaviour, delay, loss and reordering.

internet = Internet(Random(1))
nat = internet.nat(Mapping.INDEPENDENT, Filtering.ADDRESS_AND_PORT)
host = nat.host()
host.send(b"…", Address("198.51.100.1", 3478))
internet.run(until=1.0)
"""

import heapq
import itertools
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


class Network:
    """Addresses that reach each other, and the NAT that leads out of them, if any."""

    def __init__(self, internet: "Internet", prefix: str, gateway: "NatBox | None") -> None:
        self.internet = internet
        self.gateway = gateway
        self._prefix = prefix
        self._nodes: dict[str, Host | NatBox] = {}

    def host(self, port: int = 40000) -> "Host":
        return self._add(Host(self, self._next_address(), port))

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
    ) -> "Network":
        """A network behind a new NAT; prefixes may repeat, as in real homes."""
        box = self._add(NatBox(self, self._next_address(), mapping, filtering, hairpin))
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
        return f"{self._prefix}.{len(self._nodes) + 10}"


class Host:
    def __init__(self, network: Network, ip: str, port: int) -> None:
        self.network = network
        self.address = Address(ip, port)
        self.on_datagram: Receiver = lambda data, source, now: None

    def send(self, data: bytes, destination: Address) -> None:
        self.network.carry(data, self.address, destination)

    def inward(self, data: bytes, source: Address, destination: Address) -> None:
        if destination == self.address:
            self.on_datagram(data, source, self.network.internet.now)

    def seen_from(self, server: "Host | Relay") -> Address:
        """What a STUN server answers, at once and without loss."""
        outside, address = self.network, self.address
        while (gateway := outside.gateway) is not None:
            address = gateway.map(address, server.address)
            outside = gateway.outside
        return address


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
    def __init__(
        self, outside: Network, ip: str, mapping: Mapping, filtering: Filtering, hairpin: bool
    ) -> None:
        self.outside = outside
        self.inside: Network | None = None
        self.address = Address(ip, 0)
        self._mapping, self._filtering, self._hairpin = mapping, filtering, hairpin
        self._ports: dict[Key, int] = {}
        self._owners: dict[int, Address] = {}
        self._opened: dict[int, set[Key]] = {}

    def outward(self, data: bytes, source: Address, destination: Address) -> None:
        mapped = self.map(source, destination)
        if destination.host == self.address.host:
            if self._hairpin:
                self.inward(data, mapped, destination)
            return
        self.outside.carry(data, mapped, destination)

    def inward(self, data: bytes, source: Address, destination: Address) -> None:
        port = destination.port
        if port in self._owners and self._filter_key(source) in self._opened[port]:
            self.inside.hand_over(data, source, self._owners[port])

    def map(self, source: Address, destination: Address) -> Address:
        key = (source, *part(self._mapping.name, destination))
        if key not in self._ports:
            self._ports[key] = port = self._free_port(source.port)
            self._owners[port], self._opened[port] = source, set()
        port = self._ports[key]
        self._opened[port].add(self._filter_key(destination))
        return Address(self.address.host, port)

    def _filter_key(self, other: Address) -> Key:
        return part(self._filtering.name, other)

    def _free_port(self, wanted: int) -> int:
        """The same port if it is free and mappings do not vary, as most NATs do."""
        if self._mapping is Mapping.INDEPENDENT and wanted not in self._owners:
            return wanted
        random = self.outside.internet.random
        return next(
            port
            for port in iter(lambda: random.randint(1024, 65535), 0)
            if port not in self._owners
        )


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
