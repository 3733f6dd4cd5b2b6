"""How soon three parties behind NATs reach each other: our agents beside nebula and tinc.

    python -m bench.meeting [--rounds 3] [--json]      as root; Debian: nebula tinc iputils-ping

Three homes behind port-restricted NATs, 50 ms of round trip between any two, 100 ms by way of the
helper on a public address: our mediator and its relay, nebula's lighthouse and relay, tinc's hub.
Nebula and tinc are configured by hand and ping every 20 ms. Ours counts from the first offer;
"from nothing" also has the interpreter, the agreement and all signatures in it.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lab.commands import LabError
from lab.crew import Crew, Member, read_event
from lab.host import Host
from lab.link import Link, Way
from lab.listening import listen
from lab.nat import NatKind
from lab.topology import Lab

HELPER = "198.51.100.10"
PROGRAM = Path(__file__).parents[1] / "lab" / "programs" / "greeting"
LINK = Link.both(Way(delay=12.5))
DIRECT_RTT = 75.0  # ms; by way of the helper it is more
SECONDS = 60.0
NEEDED = {"nebula": "nebula", "tincd": "tinc", "ping": "iputils-ping"}
PORT = 4242


@dataclass(frozen=True)
class Met:
    """Seconds until the slowest pair; infinite where a pair never came so far."""

    usable: float
    direct: float
    from_nothing: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options, _ = parser.parse_known_args()
    if os.geteuid() != 0:
        sys.exit("bench.meeting: needs root to make network namespaces")
    missing = [package for tool, package in NEEDED.items() if shutil.which(tool) is None]
    if missing:
        print(f"bench.meeting: not here: apt-get install {' '.join(missing)}", file=sys.stderr)
    ways: dict[str, Callable[[], Met]] = {"didmesh": _ours}
    if "iputils-ping" not in missing:
        ways |= {"nebula": _nebula} if "nebula" not in missing else {}
        ways |= {"tinc": _tinc} if "tinc" not in missing else {}
    results: dict[str, list[Met]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, meet in ways.items():
            results[name].append(meet())
    summary = {name: _medians(met) for name, met in results.items()}
    if options.json:
        print(json.dumps(summary))
    else:
        _print(summary, options.rounds)


def _medians(met: Sequence[Met]) -> dict[str, float]:
    return {
        "usable": statistics.median(one.usable for one in met),
        "direct": statistics.median(one.direct for one in met),
        "from_nothing": statistics.median(one.from_nothing for one in met),
    }


def _print(summary: Mapping[str, Mapping[str, float]], rounds: int) -> None:
    table = Table("", "usable", "direct", "from nothing")
    table.title = f"three parties, 50 ms apart; seconds to the slowest pair, medians of {rounds}"
    for name, row in summary.items():
        table.add_row(name, *(f"{row[word]:.2f}" for word in ("usable", "direct", "from_nothing")))
    Console().print(table)


# Ours


def _ours() -> Met:
    with Lab() as lab:
        crew = Crew(lab)
        url = crew.start_mediator(HELPER, link=LINK)
        for number in range(3):
            crew.hire(f"home{number}", _home(lab, number))
        crew.create_dids(url, at_once=2)
        crew.approve(PROGRAM, at_once=2)
        return _session(crew.members)


def _session(members: Sequence[Member]) -> Met:
    started = time.time()
    commands = {member.name: member.run(PROGRAM, members) for member in members}
    told: list[dict[str, Any]] = []
    for line in listen(commands, SECONDS):
        event = None if line.is_error else read_event(line.text)
        if event is not None:
            told.append({**event, "who": line.who})
    meshes = [event for event in told if event["event"] == "mesh"]
    if len(meshes) < len(members):
        raise LabError(f"no session: {[e['text'] for e in told if e['event'] == 'error']}")
    offered = min(mesh["t"] - mesh["seconds"] for mesh in meshes)
    usable = max(mesh["t"] for mesh in meshes)
    paths = {(event["who"], event["did"]): event for event in told if event["event"] == "path"}
    all_direct = all(path["kind"] == "direct" for path in paths.values())
    direct = max(path["t"] for path in paths.values()) - offered if all_direct else float("inf")
    return Met(usable - offered, direct, usable - started)


# Theirs


def _nebula() -> Met:
    with Lab() as lab:
        helper, homes = lab.public("helper", HELPER, link=LINK), [_home(lab, n) for n in range(3)]
        folder = lab.directory / "nebula"
        folder.mkdir()
        _run(folder, "nebula-cert", "ca", "-name", "bench")
        for number, name in enumerate(("helper", "home0", "home1", "home2")):
            address = f"10.77.0.{number + 1}/24"
            _run(folder, "nebula-cert", "sign", "-name", name, "-ip", address)
            (folder / f"{name}.yml").write_text(_nebula_words(folder, name, number))
        return _meet(
            [helper, *homes],
            [["nebula", "-config", str(folder / f"{host.name}.yml")] for host in (helper, *homes)],
            ["10.77.0.2", "10.77.0.3", "10.77.0.4"],
        )


def _nebula_words(folder: Path, name: str, number: int) -> str:
    helps = number == 0
    words = {
        "pki": {
            "ca": str(folder / "ca.crt"),
            "cert": str(folder / f"{name}.crt"),
            "key": str(folder / f"{name}.key"),
        },
        "static_host_map": {"10.77.0.1": [f"{HELPER}:{PORT}"]},
        "lighthouse": {"am_lighthouse": helps, "hosts": [] if helps else ["10.77.0.1"]},
        "listen": {"host": "0.0.0.0", "port": PORT},
        "punchy": {"punch": True, "respond": True},
        "relay": {"am_relay": helps, "use_relays": True, "relays": [] if helps else ["10.77.0.1"]},
        "tun": {"dev": f"bench{number}"},
        "logging": {"level": "error"},
        "firewall": {
            way: [{"port": "any", "proto": "any", "host": "any"}] for way in ("outbound", "inbound")
        },
    }
    return json.dumps(words)  # which is YAML, too


def _tinc() -> Met:
    with Lab() as lab:
        helper, homes = lab.public("helper", HELPER, link=LINK), [_home(lab, n) for n in range(3)]
        hosts = [helper, *homes]
        for number, host in enumerate(hosts):
            folder = lab.directory / f"tinc{number}"
            (folder / "hosts").mkdir(parents=True)
            connect = "" if number == 0 else "ConnectTo = helper\n"
            words = f"Name = {host.name}\nInterface = bench{number}\nMode = router\n{connect}"
            (folder / "tinc.conf").write_text(words)
            up = f"#!/bin/sh\nip addr add 10.77.0.{number + 1}/24 dev $INTERFACE\n"
            (folder / "tinc-up").write_text(f"{up}ip link set $INTERFACE up\n")
            (folder / "tinc-up").chmod(0o755)
            public = f"Address = {HELPER}\n" if number == 0 else ""
            own = folder / "hosts" / host.name
            own.write_text(f"{public}Subnet = 10.77.0.{number + 1}/32\n")
            _run(folder, "tincd", "-c", str(folder), "-K2048")
        for number, host in enumerate(hosts):
            for other in range(len(hosts)):
                if other != number:
                    source = lab.directory / f"tinc{number}" / "hosts" / host.name
                    shutil.copy(source, lab.directory / f"tinc{other}" / "hosts")
        folders = [lab.directory / f"tinc{number}" for number in range(4)]
        return _meet(
            hosts,
            [["tincd", "-c", str(f), "-D", f"--pidfile={f}/pid"] for f in folders],
            ["10.77.0.2", "10.77.0.3", "10.77.0.4"],
        )


def _meet(hosts: Sequence[Host], daemons: Sequence[list[str]], addresses: Sequence[str]) -> Met:
    """Start the helper, then everybody at once, and ping until all is direct."""
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    hosts[0].popen(daemons[0], **quiet)
    time.sleep(2)
    started = time.time()
    for host, daemon in zip(hosts[1:], daemons[1:], strict=True):
        host.popen(daemon, **quiet)
    pings = [
        host.popen(
            ["sh", "-c", f"while ! ping -D -n -i 0.02 -w {SECONDS:.0f} {address}; do :; done"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for number, host in enumerate(hosts[1:])
        for address in addresses[number + 1 :]
    ]
    first: dict[int, float] = {}
    direct: dict[int, float] = {}
    commands = {str(number): ping for number, ping in enumerate(pings)}
    for line in listen(commands, SECONDS / 2):
        said = re.match(r"\[([\d.]+)\] .* time=([\d.]+) ms", line.text)
        if said:
            at, rtt = float(said[1]) - started, float(said[2])
            first.setdefault(int(line.who), at)
            if rtt < DIRECT_RTT:
                direct.setdefault(int(line.who), at)
        if len(direct) == len(pings):
            break
    usable = max(first.values()) if len(first) == len(pings) else float("inf")
    reached = max(direct.values()) if len(direct) == len(pings) else float("inf")
    return Met(usable, reached, usable)


def _home(lab: Lab, number: int) -> Host:
    return lab.home(f"home{number}", nat=NatKind.PORT_RESTRICTED.nat, link=LINK).host


def _run(folder: Path, *argv: str) -> None:
    subprocess.run(argv, cwd=folder, check=True, capture_output=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
