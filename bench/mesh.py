"""Our mesh beside a WireGuard pair configured by hand, nebula and the bare link, side by side.

    python -m bench.mesh [--rounds 7] [--seconds 3] [--json]      as root; Debian: iperf3 nebula

Two homes joined by a veth. By hand: the system's wireguard-go and `wg` with their defaults; and the
wireguard-go that ours runs, if that is another. Nebula: the numbers of its example, and the larger
buffers that it names there. Ours: the same pair through the network helper, with the MTU that a
session finds on such a path. One TCP stream (iperf3, cubic) and ICMP echoes, rounds interleaved;
medians, and medians of the ratios of the rounds.
"""

import argparse
import asyncio
import base64
import contextlib
import ctypes
import json
import os
import random
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from nacl.public import PrivateKey
from rich.console import Console
from rich.table import Table

from agent.network_helper.client import NetworkHelper
from agent.wireguard.config import MOST_MTU, Endpoint, Interface, Peer, PeerMtu
from agent.wireguard.program import find_wireguard_go, version_of

HOMES = ("dmbench1", "dmbench2")
USER = 65534
SYSTEM = "/usr/sbin:/usr/bin:/sbin:/bin"
PINGS = 1500
NEEDED = {"iperf3": "iperf3", "wg": "wireguard-tools", "ping": "iputils-ping"}
LEAST_THROUGHPUT, MOST_RTT = 1.2, 1.05  # of the pair configured by hand
NEBULAS = {
    "nebula": {"listen": {}, "tun": {"mtu": 1300, "tx_queue": 500}},
    "nebula, large buffers": {
        "listen": {"read_buffer": 10_485_760, "write_buffer": 10_485_760},
        "tun": {"mtu": 1300, "tx_queue": 2000},
    },
}


@dataclass(frozen=True)
class Link:
    """One way from the first home to the second."""

    name: str
    client: str  # path of the namespace that sends
    server: str
    address: str


@dataclass(frozen=True)
class Measured:
    throughput: float  # Mbit/s
    rtt: float  # ms, median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options, _ = parser.parse_known_args()
    if os.geteuid() != 0:
        sys.exit("bench.mesh: needs root to make network namespaces")
    missing = [package for tool, package in NEEDED.items() if shutil.which(tool) is None]
    if missing:
        sys.exit(f"bench.mesh: not measured: apt-get install {' '.join(missing)}")
    results = asyncio.run(_measured(options.rounds, options.seconds))
    if options.json:
        print(json.dumps(_summary(results)))
    else:
        _print(results)


async def _measured(rounds: int, seconds: int) -> dict[str, list[Measured]]:
    async with AsyncExitStack() as stack:
        stack.enter_context(_homes())
        system = shutil.which("wireguard-go", path=SYSTEM) or "wireguard-go"
        built = find_wireguard_go(SYSTEM)
        stack.enter_context(_pair_by_hand(system, 9))
        others = {}
        if built is not None and built != system:
            stack.enter_context(_pair_by_hand(built, 8))
            others[f"by hand, {version_of(built)}"] = "10.8.0.2"
        one, two = (f"/run/netns/{home}" for home in HOMES)
        nebulas = stack.enter_context(_nebula_pairs())
        our_one, our_two = await _our_pair(stack)
        links = [
            Link("bare veth", one, two, "192.0.2.2"),
            Link("by hand", one, two, "10.9.0.2"),
            *(Link(name, one, two, address) for name, address in (others | nebulas).items()),
            Link("ours", our_one, our_two, "10.7.0.2"),
        ]
        _await(links)
        _go_first(os.getpid())
        results: dict[str, list[Measured]] = {link.name: [] for link in links}
        for number in range(rounds):
            turn = number % len(links)
            rtts = _rtts(links)
            for link in links[turn:] + links[:turn]:
                results[link.name].append(Measured(_throughput(link, seconds), rtts[link.name]))
    return results


def _summary(results: dict[str, list[Measured]]) -> dict[str, dict[str, float]]:
    median = statistics.median
    by_hand = results["by hand"]
    return {
        name: {
            "throughput_mbit": median(one.throughput for one in own),
            "rtt_ms": median(one.rtt for one in own),
            "throughput_ratio": median(
                one.throughput / hand.throughput for one, hand in zip(own, by_hand, strict=True)
            ),
            "rtt_ratio": median(one.rtt / hand.rtt for one, hand in zip(own, by_hand, strict=True)),
        }
        for name, own in results.items()
    }


