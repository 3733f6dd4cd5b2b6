"""A small internet: public hosts, and homes behind NAT routers.

    with Lab() as lab:
        mediator = lab.public("mediator", "198.51.100.10")
        home = lab.home("home0", nat="port-restricted")
        home.host.run(["ping", "-c1", mediator.address])

Public addresses come from the documentation networks; one router namespace
carries them all, a link of its own to each. Nothing leads to the machine's
real network, and everything is gone after the `with`, whatever happened in it.
"""

import contextlib
import ipaddress
import os
import subprocess
from pathlib import Path
from types import TracebackType

from lab import processes, runs
from lab.commands import LabError, in_namespace, ip, require_tools
from lab.host import Home, Host
from lab.link import SMOOTH, Link, lay
from lab.machine import CHECKOUT, Machine, is_readable
from lab.nat import FIREWALL6, LAN, WAN, Nat, NatKind, ruleset
from lab.runs import MARK, Leftovers, Run
from lab.signals import orphans_adopted, signals_held, termination_raises

PUBLIC = tuple(map(ipaddress.ip_network, ("198.51.100.0/24", "203.0.113.0/24", "192.0.2.0/24")))
ROUTER = "192.0.2.1"  # every public host's gateway, on the router's loopback
HOMES = [str(address) for address in ipaddress.ip_network("203.0.113.0/24").hosts()][10:]
LAN_PREFIX = "192.168.1.0/24"  # of every home that asks for no other, as in real homes
CARRIER_PREFIX = "100.64.0.0/10"  # between a carrier's NAT and its customers' (RFC 6598)
ROUTER_INTERFACES = (WAN, LAN, *(f"{LAN}{n}" for n in range(64)))  # a port per host inside
GATEWAY6 = "fe80::1"  # of every host that speaks IPv6

# Where br_netfilter is there, bridged frames of one LAN would pass the NAT's rules.
FORWARDING = """
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
bridged=/proc/sys/net/bridge/bridge-nf-call-iptables
if [ -e $bridged ]; then echo 0 > $bridged; fi
"""


# Ordinary users may listen on port 443 of a public host.
ANY_PORT = "echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start"


