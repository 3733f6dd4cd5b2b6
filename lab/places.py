"""Where a party can be: every kind of NAT, in public, behind two NATs, on IPv6 alone.

And which two of them can meet without a relay, by RFC 4787 alone. "asymmetric" is an ordinary
home whose way up is slower and longer than its way down.
"""

from dataclasses import dataclass

from lab.host import Host
from lab.link import SMOOTH, Link, Way
from lab.nat import AD, APD, EIM, Nat, NatKind, Passes
from lab.topology import Lab

NOTHING = Nat(EIM, EIM)  # a public host's way out, in the same words


@dataclass(frozen=True)
class Place:
    """`carrier` translates what `home` has translated; neither does for a public host."""

    name: str
    home: Nat | None = None
    carrier: Nat | None = None
    link: Link = SMOOTH
    ipv6: bool = False  # alone, behind a firewall that admits what was asked for

    @property
    def nat(self) -> Nat:
        """What the world sees of it."""
        if self.home is None:
            return Nat(EIM, APD) if self.ipv6 else NOTHING
        return self.home if self.carrier is None else self.home.behind(self.carrier)

    def build(self, lab: Lab, name: str) -> Host:
        if self.ipv6:
            return lab.home6(name, link=self.link)
        if self.home is None:
            return lab.public(name, lab.free_address(), link=self.link)
        behind = None
        if self.carrier is not None:
            behind = lab.carrier(f"{name}-isp", nat=self.carrier).name
        return lab.home(name, nat=self.home, behind=behind, link=self.link).host


PORT_RESTRICTED = NatKind.PORT_RESTRICTED.nat
SYMMETRIC = NatKind.SYMMETRIC.nat
SLOW_UP = Link(Way(delay=40, rate=2), Way(delay=10, rate=20))

PLACES = {
    place.name: place
    for place in (
        Place("public"),
        *(Place(kind, kind.nat) for kind in NatKind if kind.nat.passes is Passes.ALL),
        Place("asymmetric", PORT_RESTRICTED, link=SLOW_UP),
        Place("cgnat", PORT_RESTRICTED, PORT_RESTRICTED),
        Place("cgnat-symmetric", PORT_RESTRICTED, SYMMETRIC),
        Place("ipv6-only", ipv6=True),
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
    def meet(self) -> bool:
        if self.carrier is None:
            return True
        return self.carrier.hairpin and _one_meets(self.home.behind(self.carrier))

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


def meet(one: Place, two: Place) -> bool:
    """Whether a path without a relay exists between two that share nothing but the internet."""
    if one.ipv6 != two.ipv6:  # a public host has both
        return any(place.home is None and not place.ipv6 for place in (one, two)) and all(
            place.nat.passes is Passes.ALL for place in (one, two)
        )
    if {one.nat.passes, two.nat.passes} != {Passes.ALL}:
        return False
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
        return False
    return receiver.filtering is AD or sender.mapping is EIM