def _print(results: dict[str, list[Measured]]) -> None:
    rounds = len(results["ours"])
    table = Table("", "TCP Mbit/s", "times by hand", "RTT ms", "times by hand")
    table.title = f"mesh, medians of {rounds} interleaved rounds"
    summary = _summary(results)
    for name, row in summary.items():
        table.add_row(
            name,
            f"{row['throughput_mbit']:.0f}",
            f"{row['throughput_ratio']:.2f}",
            f"{row['rtt_ms']:.3f}",
            f"{row['rtt_ratio']:.2f}",
        )
    console = Console()
    console.print(table)
    ours = summary["ours"]
    met = ours["throughput_ratio"] >= LEAST_THROUGHPUT and ours["rtt_ratio"] <= MOST_RTT
    console.print(
        f"aim: at least {LEAST_THROUGHPUT} of the throughput and at most {MOST_RTT} of the RTT "
        f"of the pair made by hand: {'met' if met else 'NOT met'}"
    )
    for name in NEBULAS.keys() & results.keys():
        ratio = statistics.median(
            own.throughput / theirs.throughput
            for own, theirs in zip(results["ours"], results[name], strict=True)
        )
        met = ratio >= 1
        console.print(f"aim: no less than {name}: {ratio:.2f} times: {'met' if met else 'NOT met'}")
    if not NEBULAS.keys() & results.keys():
        console.print("beside nebula: not measured: apt-get install nebula")


def _throughput(link: Link, seconds: int) -> float:
    command = ["iperf3", "--client", link.address, "--time", str(seconds), "-C", "cubic", "--json"]
    server = subprocess.Popen(
        [*_inside(link.server), "iperf3", "--server", "--bind", link.address],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(50):
            done = subprocess.run([*_inside(link.client), *command], capture_output=True)
            end = json.loads(done.stdout)["end"]
            if "sum_received" in end:
                return float(end["sum_received"]["bits_per_second"]) / 1e6
            time.sleep(0.1)  # the server is not there yet
        sys.exit(f"bench.mesh: iperf3: {done.stdout.decode()}")
    finally:
        server.kill()
        server.wait()


def _rtts(links: list[Link]) -> dict[str, float]:
    """Medians in ms of ICMP echoes, one on each link in turn: other work hits all alike."""
    with ExitStack() as stack:
        pinging = {link.name: stack.enter_context(_pinging(link)) for link in links}
        times: dict[str, list[float]] = {name: [] for name in pinging}
        for number in range(PINGS):
            for name, icmp in random.sample(sorted(pinging.items()), len(pinging)):
                times[name].append(_echo(icmp, number) * 1000)
    return {name: statistics.median(every) for name, every in times.items()}


def _pinging(link: Link) -> socket.socket:
    with _in_namespace(link.client):
        icmp = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    icmp.settimeout(1)
    icmp.connect((link.address, 0))
    return icmp


def _echo(icmp: socket.socket, number: int) -> float:
    echo = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, number).ljust(64, b"x")
    echo = echo[:2] + struct.pack("!H", _checksum(echo)) + echo[4:]
    time.sleep(0.001)
    began = time.perf_counter()
    icmp.send(echo)
    while icmp.recv(2048)[24:28] != echo[4:8]:
        pass
    return time.perf_counter() - began


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


@contextmanager
def _homes() -> Iterator[None]:
    one, two = HOMES
    _ip(f"netns add {one}", f"netns add {two}")
    try:
        _ip(f"link add veth1 netns {one} type veth peer name veth2 netns {two}")
        for number, home in enumerate(HOMES, 1):
            _ip(
                "link set lo up",
                f"addr add 192.0.2.{number}/24 dev veth{number}",
                f"link set veth{number} up",
                home=home,
            )
        yield
    finally:
        _ip(f"netns del {one}", f"netns del {two}")


@contextmanager
def _pair_by_hand(wireguard_go: str, network: int) -> Iterator[None]:
    """What a person would type: wireguard-go or the kernel's, `wg setconf`, addresses, up."""
    keys = PrivateKey.generate(), PrivateKey.generate()
    with ExitStack() as stack:
        for number, home in enumerate(HOMES, 1):
            name, port = f"dmbench{network}{number}", 51800 + 10 * network
            stack.callback(_ip, f"link del {name}", home=home)
            _interface_by_hand(name, home, wireguard_go)
            configuration = (
                f"[Interface]\nPrivateKey = {_text(bytes(keys[number - 1]))}\n"
                f"ListenPort = {port + number}\n"
                f"[Peer]\nPublicKey = {_text(bytes(keys[2 - number].public_key))}\n"
                f"AllowedIPs = 10.{network}.0.{3 - number}/32\n"
                f"Endpoint = 192.0.2.{3 - number}:{port + 3 - number}\n"
            )
            _run(
                [*_inside(f"/run/netns/{home}"), "wg", "setconf", name, "/dev/stdin"], configuration
            )
            address = f"10.{network}.0.{number}/24"
            _ip(f"addr add {address} dev {name}", f"link set {name} up", home=home)
        yield


def _interface_by_hand(name: str, home: str, wireguard_go: str) -> None:
    made = subprocess.run(
        [*_inside(f"/run/netns/{home}"), "ip", "link", "add", name, "type", "wireguard"],
        stderr=subprocess.DEVNULL,
        check=False,
    )
    if made.returncode != 0:
        _run([*_inside(f"/run/netns/{home}"), wireguard_go, name])


