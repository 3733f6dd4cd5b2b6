"""The `ip` and `nft` lines behind a topology: addresses and routes of hosts, routers and LANs."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from lab.commands import in_namespace, ip
from lab.host import Host
from lab.nat import FIREWALL6, LAN, WAN, Nat, ruleset

ROUTER = "192.0.2.1"  # every public host's gateway, on the router's loopback
GATEWAY6 = "fe80::1"  # of every host that speaks IPv6
ROUTER_INTERFACES = (WAN, LAN, *(f"{LAN}{n}" for n in range(64)))  # a port per host inside

# Where br_netfilter is there, bridged frames of one LAN would pass the NAT's rules.
FORWARDING = """
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
bridged=/proc/sys/net/bridge/bridge-nf-call-iptables
if [ -e $bridged ]; then echo 0 > $bridged; fi
"""

# Ordinary users may listen on port 443 of a public host.
ANY_PORT = "echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start"


# UDP between two hosts' doors, as long as the pair is in the set.
BARRIER = """table inet barrier {
  set closed {
    type ifname . ifname
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    meta l4proto udp iifname . oifname @closed drop
  }
}
"""


@dataclass(frozen=True)
class Inside:
    """The networks of a LAN; the router is the first address of `ipv4`, and `GATEWAY6`."""

    ipv4: IPv4Network | None
    ipv6: IPv6Network | None = None

    def addresses(self, number: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """IPv4 and IPv6 of the host `number`: .11, .12, …"""
        ipv4 = () if self.ipv4 is None else (str(self.ipv4[11 + number]),)
        ipv6 = () if self.ipv6 is None else (str(self.ipv6[0x11 + number]),)
        return ipv4, ipv6


def forward(namespace: str) -> None:
    in_namespace(namespace, ["sh", "-c", FORWARDING])


def raise_barrier(internet: str) -> None:
    in_namespace(internet, ["nft", "-f", "-"], stdin=BARRIER)


def bar(internet: str, one: str, two: str, *, closed: bool) -> None:
    """Between the doors `one` and `two`, both ways."""
    verb = "add" if closed else "delete"
    ways = f'{{ "{one}" . "{two}", "{two}" . "{one}" }}'
    script = f"{verb} element inet barrier closed {ways}\n"
    in_namespace(internet, ["nft", "-f", "-"], stdin=script)


def open_low_ports(namespace: str) -> None:
    in_namespace(namespace, ["sh", "-c", ANY_PORT])


def join_internet(
    internet: str, port: str, host: Host, interface: str, networks6: Sequence[str] = ()
) -> None:
    """Host routes on both ends of a cable between `port` and `interface`."""
    routes6 = [*(f"{address}/128" for address in host.addresses6), *networks6]
    ip(
        [
            f"link set {port} up",
            f"addr add {GATEWAY6}/64 dev {port} nodad",
            *(f"route add {address}/32 dev {port}" for address in host.addresses),
            *(f"route add {route} via fe80::2 dev {port}" for route in routes6),
        ],
        namespace=internet,
    )
    default4 = [f"route add default via {ROUTER} dev {interface} onlink"]
    default6 = [f"route add ::/0 via {GATEWAY6} dev {interface}"]
    ip(
        [
            *(f"addr add {address}/32 dev {interface}" for address in host.addresses),
            *(f"addr add {address}/128 dev {interface} nodad" for address in host.addresses6),
            f"addr add fe80::2/64 dev {interface} nodad",
            f"link set {interface} up",
            *(default4 if host.addresses else []),
            *(default6 if host.addresses6 else []),
        ],
        namespace=host.namespace,
    )


def join_carrier(carrier: Host, port: str, customer: Host, network: IPv4Network) -> None:
    """A customer's WAN becomes one of the addresses inside a carrier's NAT."""
    ip([f"link set {port} master {LAN} up"], namespace=carrier.namespace)
    ip(
        [
            f"addr add {customer.address}/{network.prefixlen} dev {WAN}",
            f"link set {WAN} up",
            f"route add default via {network[1]}",
        ],
        namespace=customer.namespace,
    )


def make_router(router: Host, nat: Nat | None, inside: Inside) -> None:
    """A bridge for the LAN; the NAT before IPv4, a firewall that translates nothing before IPv6."""
    lines = [f"link add {LAN} type bridge"]
    if inside.ipv4 is not None:
        lines.append(f"addr add {inside.ipv4[1]}/{inside.ipv4.prefixlen} dev {LAN}")
    if inside.ipv6 is not None:
        lines.append(f"addr add {GATEWAY6}/64 dev {LAN} nodad")
    lines.append(f"link set {LAN} up")
    if inside.ipv6 is not None:
        lines.append(f"route add {inside.ipv6} dev {LAN}")
    ip(lines, namespace=router.namespace)
    forward(router.namespace)
    rules = "" if nat is None else ruleset(nat, router.address)
    if inside.ipv6 is not None:
        rules += FIREWALL6
    in_namespace(router.namespace, ["nft", "-f", "-"], stdin=rules)


def join_lan(router: Host, port: str, host: Host, inside: Inside) -> None:
    ip([f"link set {port} master {LAN} up"], namespace=router.namespace)
    lines = [f"addr add {address}/64 dev eth0 nodad" for address in host.addresses6]
    if inside.ipv4 is not None:
        lines += [f"addr add {ip4}/{inside.ipv4.prefixlen} dev eth0" for ip4 in host.addresses]
    lines.append("link set eth0 up")
    if inside.ipv4 is not None:
        lines.append(f"route add default via {inside.ipv4[1]}")
    if inside.ipv6 is not None:
        lines.append(f"route add ::/0 via {GATEWAY6} dev eth0")
    ip(lines, namespace=host.namespace)
