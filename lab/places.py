"""Where a party can be: every kind of NAT, in public, behind two NATs, on IPv6 alone.

And which two of them can meet without a relay, by RFC 4787 alone. "asymmetric" is an ordinary
home whose way up is slower and longer than its way down.
"""

from dataclasses import dataclass

from lab.host import Host
from lab.link import SMOOTH, Link, Way
from lab.nat import AD, APD, EIM, Nat, NatKind, Passes, Ports
from lab.topology import Lab

WORST_FIRST = ("degraded", "relay", "direct")  # what a path can be
NOTHING = Nat(EIM, EIM)  # a public host's way out, in the same words


@dataclass(frozen=True)
class Place:
    """`carrier` translates what `home` has translated; neither does for a public host.

    With `ipv6` a firewall before it admits what was asked for; a public host has no firewall.
    """

    name: str
    home: Nat | None = None
    carrier: Nat | None = None
    link: Link = SMOOTH
    ipv4: bool = True
    ipv6: bool = False
    port_mapping: bool = False

    @property
    def nat(self) -> Nat:
        """What the world sees of its IPv4."""
        if self.home is None:
            return NOTHING
        return self.home if self.carrier is None else self.home.behind(self.carrier)

    @property
    def passes_udp(self) -> bool:
        return self.ipv6 or self.nat.passes is Passes.ALL

    def build(self, lab: Lab, name: str) -> Host:
        if not self.ipv4:
            return lab.home6(name, link=self.link)
        if self.home is None:
            return lab.public(name, lab.free_address(), link=self.link)
        behind = None
        if self.carrier is not None:
            behind = lab.carrier(f"{name}-isp", nat=self.carrier).name
        return lab.home(
            name,
            nat=self.home,
            behind=behind,
            link=self.link,
            ipv6=self.ipv6,
            port_mapping=self.port_mapping,
        ).host


PORT_RESTRICTED = NatKind.PORT_RESTRICTED.nat
SYMMETRIC = NatKind.SYMMETRIC.nat
SLOW_UP = Link(Way(delay=40, rate=2), Way(delay=10, rate=20))

PLACES = {
    place.name: place
    for place in (
        Place("public", ipv6=True),
        *(Place(kind, kind.nat) for kind in NatKind if kind.nat.passes is Passes.ALL),
        Place("asymmetric", PORT_RESTRICTED, link=SLOW_UP),
        Place("cgnat", PORT_RESTRICTED, PORT_RESTRICTED),
        Place("cgnat-symmetric", PORT_RESTRICTED, SYMMETRIC),
        Place("port-mapping", PORT_RESTRICTED, port_mapping=True),
        Place("symmetric-mapping", SYMMETRIC, port_mapping=True),
        Place("dual-stack", PORT_RESTRICTED, ipv6=True),
        Place("dual-stack-symmetric", SYMMETRIC, ipv6=True),
        Place("ipv6-only", ipv4=False, ipv6=True),
        *(Place(kind, kind.nat) for kind in NatKind if kind.nat.passes is not Passes.ALL),
    )
}


@dataclass(frozen=True)
class Neighbours:
    """Two parties who have something between them that does not lead over the internet."""

    name: str
    home: Nat
    carrier: Nat | None = None  # None: they share the home's LAN

    @property
    def way(self) -> str:
        if self.carrier is None:
            return "direct"
        meet = self.carrier.hairpin and _one_meets(self.home.behind(self.carrier))
        return "direct" if meet else "relay"

    def build(self, lab: Lab, name: str) -> tuple[Host, Host]:
        if self.carrier is None:
            one, two = lab.home(name, nat=self.home, hosts=2).hosts
            return one, two
        lab.carrier(f"{name}-isp", nat=self.carrier)
        homes = [lab.home(f"{name}-{n}", nat=self.home, behind=f"{name}-isp") for n in range(2)]
        return homes[0].host, homes[1].host


HAIRPIN = NatKind.HAIRPIN.nat

NEIGHBOURS = (
    Neighbours("one LAN", PORT_RESTRICTED),
    Neighbours("one LAN, hairpin", HAIRPIN),
    Neighbours("one LAN, symmetric", SYMMETRIC),
    Neighbours("one LAN, UDP blocked", NatKind.UDP_BLOCKED.nat),
    Neighbours("one carrier", PORT_RESTRICTED, PORT_RESTRICTED),
    Neighbours("one carrier, hairpin", PORT_RESTRICTED, HAIRPIN),
)


def way(one: Place, two: Place) -> str:
    """The best path of two that share nothing but the internet: one of `WORST_FIRST`."""
    if meet(one, two):
        return "direct"
    return "relay" if one.passes_udp and two.passes_udp else "degraded"


def meet(one: Place, two: Place) -> bool:
    """Whether a path without a relay exists between two that share nothing but the internet."""
    if one.ipv6 and two.ipv6:  # firewalls that only filter are in nobody's way
        return True
    if not (one.ipv4 and two.ipv4) or {one.nat.passes, two.nat.passes} != {Passes.ALL}:
        return False
    if one.port_mapping or two.port_mapping:  # what was mapped on request is open to all
        return True
    return _reaches(one.nat, two.nat) or _reaches(two.nat, one.nat)


def _one_meets(nat: Nat) -> bool:
    return _reaches(nat, nat)


def _reaches(sender: Nat, receiver: Nat) -> bool:
    """Whether the sender's datagrams get in where STUN says the receiver is.

    The receiver has sent there as well, to where STUN says the sender is. Answers follow the
    datagrams that got in, so one way is enough.
    """
    if receiver.filtering is EIM:
        return True
    if receiver.mapping is not EIM:  # what it opened for us has another port than STUN saw
        counted = receiver.mapping is APD and receiver.ports is Ports.SEQUENTIAL
        return counted and sender.mapping is EIM  # and the port is foreseen
    return receiver.filtering is AD or sender.mapping is EIM
