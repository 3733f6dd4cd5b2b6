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
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, TracebackType

from lab import processes, runs
from lab.commands import LabError, in_namespace, ip, require_tools
from lab.host import Home, Host
from lab.machine import CHECKOUT, Machine, is_readable
from lab.nat import LAN, WAN, NatKind, ruleset
from lab.runs import MARK, Leftovers, Run

PUBLIC = tuple(map(ipaddress.ip_network, ("198.51.100.0/24", "203.0.113.0/24", "192.0.2.0/24")))
ROUTER = "192.0.2.1"  # every public host's gateway, on the router's loopback
HOMES = [str(address) for address in ipaddress.ip_network("203.0.113.0/24").hosts()][10:]
LAN_PREFIX = "192.168.1.0/24"  # of every home that asks for no other, as in real homes

# Where br_netfilter is there, bridged frames of one LAN would pass the NAT's rules.
FORWARDING = """
echo 1 > /proc/sys/net/ipv4/ip_forward
bridged=/proc/sys/net/bridge/bridge-nf-call-iptables
if [ -e $bridged ]; then echo 0 > $bridged; fi
"""


class Lab:
    """Makes hosts while it is entered; leaving it removes everything and `leftovers()` is false."""

    def __init__(self) -> None:
        self.name = runs.new_name()
        self.hosts: dict[str, Host] = {}
        self.homes: dict[str, Home] = {}

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
            self._exit.enter_context(_termination_raises())
            self._exit.enter_context(_orphans_adopted())
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
        with _signals_held():
            self._exit.__exit__(kind, error, trace)

    @property
    def directory(self) -> Path:
        """A directory on the machine that ordinary users may enter and that ends with the lab."""
        return self._run.directory

    def public(self, name: str, *addresses: str) -> Host:
        """A host on the internet, with one or several public addresses."""
        host = Host(name, self._namespace(name), addresses, ("eth0",), self._machine)
        self._connect(host, "eth0")
        self.hosts[name] = host
        return host

    def home(
        self,
        name: str,
        *,
        nat: str,
        hosts: int = 1,
        address: str | None = None,
        lan: str = LAN_PREFIX,
    ) -> Home:
        """A NAT router (its WAN address `address`, or the next free one) and LAN hosts.

        The router is the first address of `lan`, the hosts are .11, .12, …; they are
        called `name` if there is one and `name-0`, `name-1`, … if there are several.
        """
        kind = NatKind(nat)
        network = ipaddress.IPv4Network(lan)
        inside = {
            name if hosts == 1 else f"{name}-{n}": ipaddress.IPv4Interface(
                f"{network[11 + n]}/{network.prefixlen}"
            )
            for n in range(hosts)
        }
        ports = tuple(f"lan{n}" for n in range(hosts))
        router = self._router(f"{name}-router", address or self._free_address(), ports)
        ip(
            [
                f"link add {LAN} type bridge",
                f"addr add {network[1]}/{network.prefixlen} dev {LAN}",
                f"link set {LAN} up",
            ],
            namespace=router.namespace,
        )
        in_namespace(router.namespace, ["nft", "-f", "-"], stdin=ruleset(kind))
        residents = tuple(
            self._lan_host(router, port, host, inside[host])
            for port, host in zip(ports, inside, strict=True)
        )
        self.homes[name] = Home(name, kind, router, residents)
        return self.homes[name]

    def running(self) -> dict[int, str]:
        """The living processes of this lab, with their command lines; its own are left out."""
        here = Path("/proc/self/ns/net").stat().st_ino
        found = set(self.leftovers().processes)
        for pid in processes.descendants(os.getpid()) - found:
            mark = processes.environment_of(pid).get(MARK)
            # No mark, but another network: one of ours started it with a bare environment.
            if mark is None and processes.network_of(pid) not in (None, here):
                found.add(pid)
        return {pid: processes.command_of(pid) for pid in sorted(found - {self._machine.pid})}

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

    def _free_address(self) -> str:
        used = {taken for host in self.hosts.values() for taken in host.addresses}
        return next(free for free in HOMES if free not in used)

    def _router(self, name: str, address: str, ports: tuple[str, ...]) -> Host:
        namespace = self._namespace(name)
        router = Host(name, namespace, (address,), (WAN, LAN, *ports), self._machine)
        self._connect(router, WAN)
        in_namespace(namespace, ["sh", "-c", FORWARDING])
        self.hosts[name] = router
        return router

    def _connect(self, host: Host, interface: str) -> None:
        """Link a host to the internet: its own veth, host routes on both ends."""
        port = f"to{len(self.hosts)}"
        self._cable(self._internet, port, host.namespace, interface)
        ip(
            [
                f"link set {port} up",
                *(f"route add {address}/32 dev {port}" for address in host.addresses),
            ],
            namespace=self._internet,
        )
        ip(
            [
                *(f"addr add {address}/32 dev {interface}" for address in host.addresses),
                f"link set {interface} up",
                f"route add default via {ROUTER} dev {interface} onlink",
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

    def _cable(self, one: str, name: str, other: str, other_name: str) -> None:
        ip([f"link add {name} netns {one} type veth peer {other_name} netns {other}"])

    def _end_processes(self) -> None:
        ended = self.running()
        processes.end(ended, grace=2.0)
        ours = {process.pid for process in self._machine.started}
        for process in self._machine.started:
            process.poll()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        for orphan in set(ended) - ours:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(orphan, os.WNOHANG)


@contextlib.contextmanager
def _orphans_adopted() -> Iterator[None]:
    processes.adopt_orphans(True)
    try:
        yield
    finally:
        processes.adopt_orphans(False)


@contextlib.contextmanager
def _termination_raises() -> Iterator[None]:
    """SIGTERM and SIGHUP end the `with` like an exception, so that it cleans up."""
    with _handlers(_raise_exit, signal.SIGTERM, signal.SIGHUP):
        yield


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Nobody interrupts the cleaning up; it takes a second or two."""
    with _handlers(signal.SIG_IGN, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        yield


@contextlib.contextmanager
def _handlers(
    handler: Callable[[int, FrameType | None], None] | signal.Handlers, *numbers: signal.Signals
) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # Python hears none there
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _raise_exit(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
