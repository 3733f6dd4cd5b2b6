"""Real agents in a lobby: what it costs each, and how soon they compute once all have agreed.

    python -m bench.gathering [--parties 20] [--rounds 3] [--json]      as root

Every party has a home behind a port-restricted NAT, 50 ms of round trip from any other and from the
mediator. Processor time is that of an agent's whole process tree, from its first word in the lobby
until everybody has signed; what it took to start, passphrase not included, is told apart. From the
last consent (a guest's owner has agreed to the program, and given its input) it is counted to the
moment when the slowest of three parties has the result of the program's first round, in which it
starts Python and MPyC.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lab.commands import LabError
from lab.crew import Crew, Member, read_event
from lab.link import Link, Way
from lab.listening import listen
from lab.nat import NatKind
from lab.topology import Lab

MEDIATOR = "198.51.100.10"
LINK = Link.both(Way(delay=12.5))
PROGRAMS = Path(__file__).parents[1] / "lab" / "programs"
ROUND, GREETING = PROGRAMS / "first_round", PROGRAMS / "greeting"
SECONDS = 600.0
TICKS = os.sysconf("SC_CLK_TCK")
Told = list[dict[str, Any]]


@dataclass(frozen=True)
class Cost:
    """Processor seconds of one agent."""

    start: float  # until it opened the lobby, or knocked
    lobby: float  # from there until everybody had signed


@dataclass(frozen=True)
class Begun:
    """Seconds since the last consent, at the slowest party."""

    signed: float  # everybody has signed the roster
    agreed: float  # and the session
    mesh: float
    program: float  # it is started
    first_round: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parties", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options, _ = parser.parse_known_args()
    if os.geteuid() != 0:
        sys.exit("bench.gathering: needs root to make network namespaces")
    begun = _begun(options.rounds) if options.rounds else []
    costs = _costs(options.parties) if options.parties else []
    if options.json:
        print(json.dumps({"begun": [*map(asdict, begun)], "costs": [*map(asdict, costs)]}))
        return
    if begun:
        _print_begun(begun)
    if costs:
        _print_costs(costs)


def _begun(rounds: int) -> list[Begun]:
    with Lab() as lab:
        crew = _crew(lab, 3, ROUND)
        return [_one_begun(crew.members) for _ in range(rounds)]


def _one_begun(members: list[Member]) -> Begun:
    commands = _lobby(members, ROUND, *("--input", "number=2"))
    told: Told = []
    for line in listen(commands, SECONDS):
        event = None if line.is_error else read_event(line.text)
        if event is not None:
            told.append(event)
    results = [event["output"] or "" for event in told if event["event"] == "result"]
    moments = [float(found[1]) for text in results if (found := re.search(r"at=([\d.]+)", text))]
    if len(moments) < len(members):
        raise LabError(f"no session: {[e['text'] for e in told if e['event'] == 'error']}")
    ready = [event for event in told if event.get("what") == "ready" and "did" not in event]
    consent = max(event["t"] for event in ready)

    def last(**facts: str) -> float:
        fitting = [e["t"] for e in told if facts.items() <= e.items()]
        return round(max(fitting) - consent, 3)

    return Begun(
        signed=last(event="lobby", what="began"),
        agreed=last(event="step", name="agreed"),
        mesh=last(event="mesh"),
        program=last(event="step", name="run"),
        first_round=round(max(moments) - consent, 3),
    )


def _costs(count: int) -> list[Cost]:
    """Of each agent, the host's first."""
    with Lab() as lab:
        members = _crew(lab, count, GREETING).members
        commands = _lobby(members, GREETING)
        started: dict[str, float] = {members[0].name: _processor_seconds(commands[members[0].name])}
        ended: dict[str, float] = {}
        errors: Told = []
        for line in listen(commands, SECONDS):
            event = (None if line.is_error else read_event(line.text)) or {}
            if event.get("what") == "knocked":
                started[line.who] = _processor_seconds(commands[line.who])
            elif event.get("what") == "began":
                ended[line.who] = _processor_seconds(commands[line.who])
            elif event.get("event") == "error":
                errors.append(event)
            if len(ended) == count:
                break
        for process in commands.values():
            process.send_signal(signal.SIGINT)
        for process in commands.values():
            process.communicate()
    if len(ended) < count:
        raise LabError(f"the lobby did not begin: {errors[:1]}")
    return [Cost(started[one.name], ended[one.name] - started[one.name]) for one in members]


def _lobby(members: list[Member], program: Path, *words: str) -> dict[str, subprocess.Popen[bytes]]:
    """The first one hosts; the others knock as soon as there is a link."""
    alike = ("--yes", "--json", *words)
    host, *guests = members
    seats = ("--seats", str(len(members)), "--admit", "anyone")
    hosting = host.start("host", str(program), *seats, *alike, as_root=True)
    link = _link(hosting)
    joining = {one.name: one.start("join", link, *alike, as_root=True) for one in guests}
    return {host.name: hosting, **joining}


def _link(hosting: subprocess.Popen[bytes]) -> str:
    assert hosting.stdout is not None
    for line in hosting.stdout:
        event = read_event(line) or {}
        if event.get("what") == "open":
            return str(event["link"])
    raise LabError("the host opens no lobby")


def _crew(lab: Lab, count: int, program: Path) -> Crew:
    crew = Crew(lab)
    url = crew.start_mediator(MEDIATOR, link=LINK)
    for number in range(count):
        name = f"home{number}"
        crew.hire(name, lab.home(name, nat=NatKind.PORT_RESTRICTED.nat, link=LINK).host)
    crew.create_dids(url, at_once=2)
    crew.approve(program, at_once=2)
    return crew


def _processor_seconds(process: subprocess.Popen[bytes]) -> float:
    """Of a process and all its descendants, those that have ended and were waited for included."""
    children: dict[int, list[int]] = {}
    spent: dict[int, float] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        number = int(path.parent.name)
        children.setdefault(int(words[1]), []).append(number)
        spent[number] = sum(map(int, words[11:15])) / TICKS
    found, waiting = 0.0, [process.pid]
    while waiting:
        number = waiting.pop()
        found += spent.get(number, 0.0)
        waiting += children.get(number, [])
    return found


def _print_begun(begun: list[Begun]) -> None:
    table = Table(*Begun.__annotations__)
    table.title = f"three parties, 50 ms apart; s after the last consent, medians of {len(begun)}"
    medians: Mapping[str, float] = {
        name: statistics.median(getattr(one, name) for one in begun)
        for name in Begun.__annotations__
    }
    table.add_row(*(f"{value:.2f}" for value in medians.values()))
    Console().print(table)


def _print_costs(costs: list[Cost]) -> None:
    table = Table("", "start", "lobby", "together")
    table.title = f"a lobby of {len(costs)}; processor seconds of an agent's process tree"
    host, *guests = costs
    middle = sorted(guests, key=lambda one: one.lobby)[len(guests) // 2]
    most = max(guests, key=lambda one: one.lobby)
    for name, one in (("host", host), ("guest, median", middle), ("guest, most", most)):
        table.add_row(name, *(f"{n:.2f}" for n in (one.start, one.lobby, one.start + one.lobby)))
    Console().print(table)


if __name__ == "__main__":
    main()
