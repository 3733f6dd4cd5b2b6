"""Home routers and carriers' boxes as nftables rules, by what they do in the words of RFC 4787.

Mapping is which public port an inside socket gets for which destination, filtering is whose
datagrams come back in through it; every mapping goes with every filtering:

    kind                    mapping                       filtering
    full-cone               endpoint-independent          endpoint-independent
    address-restricted      endpoint-independent          address-dependent
    port-restricted         endpoint-independent          address-and-port-dependent
    random-port             the same, with a random port instead of the inside one
    hairpin                 the same, and inside hosts reach each other by their public endpoints
    address-symmetric       address-dependent             address-dependent
    symmetric               address-and-port-dependent    address-and-port-dependent
    symmetric-open          address-and-port-dependent    endpoint-independent
    symmetric-sequential    as symmetric, each new mapping one port above the last
    udp-blocked, tcp-443    only TCP, only TCP to port 443 passes
    proxy-only              nothing passes; the router itself is an HTTP proxy

Linux's own source NAT is a port-restricted cone. What else is wanted is learnt into maps after
the translation, where a datagram carries its public port already.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

WAN = "wan"
LAN = "lan"

FIRST_PORT, SEQUENTIAL_PORTS = 40000, 2048


class Dependence(StrEnum):
    """What of the other end a mapping or a filter depends on, from the loosest to the strictest."""

    EIM = "endpoint-independent"
    AD = "address-dependent"
    APD = "address-and-port-dependent"


class Ports(StrEnum):
    """Which public port a new mapping gets."""

    PRESERVED = "preserved"
    SEQUENTIAL = "sequential"
    RANDOM = "random"


class Passes(StrEnum):
    """What may leave at all."""

    ALL = "all"
    TCP = "tcp"
    HTTPS = "tcp-443"
    PROXY = "proxy"


EIM, AD, APD = Dependence


@dataclass(frozen=True)
class Nat:
    mapping: Dependence = EIM
    filtering: Dependence = APD
    ports: Ports = Ports.PRESERVED
    hairpin: bool = False
    passes: Passes = Passes.ALL

    def __post_init__(self) -> None:
        if self.mapping is not EIM and self.ports is Ports.PRESERVED:
            raise ValueError("a mapping that depends on the destination cannot preserve ports")

    def behind(self, carrier: "Nat") -> "Nat":
        """What a host sees that has both on its way out: the stricter of each."""
        return Nat(
            max(self.mapping, carrier.mapping, key=list(Dependence).index),
            max(self.filtering, carrier.filtering, key=list(Dependence).index),
            carrier.ports if self.ports is Ports.PRESERVED else self.ports,
            carrier.hairpin,
            max(self.passes, carrier.passes, key=list(Passes).index),
        )


class NatKind(StrEnum):
    FULL_CONE = "full-cone"
    ADDRESS_RESTRICTED = "address-restricted"
    PORT_RESTRICTED = "port-restricted"
    RANDOM_PORT = "random-port"
    HAIRPIN = "hairpin"
    ADDRESS_SYMMETRIC = "address-symmetric"
    SYMMETRIC = "symmetric"
    SYMMETRIC_OPEN = "symmetric-open"
    SYMMETRIC_SEQUENTIAL = "symmetric-sequential"
    UDP_BLOCKED = "udp-blocked"
    TCP_443 = "tcp-443"
    PROXY_ONLY = "proxy-only"

    @property
    def nat(self) -> Nat:
        return KINDS[self]


KINDS = {
    NatKind.FULL_CONE: Nat(EIM, EIM),
    NatKind.ADDRESS_RESTRICTED: Nat(EIM, AD),
    NatKind.PORT_RESTRICTED: Nat(EIM, APD),
    NatKind.RANDOM_PORT: Nat(EIM, APD, Ports.RANDOM),
    NatKind.HAIRPIN: Nat(EIM, APD, hairpin=True),
    NatKind.ADDRESS_SYMMETRIC: Nat(AD, AD, Ports.RANDOM),
    NatKind.SYMMETRIC: Nat(APD, APD, Ports.RANDOM),
    NatKind.SYMMETRIC_OPEN: Nat(APD, EIM, Ports.RANDOM),
    NatKind.SYMMETRIC_SEQUENTIAL: Nat(APD, APD, Ports.SEQUENTIAL),
    NatKind.UDP_BLOCKED: replace(Nat(), passes=Passes.TCP),
    NatKind.TCP_443: replace(Nat(), passes=Passes.HTTPS),
    NatKind.PROXY_ONLY: replace(Nat(), passes=Passes.PROXY),
}

FIREWALL6 = f"""table ip6 firewall {{
  chain input {{
    type filter hook input priority filter; policy drop;
    meta l4proto ipv6-icmp accept
    iifname "{LAN}" accept
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    iifname "{LAN}" accept
  }}
}}
"""


def ruleset(nat: Nat, public: str) -> str:
    """The whole ruleset of a router with the interfaces `wan` (address `public`) and `lan`.

    For `nft -f -`; nft 1.0.6 wants a newline before each closing brace.
    """
    parts = [_firewall(nat, public), _translation(nat, public), _admission(nat, public)]
    return f"flush ruleset\ntable ip nat {{\n{''.join(parts)}}}\n"


def _firewall(nat: Nat, public: str) -> str:
    """The router itself must drop what it did not ask for, from outside and from inside.

    If it accepted a stray punching datagram, that would confirm a conntrack entry, source NAT
    would then choose another port for the way out, and two such NATs never meet.
    """
    passing = {
        Passes.ALL: 'iifname "lan" oifname "wan" accept',
        Passes.TCP: 'iifname "lan" oifname "wan" meta l4proto tcp accept',
        Passes.HTTPS: 'iifname "lan" oifname "wan" tcp dport 443 accept',
        Passes.PROXY: "",
    }
    return f"""
  chain input {{
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    iifname "lo" accept
    iifname "lan" ip daddr != {public} accept
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    {passing[nat.passes]}
    ct status dnat accept
  }}
