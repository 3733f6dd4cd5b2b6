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
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from lab import boxes, processes, runs, wiring
from lab.commands import LabError, ip, require_tools
from lab.host import Home, Host
from lab.link import SMOOTH, Link, lay
from lab.machine import CHECKOUT, Machine, is_readable
from lab.nat import LAN, WAN, Nat, NatKind, Passes
from lab.runs import MARK, Leftovers, Run
from lab.signals import orphans_adopted, signals_held, termination_raises
from lab.wiring import Inside

PUBLIC = tuple(map(ipaddress.ip_network, ("198.51.100.0/24", "203.0.113.0/24", "192.0.2.0/24")))
HOMES = [str(address) for address in ipaddress.ip_network("203.0.113.0/24").hosts()][10:]
# Port mapping daemons take the others for private addresses; the IANA keeps these to itself.
MAPPED_HOMES = [str(address) for address in ipaddress.ip_network("192.0.1.0/24").hosts()]
LAN_PREFIX = "192.168.1.0/24"  # of every home that asks for no other, as in real homes
CARRIER = ipaddress.IPv4Network("100.64.0.0/10")  # between its NAT and its customers' (RFC 6598)


class Lab:
    """Makes hosts while it is entered; leaving it removes everything and `leftovers()` is false."""

    def __init__(self) -> None:
        self.name = runs.new_name()
        self.hosts: dict[str, Host] = {}
        self.homes: dict[str, Home] = {}
        self._doors: dict[str, str] = {}  # by host: its own, or its router's, port on the internet
        self._boxes: list[subprocess.Popen[bytes]] = []  # what routers run
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
            ip([f"addr add {wiring.ROUTER}/32 dev lo"], namespace=self._internet)
            wiring.forward(self._internet)
            wiring.raise_barrier(self._internet)
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
        """A host on the internet; for each IPv4 address that it is given it has one of IPv6."""
        number = len(self.hosts) + 1
        addresses6 = tuple(
            f"2001:db8::{number:x}" + (f":{n + 1:x}" if n else "") for n in range(len(addresses))
        )
        host = Host(name, self._namespace(name), addresses, ("eth0",), self._machine, addresses6)
        self._connect(host, "eth0", link)
        wiring.open_low_ports(host.namespace)
        self._machine.name_host(f"{name}.lab", *addresses, addresses6[0])
        self.hosts[name] = host
        return host

    def carrier(self, name: str, *, nat: str | Nat, address: str | None = None) -> Home:
        """A carrier's NAT, behind which homes can be; they share its one public address."""
        box = nat if isinstance(nat, Nat) else NatKind(nat).nat
        router = self._router(f"{name}-router", address or self.free_address(), SMOOTH)
        wiring.make_router(router, box, Inside(CARRIER))
        self.homes[name] = Home(name, box, router, ())
        return self.homes[name]

    def home(
        self,
        name: str,
        *,
        nat: str | Nat | None,
        hosts: int = 1,
        address: str | None = None,
        lan: str = LAN_PREFIX,
        behind: str | None = None,
        link: Link = SMOOTH,
        ipv6: bool = False,
        port_mapping: bool = False,
    ) -> Home:
        """A NAT router (its WAN address `address`, or the next free one) and LAN hosts.

        The router is the first address of `lan`, the hosts are .11, .12, …; they are
        called `name` if there is one and `name-0`, `name-1`, … if there are several.
        `behind` is the carrier that translates once more. With `ipv6` the hosts have a
        public IPv6 address as well, behind a firewall; without a `nat` they have that alone.
        With `port_mapping` the router obeys UPnP-IGD, NAT-PMP and PCP.
        """
        box = nat if nat is None or isinstance(nat, Nat) else NatKind(nat).nat
        number = len(self.hosts) + 1
        inside = Inside(
            None if box is None else ipaddress.IPv4Network(lan),
            ipaddress.IPv6Network(f"2001:db8:{number:x}::/64") if ipv6 else None,
        )
        carrier = None if behind is None else self.homes[behind]
        if carrier is not None:
            if box is None or ipv6:
                raise LabError(f"{name}: carriers here have no IPv6")
            router = self._customer(f"{name}-router", carrier, link)
        else:
            if box is not None and address is None:
                address = self.free_address(MAPPED_HOMES if port_mapping else HOMES)
            router = self._router(f"{name}-router", address, link, inside.ipv6)
        wiring.make_router(router, box, inside)
        settings = self._start_boxes(router, box, inside, port_mapping)
        residents = tuple(
            self._lan_host(router, n, name if hosts == 1 else f"{name}-{n}", inside, settings)
            for n in range(hosts)
        )
        self.homes[name] = Home(name, box, router, residents, carrier)
        return self.homes[name]

    def home6(self, name: str, *, link: Link = SMOOTH) -> Host:
        """A host that has IPv6 and nothing else, behind a firewall that translates nothing."""
        return self.home(name, nat=None, ipv6=True, link=link).host

    def close_between(self, one: Host, two: Host) -> None:
        """Drop the UDP that passes from one to the other over the internet, until `open_between`.

        Hosts of one home or one carrier have nothing of it between them.
        """
        self._bar(one, two, closed=True)

    def open_between(self, one: Host, two: Host) -> None:
        self._bar(one, two, closed=False)

    def _bar(self, one: Host, two: Host, *, closed: bool) -> None:
        doors = self._doors[one.name], self._doors[two.name]
        if doors[0] != doors[1]:
            wiring.bar(self._internet, *doors, closed=closed)

    def running(self) -> dict[int, str]:
        """The living processes of this lab, with their command lines; its own are left out."""
        here = Path("/proc/self/ns/net").stat().st_ino
        found = set(self.leftovers().processes)
        for pid in processes.descendants(os.getpid()) - found:
            mark = processes.environment_of(pid).get(MARK)
            # No mark, but another network: one of ours started it with a bare environment.
            if mark is None and processes.network_of(pid) not in (None, here):
                found.add(pid)
        own = {self._machine.pid, *(process.pid for process in self._own_processes())}
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

    def free_address(self, among: Sequence[str] = HOMES) -> str:
        used = {taken for host in self.hosts.values() for taken in host.addresses}
        return next(free for free in among if free not in used)

    def _router(
        self, name: str, address: str | None, link: Link, ipv6: ipaddress.IPv6Network | None = None
    ) -> Host:
        number = len(self.hosts) + 1
        router = Host(
            name,
            self._namespace(name),
            () if address is None else (address,),
            wiring.ROUTER_INTERFACES,
            self._machine,
            () if ipv6 is None else (f"2001:db8::{number:x}",),
        )
        self._connect(router, WAN, link, () if ipv6 is None else (str(ipv6),))
        self.hosts[name] = router
        return router

    def _customer(self, name: str, carrier: Home, link: Link) -> Host:
        """A home's router whose WAN is a carrier's inside."""
        number = sum(home.carrier is carrier for home in self.homes.values())
        addresses, _ = Inside(CARRIER).addresses(number)
        router = Host(
            name, self._namespace(name), addresses, wiring.ROUTER_INTERFACES, self._machine
        )
        self._cable(carrier.router.namespace, f"{LAN}{number}", router.namespace, WAN, link)
        wiring.join_carrier(carrier.router, f"{LAN}{number}", router, CARRIER)
        self._doors[name] = self._doors[carrier.router.name]
        self.hosts[name] = router
        return router

    def _start_boxes(
        self, router: Host, nat: Nat | None, inside: Inside, port_mapping: bool
    ) -> dict[str, str]:
        """What the router runs beside its NAT; the settings of those who use it."""
        if inside.ipv4 is None or nat is None:
            return {}
        if port_mapping:
            self._boxes.append(boxes.map_ports(router, inside.ipv4, self.directory))
        if nat.passes is not Passes.PROXY:
            return {}
        proxy, settings = boxes.serve_proxy(router, inside.ipv4)
        self._boxes.append(proxy)
        return settings

    def _connect(
        self, host: Host, interface: str, link: Link, networks6: Sequence[str] = ()
    ) -> None:
        """Link a host to the internet by a veth of its own."""
        port = f"to{len(self.hosts)}"
        self._cable(self._internet, port, host.namespace, interface, link)
        wiring.join_internet(self._internet, port, host, interface, networks6)
        self._doors[host.name] = port

    def _lan_host(
        self, router: Host, number: int, name: str, inside: Inside, settings: Mapping[str, str]
    ) -> Host:
        host = Host(
            name,
            self._namespace(name),
            (addresses := inside.addresses(number))[0],
            ("eth0",),
            self._machine,
            addresses[1],
            settings,
        )
        port = f"{LAN}{number}"
        self._cable(router.namespace, port, host.namespace, "eth0")
        wiring.join_lan(router, port, host, inside)
        self._doors[name] = self._doors[router.name]
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

    def _own_processes(self) -> list[subprocess.Popen[bytes]]:
        """What the networks themselves are made of."""
        return [*self._boxes, *(cable for cable in self._cables if cable is not None)]

    def _end_processes(self) -> None:
        ended = self.running()
        processes.end(ended, grace=2.0)
        ours = {process.pid for process in self._machine.started}
        for process in self._own_processes():
            process.kill()
            process.wait()
        for process in self._machine.started:
            process.poll()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        for orphan in set(ended) - ours:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(orphan, os.WNOHANG)