@contextmanager
def _nebula_pairs() -> Iterator[dict[str, str]]:
    """The second home's address in each of them; none where nebula is missing."""
    if shutil.which("nebula") is None:
        yield {}
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _run(["nebula-cert", "ca", "-name", "bench", *_files(folder, "ca")])
        addresses = {}
        for network, (name, settings) in enumerate(NEBULAS.items(), 77):
            for number, home in enumerate(HOMES, 1):
                file = f"{network}-{number}"
                sign = ["-ca-crt", f"{folder}/ca.crt", "-ca-key", f"{folder}/ca.key"]
                sign += ["-name", file, "-ip", f"10.{network}.0.{number}/24"]
                _run(["nebula-cert", "sign", *sign, *_files(folder, file)])
                words = _nebula_words(folder, network, number, settings)
                (folder / f"{file}.yml").write_text(json.dumps(words))  # which is YAML, too
                started = subprocess.Popen(
                    [*_inside(f"/run/netns/{home}"), "nebula", "-config", f"{folder}/{file}.yml"],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
                stack.callback(started.wait)
                stack.callback(started.kill)
            addresses[name] = f"10.{network}.0.2"
        yield addresses


def _nebula_words(
    folder: Path, network: int, number: int, settings: Mapping[str, Mapping[str, int]]
) -> dict[str, object]:
    other, port = 3 - number, 4200 + network
    anything = [{"port": "any", "proto": "any", "host": "any"}]
    return {
        "pki": {
            "ca": f"{folder}/ca.crt",
            "cert": f"{folder}/{network}-{number}.crt",
            "key": f"{folder}/{network}-{number}.key",
        },
        "static_host_map": {f"10.{network}.0.{other}": [f"192.0.2.{other}:{port}"]},
        "listen": {"host": "0.0.0.0", "port": port, **settings["listen"]},
        "tun": {"dev": f"nebula{network}", **settings["tun"]},
        "logging": {"level": "error"},
        "firewall": {"outbound": anything, "inbound": anything},
    }


def _files(folder: Path, name: str) -> list[str]:
    return ["-out-crt", f"{folder}/{name}.crt", "-out-key", f"{folder}/{name}.key"]


def _await(links: list[Link]) -> None:
    """Until an echo comes back on every link."""
    for link in links:
        ping = ["ping", "-c", "1", "-w", "20", link.address]
        _run([*_inside(link.client), *ping])


def _go_first(pid: int) -> None:
    """Other work on the machine disturbs this process and its descendants less.

    The kernel shares its processors between sessions (autogroup), so `nice` alone does nothing.
    """
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        _go_first(int(child))
    with contextlib.suppress(OSError):  # a kernel without autogroups
        Path(f"/proc/{pid}/autogroup").write_text("-10")


@contextmanager
def _in_namespace(path: str) -> Iterator[None]:
    """What this thread makes meanwhile belongs to that namespace."""
    libc = ctypes.CDLL(None)
    with Path("/proc/thread-self/ns/net").open() as here, Path(path).open() as there:
        libc.setns(there.fileno(), 0)
        try:
            yield
        finally:
            libc.setns(here.fileno(), 0)


async def _our_pair(stack: AsyncExitStack) -> list[str]:
    """The two namespaces of our pair."""
    keys = PrivateKey.generate(), PrivateKey.generate()
    namespaces = []
    for number, home in enumerate(HOMES, 1):
        with _in_namespace(f"/run/netns/{home}"):
            helper = await stack.enter_async_context(NetworkHelper.start(USER))
        await helper.create([f"10.7.0.{number}"], MOST_MTU)
        theirs = bytes(keys[2 - number].public_key)
        peer = Peer(theirs, (f"10.7.0.{3 - number}/32",))
        await helper.apply(Interface(bytes(keys[number - 1]), 50000 + number, (peer,)))
        address = (f"192.0.2.{3 - number}", 50003 - number)
        await helper.set_endpoints([Endpoint(theirs, address, 25)])
        await helper.set_mtus([PeerMtu(theirs, MOST_MTU)])
        child = await helper.launch(["sleep", "infinity"], {"PATH": "/bin"}, "/", 0, 1, 2)
        stack.callback(child.kill)
        namespaces.append(f"/proc/{child.pid}/ns/net")
    return namespaces


def _inside(namespace: str) -> list[str]:
    return ["nsenter", f"--net={namespace}", "--"]


def _ip(*lines: str, home: str | None = None) -> None:
    where = ["-netns", home] if home else []
    _run(["ip", *where, "-batch", "-"], "\n".join(lines) + "\n")


def _run(argv: list[str], text: str = "") -> None:
    null = subprocess.DEVNULL
    subprocess.run(argv, input=text, text=True, check=True, stdout=null, stderr=null)


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()


if __name__ == "__main__":
    main()
