"""Every place against every other: real agents, a real mediator, real WireGuard.

Each pair holds a session of its own; pairs run side by side, but no party is in two at once.
What came of it is compared with what RFC 4787 says of the two NATs.
"""

import itertools
import json
import statistics
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.behaviour import FIREWALLED, PUBLIC, Behaviour, check, expected
from lab.commands import LabError
from lab.crew import Crew, Member, read_event
from lab.listening import listen
from lab.places import NEIGHBOURS, PLACES, Neighbours, Place, meet
from lab.topology import Lab

MEDIATOR = "198.51.100.10"
PROGRAM = Path(__file__).parent / "programs" / "adding"
SECONDS_FOR_SESSION = 90.0
WAITING_PER_JOB = 4  # pairs at a time of those that cannot meet, for one that can


@dataclass(frozen=True)
class Pair:
    """What came of two parties; times in ms from the first offer, None if there was none.

    `path` is "direct" or None; `reason` are the agents' own words where there is no path.
    """

    a: str
    b: str
    connected: bool
    path: str | None
    as_expected: bool
    expected: str  # "direct", or "relay" where no path without one can exist
    ms_to_relay: float | None
    ms_to_direct: float | None
    lost_packets: int | None
    endpoints: tuple[str, ...]
    reason: str | None


@dataclass(frozen=True)
class Cell:
    """A pair to come: two members, and whether they can meet without a relay."""

    a: str
    b: str
    members: tuple[Member, Member]
    can_meet: bool


@dataclass(frozen=True)
class Matrix:
    """`neighbours` are the pairs that share a LAN or a carrier; the others are `places`²."""

    places: tuple[str, ...]
    pairs: tuple[Pair, ...]
    neighbours: tuple[Pair, ...]

    def to_json(self) -> dict[str, Any]:
        everything = [asdict(pair) for pair in (*self.pairs, *self.neighbours)]
        return {"places": self.places, "pairs": everything, "summary": self.summary()}

    def summary(self) -> dict[str, Any]:
        pairs = (*self.pairs, *self.neighbours)
        times = sorted(pair.ms_to_direct for pair in pairs if pair.ms_to_direct is not None)
        return {
            "pairs": len(pairs),
            "connected": sum(pair.connected for pair in pairs),
            "direct": sum(pair.path == "direct" for pair in pairs),
            "direct_expected": sum(pair.expected == "direct" for pair in pairs),
            "as_expected": sum(pair.as_expected for pair in pairs),
            "ms_to_direct_median": statistics.median(times) if times else None,
            "ms_to_direct_worst": times[-1] if times else None,
        }

    def surprises(self) -> list[Pair]:
        return [pair for pair in (*self.pairs, *self.neighbours) if not pair.as_expected]


def matrix(
    kinds: Sequence[str], *, jobs: int, say: Callable[[str], None], neighbours: bool = True
) -> Matrix:
    """Build a lab with two of each kind, check their NATs, and let every pair hold a session.

    Raises: LabError, also if a NAT does not behave as it is called.
    """
    chosen = [_place(kind) for kind in kinds]
    with Lab() as lab:
        crew = Crew(lab)
        url = crew.start_mediator(MEDIATOR)
        rows, columns = (
            {place.name: _settle(crew, place, side) for place in chosen} for side in "ab"
        )
        beside = {
            n.name: _settle_beside(crew, n, i) for i, n in enumerate(NEIGHBOURS) if neighbours
        }
        say(f"{len(crew.members)} hosts are there; measuring their NATs")
        verify(lab, {f"{p.name}-{side}": p for p in chosen for side in "ab"})
        say("every NAT behaves as it is called; making DIDs")
        crew.create_dids(url, at_once=2 * jobs)
        crew.approve(PROGRAM, at_once=2 * jobs)
        cells = [
            Cell(a.name, b.name, (rows[a.name], columns[b.name]), meet(a, b))
            for a, b in itertools.combinations_with_replacement(chosen, 2)
        ]
        cells += [
            Cell(n.name, n.name, beside[n.name], n.meet) for n in NEIGHBOURS if n.name in beside
        ]
        pairs = _play_all(cells, jobs, say)
    count = len(cells) - len(beside)
    return Matrix(tuple(kinds), tuple(pairs[:count]), tuple(pairs[count:]))


def verify(lab: Lab, hosts: Mapping[str, Place]) -> None:
    """Measure the NATs of these hosts, and the firewalls of those with IPv6.

    Raises: LabError, naming the first that behaves otherwise than its place says.
    """
    for ipv6 in (False, True):
        wanted = {
            name: (_wanted6 if ipv6 else _wanted)(place)
            for name, place in hosts.items()
            if (place.ipv6 if ipv6 else place.ipv4)
        }
        for verdict in check(lab, {name: name for name in wanted}, wanted, ipv6=ipv6):
            if not verdict.verified:
                raise LabError(
                    f"the way out of {verdict.host} is {verdict.seen}, not {verdict.wanted}"
                )


def _wanted(place: Place) -> Behaviour:
    return PUBLIC if place.home is None else expected(place.nat)


def _wanted6(place: Place) -> Behaviour:
    return PUBLIC if place.ipv4 and place.home is None else FIREWALLED


def _place(kind: str) -> Place:
    try:
        return PLACES[kind]
    except KeyError:
        raise LabError(f"no kind {kind!r}", hint=f"there are {', '.join(PLACES)}") from None


