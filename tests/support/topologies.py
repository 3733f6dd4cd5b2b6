"""Random places of two parties on the internet in memory, and what the textbook says of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hypothesis import strategies as st

from tests.support.nat_model import (
    DualHost,
    Filtering,
    Host,
    Internet,
    Mapping,
    Network,
    Ports,
)

Shared = Literal["nothing", "carrier", "home"]


@dataclass(frozen=True)
class Nat:
    mapping: Mapping
    filtering: Filtering
    ports: Ports | None = None
    hairpin: bool = False
    lifetime: float = 120.0

    def build(self, outside: Network, prefix: str, *, blocked: bool = False) -> Network:
        return outside.nat(
            self.mapping,
            self.filtering,
            ports=self.ports,
            hairpin=self.hairpin,
            lifetime=self.lifetime,
            prefix=prefix,
            blocked=blocked,
        )


@dataclass(frozen=True)
class Place:
    """`nats` from the internet inwards; `six` is its firewall, if it has IPv6 at all."""

    nats: tuple[Nat, ...]
    six: Filtering | None = None
    blocked: bool = False

    @property
    def has_no_udp(self) -> bool:
        return self.blocked and bool(self.nats)

    @property
    def mapping(self) -> Mapping:
        return max((n.mapping for n in self.nats), key=strictness, default=Mapping.INDEPENDENT)

    @property
    def filtering(self) -> Filtering:
        filters = (n.filtering for n in self.nats)
        return max(filters, key=strictness, default=Filtering.INDEPENDENT)


@dataclass(frozen=True)
class Topology:
    places: tuple[Place, Place]
    shared: Shared
    relays: int

    def build(self, internet: Internet) -> tuple[Host | DualHost, Host | DualHost]:
        if self.shared == "nothing":
            inside = [_inside(internet, place) for place in self.places]
        else:
            first = self.places[0]
            outer = first.nats[0].build(internet, "100.64.0", blocked=first.blocked)
            inside = [outer, outer]
            if self.shared == "carrier":
                inside = [p.nats[-1].build(outer, "192.168.1") for p in self.places]
        hosts = [network.host(40000 + i) for i, network in enumerate(inside)]
        first, second = (_with_six(internet, h, p) for h, p in zip(hosts, self.places, strict=True))
        return first, second

    @property
    def direct_exists(self) -> bool | None:
        """None where the textbook leaves it open."""
        if self.shared == "home" or all(place.six for place in self.places):
            return True
        if self.shared == "carrier":
            return None
        if any(place.has_no_udp for place in self.places):
            return False
        first, second = self.places
        fixed = [place.mapping is Mapping.INDEPENDENT for place in self.places]
        if not (first.nats and second.nats) or all(fixed):
            return True
        open_enough = [p.filtering is not Filtering.ADDRESS_AND_PORT for p in self.places]
        if any(a and b for a, b in zip(fixed, open_enough, strict=True)):
            return True
        return None if Mapping.ADDRESS in (first.mapping, second.mapping) else False

    @property
    def relay_exists(self) -> bool:
        return self.relays > 0 and not any(place.has_no_udp for place in self.places)


def strictness(behaviour: Mapping | Filtering) -> int:
    return list(type(behaviour)).index(behaviour)


NATS = st.builds(
    Nat,
    st.sampled_from(Mapping),
    st.sampled_from(Filtering),
    st.sampled_from([None, Ports.RANDOM, Ports.SEQUENTIAL]),
    st.booleans(),
    st.sampled_from([30.0, 120.0, float("inf")]),
)
SIX = st.one_of(st.none(), st.none(), st.sampled_from(Filtering))


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    shared = draw(st.sampled_from(["nothing", "nothing", "nothing", "carrier", "home"]))
    least = {"nothing": 0, "carrier": 2, "home": 1}[shared]
    blocked = st.sampled_from([False, False, False, True])
    places = [
        Place(
            tuple(draw(st.lists(NATS, min_size=least, max_size=max(least, 2)))),
            draw(SIX),
            draw(blocked),
        )
        for _ in range(2)
    ]
    return Topology((places[0], places[1]), shared, draw(st.integers(0, 2)))


def _inside(internet: Internet, place: Place) -> Network:
    network: Network = internet
    for depth, nat in enumerate(place.nats):
        prefix = "192.168.1" if depth == len(place.nats) - 1 else "100.64.0"
        network = nat.build(network, prefix, blocked=place.blocked and depth == 0)
    return network


def _with_six(internet: Internet, host: Host, place: Place) -> Host | DualHost:
    if place.six is None:
        return host
    return DualHost(host, internet.six.host(host.address.port, place.six))