class Lab:
    """Makes hosts while it is entered; leaving it removes everything and `leftovers()` is false."""

    def __init__(self) -> None:
        self.name = runs.new_name()
        self.hosts: dict[str, Host] = {}
        self.homes: dict[str, Home] = {}
        self._cables: list[subprocess.Popen[bytes] | None] = []  # None: the kernel does it

    def __enter__(self) -> "Lab":
        if os.geteuid() != 0:
            raise LabError(
                "the lab makes network namespaces and needs root", hint="run it again with sudo"
            )
        require_tools()
        if not is_readable():
            raise LabError(
                "ordinary users cannot read the files of this checkout, but its hosts run as such",
                hint=f"chmod -R go+rX {CHECKOUT}",
            )
        self._exit = contextlib.ExitStack()
        with self._exit:
            self._exit.enter_context(termination_raises())
            self._exit.enter_context(orphans_adopted())
            self._run = Run(self.name)
            self._exit.callback(self._run.close)
            self._exit.callback(runs.remove, self.name)
            self._machine = Machine(self._run)
            self._exit.callback(self._machine.close)
            self._exit.callback(self._end_processes)
            self._internet = self._namespace("internet")
            ip([f"addr add {ROUTER}/32 dev lo"], namespace=self._internet)
            in_namespace(self._internet, ["sh", "-c", FORWARDING])
            self._exit = self._exit.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with signals_held():
            self._exit.__exit__(kind, error, trace)

    @property
    def directory(self) -> Path:
        """A directory on the machine that ordinary users may enter and that ends with the lab."""
        return self._run.directory

    def public(self, name: str, *addresses: str, link: Link = SMOOTH) -> Host:
        """A host on the internet, with one or several public addresses; `NAME.lab` is its name."""
        address6 = f"2001:db8::{len(self.hosts) + 1:x}"
        host = Host(name, self._namespace(name), addresses, ("eth0",), self._machine)
        self._connect(host, "eth0", address6, link)
        in_namespace(host.namespace, ["sh", "-c", ANY_PORT])
        self._machine.name_host(f"{name}.lab", *addresses, address6)
        self.hosts[name] = host
        return host

    def carrier(self, name: str, *, nat: str | Nat, address: str | None = None) -> Home:
        """A carrier's NAT, behind which homes can be; they share its one public address."""
        box = nat if isinstance(nat, Nat) else NatKind(nat).nat
        router = self._router(f"{name}-router", address or self.free_address(), SMOOTH)
        self._translate(router, box, ipaddress.IPv4Network(CARRIER_PREFIX))
        self.homes[name] = Home(name, box, router, ())
        return self.homes[name]

    def home(
        self,
        name: str,
        *,
        nat: str | Nat,
        hosts: int = 1,
        address: str | None = None,
        lan: str = LAN_PREFIX,
        behind: str | None = None,
        link: Link = SMOOTH,
    ) -> Home:
        """A NAT router (its WAN address `address`, or the next free one) and LAN hosts.

        The router is the first address of `lan`, the hosts are .11, .12, …; they are
        called `name` if there is one and `name-0`, `name-1`, … if there are several.
        `behind` is the carrier that translates once more.
        """
        box = nat if isinstance(nat, Nat) else NatKind(nat).nat
        network = ipaddress.IPv4Network(lan)
        carrier = None if behind is None else self.homes[behind]
        if carrier is None:
            router = self._router(f"{name}-router", address or self.free_address(), link)
        else:
            router = self._customer(f"{name}-router", carrier, link)
        self._translate(router, box, network)
        residents = tuple(
            self._lan_host(
                router,
                f"{LAN}{n}",
                name if hosts == 1 else f"{name}-{n}",
                ipaddress.IPv4Interface(f"{network[11 + n]}/{network.prefixlen}"),
            )
            for n in range(hosts)
        )
        self.homes[name] = Home(name, box, router, residents, carrier)
        return self.homes[name]

    def home6(self, name: str, *, link: Link = SMOOTH) -> Host:
        """A host that has IPv6 and nothing else, behind a firewall that translates nothing."""
        number = len(self.hosts)
        inside = f"2001:db8:{number:x}"
        router = Host(
            f"{name}-router", self._namespace(f"{name}-router"), (), (WAN, "lan0"), self._machine
        )
        self._connect(router, WAN, f"2001:db8::{number:x}:1", link, f"{inside}::/64")
        in_namespace(router.namespace, ["sh", "-c", FORWARDING])
        in_namespace(router.namespace, ["nft", "-f", "-"], stdin=FIREWALL6)
        self.hosts[router.name] = router
        host = Host(name, self._namespace(name), (f"{inside}::11",), ("eth0",), self._machine)
        self._cable(router.namespace, "lan0", host.namespace, "eth0")
        ip(
            [
                f"addr add {GATEWAY6}/64 dev lan0 nodad",
                "link set lan0 up",
                f"route add {inside}::/64 dev lan0",
            ],
            namespace=router.namespace,
        )
        ip(
            [
                f"addr add {host.address}/64 dev eth0 nodad",
                "link set eth0 up",
                f"route add ::/0 via {GATEWAY6} dev eth0",
            ],
            namespace=host.namespace,
        )
        self.hosts[name] = host
        return host

    def running(self) -> dict[int, str]:
        """The living processes of this lab, with their command lines; its own are left out."""
        here = Path("/proc/self/ns/net").stat().st_ino
        found = set(self.leftovers().processes)
        for pid in processes.descendants(os.getpid()) - found:
            mark = processes.environment_of(pid).get(MARK)
            # No mark, but another network: one of ours started it with a bare environment.
            if mark is None and processes.network_of(pid) not in (None, here):
                found.add(pid)
        own = {self._machine.pid, *(cable.pid for cable in self._cables if cable is not None)}
        return {pid: processes.command_of(pid) for pid in sorted(found - own)}

    def foreign_interfaces(self) -> list[str]:
        """Interfaces on any host that the lab did not make, as `host/interface`."""
        return [
            f"{host.name}/{name}"
            for host in self.hosts.values()
            for name in host.foreign_interfaces()
        ]

    def left_in_run(self) -> list[str]:
        """Files and sockets that the lab's processes have left in their `/run`."""
        return [str(path) for path in self._machine.files_in_run()]

    def leftovers(self) -> Leftovers:
        """What of this lab exists on the machine now; false after a clean end."""
        return runs.leftovers(self.name)

    def _namespace(self, name: str) -> str:
        if name in self.hosts or not name.replace("-", "").isalnum():
            raise LabError(f"{name!r} is no name for a host, or there is one already")
        namespace = f"{self.name}-{name}"
        ip([f"netns add {namespace}"])
        ip(["link set lo up"], namespace=namespace)
        return namespace

    def free_address(self) -> str:
        used = {taken for host in self.hosts.values() for taken in host.addresses}
        return next(free for free in HOMES if free not in used)

    def _router(self, name: str, address: str, link: Link) -> Host:
        namespace = self._namespace(name)
        router = Host(name, namespace, (address,), ROUTER_INTERFACES, self._machine)
        self._connect(router, WAN, None, link)
        self.hosts[name] = router
        return router

    def _customer(self, name: str, carrier: Home, link: Link) -> Host:
        """A home's router whose WAN is a carrier's inside."""
        number = sum(home.carrier is carrier for home in self.homes.values())
        network = ipaddress.IPv4Network(CARRIER_PREFIX)
        address = ipaddress.IPv4Interface(f"{network[11 + number]}/{network.prefixlen}")
        port = f"{LAN}{number}"
        router = Host(
            name, self._namespace(name), (str(address.ip),), ROUTER_INTERFACES, self._machine
        )
        self._cable(carrier.router.namespace, port, router.namespace, WAN, link)
        ip([f"link set {port} master {LAN} up"], namespace=carrier.router.namespace)
        ip(
            [
                f"addr add {address} dev {WAN}",
                f"link set {WAN} up",
                f"route add default via {network[1]}",
            ],
            namespace=router.namespace,
        )
        self.hosts[name] = router
        return router

    def _translate(self, router: Host, nat: Nat, network: ipaddress.IPv4Network) -> None:
        """Make a router one: a bridge for its inside, and the NAT between that and the WAN."""
        ip(
            [
                f"link add {LAN} type bridge",
                f"addr add {network[1]}/{network.prefixlen} dev {LAN}",
                f"link set {LAN} up",
            ],
            namespace=router.namespace,
        )
        in_namespace(router.namespace, ["sh", "-c", FORWARDING])
        in_namespace(router.namespace, ["nft", "-f", "-"], stdin=ruleset(nat, router.address))

    def _connect(
        self,
        host: Host,
        interface: str,
        address6: str | None,
        link: Link,
        *networks6: str,
    ) -> None:
        """Link a host to the internet: its own veth, host routes on both ends."""
        port = f"to{len(self.hosts)}"
        routes6 = [*([f"{address6}/128"] if address6 else []), *networks6]
        self._cable(self._internet, port, host.namespace, interface, link)
        ip(
            [
                f"link set {port} up",
                f"addr add {GATEWAY6}/64 dev {port} nodad",
                *(f"route add {address}/32 dev {port}" for address in host.addresses),
                *(f"route add {route} via fe80::2 dev {port}" for route in routes6),
            ],
            namespace=self._internet,
        )
        ip(
            [
                *(f"addr add {address}/32 dev {interface}" for address in host.addresses),
                *([f"addr add {address6}/128 dev {interface} nodad"] if address6 else []),
                f"addr add fe80::2/64 dev {interface} nodad",
                f"link set {interface} up",
                *(
                    [f"route add default via {ROUTER} dev {interface} onlink"]
                    * bool(host.addresses)
                ),
                *([f"route add ::/0 via {GATEWAY6} dev {interface}"] * bool(address6)),
            ],
            namespace=host.namespace,
        )

    def _lan_host(
        self, router: Host, port: str, name: str, address: ipaddress.IPv4Interface
    ) -> Host:
        host = Host(name, self._namespace(name), (str(address.ip),), ("eth0",), self._machine)
        self._cable(router.namespace, port, host.namespace, "eth0")
        ip([f"link set {port} master {LAN} up"], namespace=router.namespace)
        ip(
            [
                f"addr add {address} dev eth0",
                "link set eth0 up",
                f"route add default via {address.network[1]}",
            ],
            namespace=host.namespace,
        )
        self.hosts[name] = host
        return host

    def _cable(self, one: str, name: str, other: str, other_name: str, link: Link = SMOOTH) -> None:
        """A cable from `one` down to `other`, which is as slow and lossy as `link` says."""
        if link == SMOOTH:
            ip([f"link add {name} netns {one} type veth peer {other_name} netns {other}"])
            return
        middle = self._namespace(f"cable{len(self._cables)}")
        self._cables.append(
            lay(link, middle, (one, name), (other, other_name), self._machine.environment)
        )

    def _end_processes(self) -> None:
        ended = self.running()
        processes.end(ended, grace=2.0)
        ours = {process.pid for process in self._machine.started}
        for cable in self._cables:
            if cable is not None:
                cable.kill()
                cable.wait()
        for process in self._machine.started:
            process.poll()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        for orphan in set(ended) - ours:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(orphan, os.WNOHANG)