"""


def _translation(nat: Nat, public: str) -> str:
    """Source NAT: by the mapping that is there already, else by a new one."""
    key_type, key, learnt = "ipv4_addr . inet_service", "ip saddr . udp sport", _INSIDE
    if nat.mapping is AD:
        key_type, key = f"{key_type} . ipv4_addr", f"{key} . ip daddr"
        learnt = f"{learnt} . ip daddr"
    known = f"meta l4proto udp snat ip to {key} map @mappings" if nat.mapping is not APD else ""
    new = {
        Ports.PRESERVED: "",
        Ports.RANDOM: f"meta l4proto {{ tcp, udp }} snat to {public}:1024-65535 fully-random",
        Ports.SEQUENTIAL: f"meta l4proto udp snat ip to {public} : {_next_port()}",
    }
    return f"""{_map("mappings", key_type, "ipv4_addr . inet_service")}
  chain translate {{
    type nat hook postrouting priority srcnat;
    oifname "wan" jump outward
    iifname "lan" oifname "lan" ct status dnat jump outward
  }}
  chain outward {{
    {known}
    {new[nat.ports]}
    snat to {public}
  }}
  chain learn_mapping {{
    type filter hook postrouting priority srcnat + 10;
    ip saddr {public} ct direction original meta l4proto udp \
update @mappings {{ {learnt} : ip saddr . udp sport }}
  }}
"""


def _admission(nat: Nat, public: str) -> str:
    """Destination NAT: what comes to a mapping from whom the filtering does not keep out."""
    rules = ""
    if nat.filtering is EIM:
        rules = 'iifname "wan" meta l4proto udp dnat ip to udp dport map @owners'
    elif nat.filtering is AD:
        rules = 'iifname "wan" meta l4proto udp dnat ip to ip saddr . udp dport map @opened'
    if nat.hairpin:
        rules += (
            f'\n    iifname "lan" ip daddr {public}'
            " meta l4proto udp dnat ip to udp dport map @owners"
        )
    inside = "ipv4_addr . inet_service"
    return f"""{_map("owners", "inet_service", inside)}{_map("opened", inside, inside)}
  chain learn_owner {{
    type filter hook postrouting priority srcnat + 11;
    ip saddr {public} ct direction original meta l4proto udp \
update @owners {{ udp sport : {_INSIDE} }}
    ip saddr {public} ct direction original meta l4proto udp \
update @opened {{ ip daddr . udp sport : {_INSIDE} }}
  }}
  chain admit {{
    type nat hook prerouting priority dstnat;
    {rules}
  }}
"""


_INSIDE = "ct original ip saddr . ct original proto-src"


def _map(name: str, key: str, value: str) -> str:
    return f"""
  map {name} {{
    type {key} : {value}
    flags dynamic,timeout
    timeout 120s
    size 65535
  }}"""


def _next_port() -> str:
    """A map, since a bare counter would count in the other byte order."""
    ports = ", ".join(f"{n} : {FIRST_PORT + n}" for n in range(SEQUENTIAL_PORTS))
    return f"numgen inc mod {SEQUENTIAL_PORTS} map {{ {ports} }}"
