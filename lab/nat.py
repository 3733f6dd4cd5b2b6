"""Home routers as nftables rules, by what they do in the words of RFC 4787.

Mapping is which public port an inside socket gets for which destination,
filtering is whose answers come back in:

    kind                  mapping                       filtering
    full-cone             endpoint-independent          endpoint-independent
    address-restricted    endpoint-independent          address-dependent
    port-restricted       endpoint-independent          address-and-port-dependent
    symmetric             address-and-port-dependent    address-and-port-dependent

Linux's masquerading is a port-restricted cone by itself; the more open kinds
add a map from learnt public ports to inside addresses.
"""

from enum import StrEnum

WAN = "wan"
LAN = "lan"


class NatKind(StrEnum):
    FULL_CONE = "full-cone"
    ADDRESS_RESTRICTED = "address-restricted"
    PORT_RESTRICTED = "port-restricted"
    SYMMETRIC = "symmetric"


# The router itself must drop what it did not ask for: if it accepted a stray
# punching datagram, that would confirm a conntrack entry, masquerading would
# then choose another port for the way out, and two such NATs never meet.
# (nft 1.0.6 wants a newline before each closing brace.)
FIREWALL = """
  chain input {
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    iifname "lo" accept
    iifname "lan" accept
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    iifname "lan" oifname "wan" accept
    iifname "wan" ct status dnat accept
  }
"""

MASQUERADE = """
  chain translate {
    type nat hook postrouting priority srcnat;
    oifname "wan" masquerade
  }
"""

RANDOM_PORTS = """
  chain translate {
    type nat hook postrouting priority srcnat;
    oifname "wan" meta l4proto { tcp, udp } masquerade to :1024-65535 fully-random
    oifname "wan" masquerade
  }
"""

# Learnt after source NAT, where the datagram carries its public port already.
OPEN_TO_ALL = """
  map open {
    type inet_service : ipv4_addr . inet_service
    flags dynamic,timeout
    timeout 120s
    size 65535
  }
  chain learn {
    type filter hook postrouting priority srcnat + 10;
    oifname "wan" meta l4proto udp \
update @open { udp sport : ct original ip saddr . ct original proto-src }
  }
  chain admit {
    type nat hook prerouting priority dstnat;
    iifname "wan" meta l4proto udp dnat ip to udp dport map @open
  }
"""

OPEN_TO_ADDRESS = """
  map open {
    type ipv4_addr . inet_service : ipv4_addr . inet_service
    flags dynamic,timeout
    timeout 120s
    size 65535
  }
  chain learn {
    type filter hook postrouting priority srcnat + 10;
    oifname "wan" meta l4proto udp \
update @open { ip daddr . udp sport : ct original ip saddr . ct original proto-src }
  }
  chain admit {
    type nat hook prerouting priority dstnat;
    iifname "wan" meta l4proto udp dnat ip to ip saddr . udp dport map @open
  }
"""

RULES = {
    NatKind.FULL_CONE: OPEN_TO_ALL + MASQUERADE,
    NatKind.ADDRESS_RESTRICTED: OPEN_TO_ADDRESS + MASQUERADE,
    NatKind.PORT_RESTRICTED: MASQUERADE,
    NatKind.SYMMETRIC: RANDOM_PORTS,
}


def ruleset(kind: NatKind) -> str:
    """The whole ruleset of a router with the interfaces `wan` and `lan`, for `nft -f -`."""
    return f"flush ruleset\ntable ip nat {{\n{FIREWALL}{RULES[kind]}}}\n"
