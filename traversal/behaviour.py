"""How the NATs before us behave, judged from what STUN servers saw and what came through.

In the words of RFC 4787: mapping is which public port one of our sockets gets for which
destination, filtering is whose datagrams come back in through it. What cannot be told with the
servers at hand is said so, by the words that are left: `ADDRESS_AT_MOST` is either of the two
looser kinds.
Source: RFC 4787, sections 4 and 5; RFC 5780, section 4.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from traversal.candidate import Address

STEP = 8  # the next of sequential ports is at most this far away


class Dependence(StrEnum):
    """What of the other end a mapping or a filter depends on."""

    NONE = "endpoint-independent"
    ADDRESS_AT_MOST = "endpoint-independent or address-dependent"
    ADDRESS = "address-dependent"
    PORT = "address-and-port-dependent"
    UNKNOWN = "unknown"


class Ports(StrEnum):
    """Which public port a new mapping gets; told only where anything is translated."""

    PRESERVED = "preserved"
    SEQUENTIAL = "sequential"
    RANDOM = "random"


class Came(StrEnum):
    """What became of an answer that was asked for from elsewhere."""

    YES = "yes"
    NO = "no"
    NOT_SENT = "not sent"  # the server does not do so


class Verdict(StrEnum):
    """Which others are reached directly, as far as NATs decide; the rest is relayed."""

    NO_UDP = "no-udp"
    DIRECT = "direct"
    DIRECT_UNLESS_VARYING = "direct-unless-varying"
    DIRECT_IF_FORESEEN = "direct-if-foreseen"
    OFTEN_RELAYED = "often-relayed"
    UNKNOWN = "unknown"


WORDS: Mapping[Verdict, str] = {
    Verdict.NO_UDP: "UDP is blocked: every path leads through a relay's WebSocket (degraded), and "
    "only the network's owner can change that",
    Verdict.DIRECT: "direct paths are to be expected to everybody who has UDP",
    Verdict.DIRECT_UNLESS_VARYING: "direct paths are to be expected, except to parties whose own "
    "NAT gives every destination another port: those are relayed",
    Verdict.DIRECT_IF_FORESEEN: "this NAT gives every destination another port, but counts them "
    "up, so that the next ones are foreseen: direct paths are to be expected to parties whose own "
    "port is steady, as long as few others behind this NAT get ports in between",
    Verdict.OFTEN_RELAYED: "this NAT gives every destination another port: paths are relayed "
    "except to parties that are public, have a mapped port, or have a NAT that lets in anybody "
    "whose address they wrote to",
    Verdict.UNKNOWN: "UDP works; for more, two ports of a STUN server, better two addresses, have "
    "to answer",
}


def mapping_of(views: Mapping[Address, Address]) -> Dependence:
    """What servers (keys, of one family) saw of one socket (values) says together."""
    if len(set(views.values())) == 1:
        hosts = {server.host for server in views}
        if len(hosts) > 1:
            return Dependence.NONE
        return Dependence.ADDRESS_AT_MOST if len(views) > 1 else Dependence.UNKNOWN
    for one, two in itertools.combinations(views, 2):
        if one.host == two.host and views[one] != views[two]:
            return Dependence.PORT
    several = any(one.host == two.host for one, two in itertools.combinations(views, 2))
    return Dependence.ADDRESS if several else Dependence.UNKNOWN


def filtering_of(port: Came, address_and_port: Came) -> Dependence:
    """Whether answers of the same host's other port, and of another host, came through.

    Each asked by a socket of its own that had sent nothing there.
    """
    if address_and_port is Came.YES:
        return Dependence.NONE
    if port is Came.NO:
        return Dependence.PORT
    if port is Came.NOT_SENT:
        return Dependence.UNKNOWN
    return Dependence.ADDRESS if address_and_port is Came.NO else Dependence.ADDRESS_AT_MOST


def ports_of(own: Sequence[int], seen: Sequence[int]) -> Ports:
    """The rule behind public ports `seen`, in the order in which they were made."""
    ports = list(dict.fromkeys(seen))
    if set(ports) == set(own):
        return Ports.PRESERVED
    steps = [after - before for before, after in itertools.pairwise(ports)]
    return Ports.SEQUENTIAL if all(0 < step <= STEP for step in steps) else Ports.RANDOM


@dataclass(frozen=True)
class Behaviour:
    """What is before us on the way out by one family; `hairpin` only where one translates."""

    mapping: Dependence
    filtering: Dependence
    translated: bool
    ports: Ports | None
    hairpin: bool | None

    @property
    def name(self) -> str:
        """What people call it."""
        if not self.translated:
            open_ = self.filtering is Dependence.NONE
            return "no NAT" if open_ else "no NAT, a firewall"
        if self.mapping in (Dependence.PORT, Dependence.ADDRESS):
            return "symmetric NAT"
        return {
            Dependence.NONE: "full-cone NAT",
            Dependence.ADDRESS: "address-restricted NAT",
            Dependence.PORT: "port-restricted NAT",
        }.get(self.filtering, "NAT")


def verdict_of(behaviour: Behaviour | None, *, mapped: bool = False) -> Verdict:
    """What that means for paths; None is no UDP, `mapped` a port that the router opens for us.

    Whoever lets in everybody is reached by everybody. One whose port is steady and who lets in a
    known address is reached from any port of it. One whose port is steady needs the other's to be,
    or to be foreseen (`traversal.prediction`).
    """
    if behaviour is None:
        return Verdict.NO_UDP
    mapping, filtering = behaviour.mapping, behaviour.filtering
    if mapped or filtering is Dependence.NONE:
        return Verdict.DIRECT
    if mapping in (Dependence.PORT, Dependence.ADDRESS):
        foreseen = behaviour.ports is Ports.SEQUENTIAL
        return Verdict.DIRECT_IF_FORESEEN if foreseen else Verdict.OFTEN_RELAYED
    if mapping is Dependence.UNKNOWN:
        return Verdict.UNKNOWN
    if filtering in (Dependence.ADDRESS, Dependence.ADDRESS_AT_MOST):
        return Verdict.DIRECT
    return Verdict.DIRECT_UNLESS_VARYING