def _settle(crew: Crew, place: Place, side: str) -> Member:
    name = f"{place.name}-{side}"
    return crew.hire(name, place.build(crew.lab, name))


def _settle_beside(crew: Crew, neighbours: Neighbours, number: int) -> tuple[Member, Member]:
    one, two = neighbours.build(crew.lab, f"beside{number}")
    return crew.hire(one.name, one), crew.hire(two.name, two)


def _play_all(cells: Sequence[Cell], jobs: int, say: Callable[[str], None]) -> list[Pair]:
    """The pairs in the order of their cells."""
    queue = _Queue(cells, jobs)
    pairs: dict[int, Pair] = {}
    workers = jobs * WAITING_PER_JOB
    pool = ThreadPoolExecutor(workers)

    def work() -> None:
        for number, cell in queue:
            pairs[number] = pair = _play(cell)
            say(f"{len(pairs):>4} of {len(cells)}  {describe(pair)}")

    try:
        for worker in [pool.submit(work) for _ in range(workers)]:
            worker.result()
    finally:
        queue.close()
        pool.shutdown(wait=False)
    return [pairs[number] for number in range(len(cells))]


class _Queue:
    """Cells, each given out once, as soon as both its members are free.

    Those who will meet share the processor, so only `jobs` of them at a time; the others mostly
    wait for each other.
    """

    def __init__(self, cells: Sequence[Cell], jobs: int) -> None:
        self._waiting = dict(enumerate(cells))
        self._busy: set[str] = set()
        self._free_jobs = jobs
        self._changed = threading.Condition()

    def __iter__(self) -> Iterator[tuple[int, Cell]]:
        while (taken := self._take()) is not None:
            try:
                yield taken
            finally:
                with self._changed:
                    self._busy -= {member.did for member in taken[1].members}
                    self._free_jobs += taken[1].can_meet
                    self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._waiting.clear()
            self._changed.notify_all()

    def _take(self) -> tuple[int, Cell] | None:
        with self._changed:
            while self._waiting:
                for number, cell in self._waiting.items():
                    dids = {member.did for member in cell.members}
                    if not dids & self._busy and (self._free_jobs or not cell.can_meet):
                        self._busy |= dids
                        self._free_jobs -= cell.can_meet
                        return number, self._waiting.pop(number)
                self._changed.wait()
        return None


def _play(cell: Cell) -> Pair:
    roster = cell.members
    commands = {m.name: m.run(PROGRAM, roster, n + 1) for n, m in enumerate(roster)}
    told: dict[str, list[dict[str, Any]]] = {member.name: [] for member in roster}
    words: list[str] = []
    for line in listen(commands, SECONDS_FOR_SESSION):
        event = None if line.is_error else read_event(line.text)
        if event is not None:
            told[line.who].append(event)
        elif line.text.strip():
            words.append(f"{line.who}: {line.text.strip()}")
    _end(commands.values())
    return _judge(cell, list(told.values()), words)


def _end(processes: "Iterable[subprocess.Popen[bytes]]") -> None:
    for process in processes:
        process.kill()  # only one that did not end in time is still there
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _judge(cell: Cell, told: Sequence[Sequence[Mapping[str, Any]]], words: Sequence[str]) -> Pair:
    paths = [event for said in told for event in said if event.get("event") == "path"]
    meshes = [event for said in told for event in said if event.get("event") == "mesh"]
    results = [event for said in told for event in said if event.get("event") == "result"]
    connected = len(paths) == len(meshes) == len(told)
    kinds = {path["kind"] for path in paths}
    path = kinds.pop() if connected and len(kinds) == 1 else None
    computed = [result.get("output") for result in results] == ["sum=3\n"] * len(told)
    ms = None
    if connected:
        began = min(mesh["t"] - mesh["seconds"] for mesh in meshes)
        ms = round((max(mesh["t"] for mesh in meshes) - began) * 1000, 1)
    return Pair(
        a=cell.a,
        b=cell.b,
        connected=connected,
        path=path,
        as_expected=(path == "direct") == cell.can_meet and computed == connected,
        expected="direct" if cell.can_meet else "relay",
        ms_to_relay=None,
        ms_to_direct=ms if path == "direct" else None,
        lost_packets=None,
        endpoints=tuple(path["endpoint"] for path in paths),
        reason=None if connected and computed else _reason(told, words),
    )


def _reason(told: Sequence[Sequence[Mapping[str, Any]]], words: Sequence[str]) -> str:
    """The most telling words of two agents that failed."""
    events = [event for said in told for event in said]
    for name in ("no-path", "error"):
        for event in events:
            if name in (event.get("name"), event.get("event")):
                return str(event.get("text"))
    return words[-1] if words else json.dumps(events[-1]) if events else "they said nothing"


def describe(pair: Pair) -> str:
    """One line about a pair for a person."""
    how = f"{pair.path} in {pair.ms_to_direct:.0f} ms" if pair.ms_to_direct else "no path"
    verdict = "" if pair.as_expected else f"   NOT EXPECTED: {pair.expected}; {pair.reason or ''}"
    who = pair.a if pair.a == pair.b and pair.a not in PLACES else f"{pair.a} - {pair.b}"
    return f"{who:<44} {how}{verdict}"
