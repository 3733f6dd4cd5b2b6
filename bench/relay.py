"""Every relay of ours beside the direct path and coturn, through the same namespaces in one run.

    python -m bench.relay [--rounds 3] [--seconds 3] [--json]      as root

Two parties and a relay on a small internet, wireguard-go at both ends. TCP: one iperf3 stream
inside the tunnel; it and the streams of WebSockets are cubic's, whatever the machine's default.
RTT: echoes inside it. Alone: 1,400-byte datagrams that come through without WireGuard, as fast as
one process sends them, 32 in a call as a wireguard-go of today does; coturn's from the side without
an allocation, so that no client of ours is in the way. The ways take turns; medians, and medians of
the ratios to the direct path of the same round.
"""

import argparse
import base64
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from nacl.public import PrivateKey
from rich.console import Console
from rich.table import Table

from agent.wireguard.device import most_packets
from lab.commands import LabError
from lab.host import Host
from lab.topology import Lab
from tests.support.certificates import certify

RELAY, ONE, TWO = "198.51.100.10", "203.0.113.201", "203.0.113.202"
PORTS = 51001, 51002  # of WireGuard
NAMES = "dmrelay1", "dmrelay2"
SOCKET = "/var/run/wireguard/{}.sock"
USER = 65534
MTU = 1280
NEEDED = {"iperf3": "iperf3", "wg": "wireguard-tools", "wireguard-go": "wireguard-go"}
ENDS = (sys.executable, "-m", "bench.relay_ends")


@dataclass(frozen=True)
class Way:
    """Where each party's WireGuard sends; `alone` where the first sends datagrams without it."""

    endpoints: tuple[str, str]
    alone: str | None = None
    server: str | None = None  # of TURN; the second sends then, to what the first gets from it


Opened: TypeAlias = contextlib.AbstractContextManager[Way]


@dataclass(frozen=True)
class Measured:
    tcp: float  # Mbit/s
    rtt: float  # ms
    alone: float | None  # datagrams a second


class Bench:
    def __init__(self, lab: Lab, folder: Path) -> None:
        self.relay = lab.public("relay", RELAY)
        self.parties = lab.public("one", ONE), lab.public("two", TWO)
        for host in (self.relay, *self.parties):
            route = host.run(["ip", "-4", "route", "show", "default"]).split()
            host.run(["ip", "route", "replace", *route, "congctl", "cubic"])
        self.folder = folder
        self.keys = PrivateKey.generate(), PrivateKey.generate()
        self.certificate = certify(folder)
        folder.chmod(0o755)
        shutil.chown(self.certificate, USER)

    def ways(self) -> dict[str, Callable[[], Opened]]:
        ways: dict[str, Callable[[], Opened]] = {
            "direct": self.direct,
            "kernel relay": lambda: self.udp("kernel"),
            "Python UDP relay": lambda: self.udp("python"),
            "WebSocket": lambda: self.websocket(tls=False),
            "WebSocket, TLS": lambda: self.websocket(tls=True),
        }
        if shutil.which("turnserver"):
            ways["coturn, TURN/UDP"] = self.coturn
        return ways

    @contextlib.contextmanager
    def direct(self) -> Iterator[Way]:
        yield Way((f"{TWO}:{PORTS[1]}", f"{ONE}:{PORTS[0]}"), f"{TWO}:{PORTS[1]}")

    @contextlib.contextmanager
    def udp(self, how: str) -> Iterator[Way]:
        argv = [sys.executable, "-m", "tests.support.relay_host", RELAY, "41000-41003", how]
        relay = first(self.relay, argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with _ended(relay):
            facts = json.loads(_line(relay))
            if facts["forwarding"] != how:
                sys.exit(f"bench.relay: the relay forwards in {facts['forwarding']}, not {how}")
            relay.stdin.write(b"\n")
            relay.stdin.flush()
            tickets = json.loads(_line(relay))
            for host, ticket, port in zip(self.parties, tickets, PORTS, strict=True):
                host.run([*ENDS, "bind", json.dumps(ticket), str(port)])
            time.sleep(0.2)
            place = f"{RELAY}:{tickets[0]['port']}"
            yield Way((place, place), place)
            relay.stdin.close()

    @contextlib.contextmanager
    def websocket(self, *, tls: bool) -> Iterator[Way]:
        url = f"http{'s' * tls}://{RELAY}:8080"
        data = Path(tempfile.mkdtemp(dir=self.folder))
        shutil.chown(data, USER)
        argv = [sys.executable, "-m", "mediator", "run", "--listen", f"{RELAY}:8080"]
        argv += ["--public-url", url, "--metrics", "off", "--data", str(data / "m.db"), "--json"]
        argv += ["--relay-kernel", "false", "--relay-rate", "100000"]
        if tls:
            file = str(self.certificate)
            argv += ["--tls-certificate", file, "--tls-key", file]
        mediator = first(self.relay, argv, user=USER, stdout=subprocess.PIPE)
        with contextlib.ExitStack() as stack:
            stack.enter_context(_ended(mediator))
            did = json.loads(_line(mediator))["did"]
            asking = [sys.executable, "-m", "tests.support.relay_tickets", url, did]
            endpoints = []
            for host, ticket, port in zip(
                self.parties, json.loads(self.parties[0].run(asking)), PORTS, strict=True
            ):
                end = first(
                    host,
                    [*ENDS, "websocket", json.dumps(ticket), str(port)],
                    stdout=subprocess.PIPE,
                )
                stack.enter_context(_ended(end))
                endpoints.append(f"127.0.0.1:{_line(end)}")
            yield Way((endpoints[0], endpoints[1]))

    @contextlib.contextmanager
    def coturn(self) -> Iterator[Way]:
        """One party has an allocation, the other sends to its relayed address."""
        argv = ["turnserver", "-n", "-c", "/dev/null", "-L", RELAY, "--no-tls", "--no-dtls"]
        argv += ["--no-cli", "-a", "-u", "bench:bench", "-r", "bench", "--log-file", "/dev/null"]
        argv += ["--pidfile", str(self.folder / "turn.pid"), "--userdb", str(self.folder / "t.db")]
        server = first(self.relay, argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with _ended(server):
            time.sleep(1.0)
            end = first(
                self.parties[0],
                [*ENDS, "turn", f"{RELAY}:3478", str(PORTS[0]), f"{TWO}:{PORTS[1]}"],
                stdout=subprocess.PIPE,
            )
            with _ended(end):
                relayed, local = _line(end).split()
                yield Way((f"127.0.0.1:{local}", relayed), server=f"{RELAY}:3478")

    # Measuring

    def measure(self, way: Callable[[], Opened], seconds: int) -> Measured:
        with way() as path:
            alone = self.alone(path, seconds)
            with self.wireguard(path.endpoints):
                return Measured(self.tcp(seconds), self.rtt(), alone)

    def alone(self, way: Way, seconds: int) -> float | None:
        (one, two), (port_of_one, port_of_two) = self.parties, map(str, PORTS)
        if way.server is not None:
            words = ["allocate", way.server, f"{TWO}:{port_of_two}", str(seconds)]
            counting, flooding, port = one, two, port_of_two
        elif way.alone is not None:
            words = ["count", port_of_two, str(seconds)]
            counting, flooding, port = two, one, port_of_one
        else:
            return None
        counter = first(counting, [*ENDS, *words], stdout=subprocess.PIPE)
        with _ended(counter):
            ready = _line(counter)
            target = way.alone or ready
            run_first(flooding, [*ENDS, "flood", port, target, str(seconds + 0.5)])
            return float(_line(counter))

    @contextlib.contextmanager
    def wireguard(self, endpoints: tuple[str, str]) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for number, (host, name) in enumerate(zip(self.parties, NAMES, strict=True)):
                # `wg` removes one that a killed process left, at the moment when another begins.
                host.run(["rm", "-f", SOCKET.format(name)])
                stack.enter_context(_ended(first(host, ["wireguard-go", "-f", name])))
                _wait_for(host, name)
                other = self.keys[1 - number].public_key
                file = self.folder / f"{name}.conf"
                file.write_text(
                    f"[Interface]\nPrivateKey = {_text(bytes(self.keys[number]))}\n"
                    f"ListenPort = {PORTS[number]}\n[Peer]\nPublicKey = {_text(bytes(other))}\n"
                    f"AllowedIPs = 10.9.0.{2 - number}/32\nEndpoint = {endpoints[number]}\n"
                )
                host.run(["wg", "setconf", name, str(file)])
                host.run(["ip", "addr", "add", f"10.9.0.{number + 1}/24", "dev", name])
                host.run(["ip", "link", "set", name, "mtu", str(MTU), "up"])
                packets = str(most_packets(MTU))
                host.run(["ip", "link", "set", name, "gso_max_segs", packets])
            self.parties[0].run([*ENDS, "ping", "10.9.0.2", "1"])
            yield

    def tcp(self, seconds: int) -> float:
        one, two = self.parties
        server = first(two, ["iperf3", "-s", "-1"], stdout=subprocess.DEVNULL)
        with _ended(server):
            time.sleep(0.3)
            argv = ["iperf3", "-c", "10.9.0.2", "-t", str(seconds), "-C", "cubic", "-J"]
            facts = json.loads(run_first(one, argv))
        return float(facts["end"]["sum_received"]["bits_per_second"]) / 1e6

    def rtt(self) -> float:
        return float(run_first(self.parties[0], [*ENDS, "ping", "10.9.0.2", "400"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options, _ = parser.parse_known_args()
    if os.geteuid() != 0:
        sys.exit("bench.relay: needs root to make network namespaces")
    missing = [package for tool, package in NEEDED.items() if shutil.which(tool) is None]
    if missing:
        sys.exit(f"bench.relay: not measured: apt-get install {' '.join(missing)}")
    if shutil.which("turnserver") is None:
        print("bench.relay: without coturn: apt-get install coturn", file=sys.stderr)
    results: dict[str, list[Measured]] = {}
    with Lab() as lab, tempfile.TemporaryDirectory() as folder:
        bench = Bench(lab, Path(folder))
        for _ in range(options.rounds):
            for name, way in bench.ways().items():
                results.setdefault(name, []).append(bench.measure(way, options.seconds))
    summary = _summary(results)
    print(json.dumps(summary)) if options.json else _print(summary, options.rounds)


def first(host: Host, argv: list[str], **options: Any) -> "subprocess.Popen[bytes]":
    """A process that goes before everything else on this machine that is not measured."""
    process = host.popen(argv, **options)
    with contextlib.suppress(OSError):  # a kernel without groups of sessions
        Path(f"/proc/{process.pid}/autogroup").write_text("-15")
    return process


def run_first(host: Host, argv: list[str]) -> str:
    process = first(host, argv, stdout=subprocess.PIPE)
    with _ended(process):
        output, _ = process.communicate(timeout=60)
    return str(output.decode())


def _wait_for(host: Host, interface: str) -> None:
    deadline = time.monotonic() + 5
    ready = SOCKET.format(interface)
    while time.monotonic() < deadline:
        with contextlib.suppress(LabError):
            host.run(["test", "-S", ready])
            host.run(["wg", "show", interface])
            return
        time.sleep(0.05)
    sys.exit("bench.relay: wireguard-go does not start")


def _summary(results: dict[str, list[Measured]]) -> dict[str, dict[str, float | None]]:
    median, direct = statistics.median, results["direct"]
    return {
        name: {
            "tcp_mbit": median(one.tcp for one in own),
            "tcp_ratio": median(a.tcp / b.tcp for a, b in zip(own, direct, strict=True)),
            "rtt_ms": median(one.rtt for one in own),
            "added_rtt_ms": median(a.rtt - b.rtt for a, b in zip(own, direct, strict=True)),
            "alone_pps": None if own[0].alone is None else median(one.alone or 0 for one in own),
        }
        for name, own in results.items()
    }


def _print(summary: dict[str, dict[str, float | None]], rounds: int) -> None:
    table = Table("", "TCP Mbit/s", "times direct", "RTT ms", "added ms", "alone, datagrams/s")
    table.title = f"relays, medians of {rounds} rounds"
    for name, row in summary.items():
        alone = row["alone_pps"]
        table.add_row(
            name,
            f"{row['tcp_mbit']:.0f}",
            f"{row['tcp_ratio']:.2f}",
            f"{row['rtt_ms']:.2f}",
            f"{row['added_rtt_ms']:.2f}",
            "-" if alone is None else f"{alone:,.0f}",
        )
    Console().print(table)


@contextlib.contextmanager
def _ended(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def _line(process: "subprocess.Popen[bytes]") -> str:
    line = process.stdout.readline().decode().strip() if process.stdout else ""
    if not line:
        sys.exit("bench.relay: a process of it ended before it was ready")
    return line


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()


if __name__ == "__main__":
    main()
