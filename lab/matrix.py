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
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lab.behaviour import FIREWALLED, PUBLIC, Behaviour, check, expected
from lab.commands import LabError
from lab.crew import Crew, Member, read_event
from lab.listening import listen
from lab.places import NEIGHBOURS, PLACES, WORST_FIRST, Neighbours, Place, way
from lab.topology import Lab

MEDIATOR = "198.51.100.10"
PROGRAM = Path(__file__).parent / "programs" / "counting"
SECONDS_FOR_SESSION = 90.0
SECONDS_OF_COUNTING = 3  # in which a pair that can meet is to have met


@dataclass(frozen=True)
class Pair:
    """What came of two parties; times in ms from the first offer.

    `ms_to_relay` is when both heard each other through WireGuard, if that was by a relay at first;
    `ms_to_direct` is when the last of both had a direct path. `lost_packets` are those of a steady
    100 a second each way while the program ran, `counted_upgrade` says whether the path became
    direct meanwhile. `reason` are the agents' own words where a session failed.
    """

    a: str
    b: str
    connected: bool
    path: str | None  # "direct", "relay", "degraded" (over a stream), as it was at last
    as_expected: bool
    expected: str  # the same words; direct wherever a path without a relay can exist
    ms_to_relay: float | None = None
    ms_to_direct: float | None = None
    lost_packets: int | None = None
    sent_packets: int | None = None
    counted_upgrade: bool = False
    endpoints: tuple[str, ...] = ()
    reason: str | None = None


@dataclass(frozen=True)
class Cell:
    """A pair to come: two members, and which path RFC 4787 lets them have."""

    a: str
    b: str
    members: tuple[Member, Member]
    expected: str


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
        direct = sorted(pair.ms_to_direct for pair in pairs if pair.ms_to_direct is not None)
        relay = sorted(pair.ms_to_relay for pair in pairs if pair.ms_to_relay is not None)
        return {
            "pairs": len(pairs),
            "connected": sum(pair.connected for pair in pairs),
            "direct": sum(pair.path == "direct" for pair in pairs),
            "direct_expected": sum(pair.expected == "direct" for pair in pairs),
            "as_expected": sum(pair.as_expected for pair in pairs),
            "sent_packets": sum(pair.sent_packets or 0 for pair in pairs),
            "lost_packets": sum(pair.lost_packets or 0 for pair in pairs),
            "counted_upgrades": sum(pair.counted_upgrade for pair in pairs),
            "ms_to_relay_median": statistics.median(relay) if relay else None,
            "ms_to_relay_worst": relay[-1] if relay else None,
            "ms_to_direct_median": statistics.median(direct) if direct else None,
            "ms_to_direct_worst": direct[-1] if direct else None,
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
            Cell(a.name, b.name, (rows[a.name], columns[b.name]), way(a, b))
            for a, b in itertools.combinations_with_replacement(chosen, 2)
        ]
        cells += [
            Cell(n.name, n.name, beside[n.name], n.way) for n in NEIGHBOURS if n.name in beside
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
    queue = _Queue(cells)
    pairs: dict[int, Pair] = {}
    pool = ThreadPoolExecutor(jobs)

    def work() -> None:
        for number, cell in queue:
            pairs[number] = pair = _play(cell)
            say(f"{len(pairs):>4} of {len(cells)}  {describe(pair)}")

    try:
        for worker in [pool.submit(work) for _ in range(jobs)]:
            worker.result()
    finally:
        queue.close()
        pool.shutdown(wait=False)
    return [pairs[number] for number in range(len(cells))]


class _Queue:
    """Cells, each given out once, as soon as both its members are free."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._waiting = dict(enumerate(cells))
        self._busy: set[str] = set()
        self._changed = threading.Condition()

    def __iter__(self) -> Iterator[tuple[int, Cell]]:
        while (taken := self._take()) is not None:
            try:
                yield taken
            finally:
                with self._changed:
                    self._busy -= {member.did for member in taken[1].members}
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
                    if not dids & self._busy:
                        self._busy |= dids
                        return number, self._waiting.pop(number)
                self._changed.wait()
        return None


def _play(cell: Cell) -> Pair:
    roster = cell.members
    commands = {m.name: m.run(PROGRAM, roster, seconds=SECONDS_OF_COUNTING) for m in roster}
    told: dict[str, list[dict[str, Any]]] = {member.name: [] for member in roster}
    words: list[str] = []
    for line in listen(commands, SECONDS_FOR_SESSION):
        event = None if line.is_error else read_event(line.text)
        if event is not None:
            told[line.who].append(event)
        elif line.text.strip():
            words.append(f"{line.who}: {line.text.strip()}")
    _end(commands.values())
    return judge(cell, list(told.values()), words)


def _end(processes: "Iterable[subprocess.Popen[bytes]]") -> None:
    for process in processes:
        process.kill()  # only one that did not end in time is still there
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def judge(cell: Cell, told: Sequence[Sequence[Mapping[str, Any]]], words: Sequence[str]) -> Pair:
    paths = [[event for event in said if event.get("event") == "path"] for said in told]
    meshes = [event for said in told for event in said if event.get("event") == "mesh"]
    counted = _counted([event for said in told for event in said if event.get("event") == "result"])
    connected = all(paths) and len(meshes) == len(told)
    at_last = {said[-1]["kind"] for said in paths} if connected else set()
    path = next((kind for kind in WORST_FIRST if kind in at_last), None)
    done = connected and counted is not None
    pair = Pair(
        a=cell.a,
        b=cell.b,
        connected=connected,
        path=path,
        as_expected=path == cell.expected and done,
        expected=cell.expected,
        endpoints=tuple(said[-1]["endpoint"] for said in paths if said),
        reason=None if done else _reason(told, words),
    )
    return _timed(pair, paths, meshes, counted) if connected else pair


def _timed(
    pair: Pair,
    paths: Sequence[Sequence[Mapping[str, Any]]],
    meshes: Sequence[Mapping[str, Any]],
    counted: Mapping[str, float] | None,
) -> Pair:
    began = min(mesh["t"] - mesh["seconds"] for mesh in meshes)
    usable = max(mesh["t"] for mesh in meshes)
    direct = None
    if pair.path == "direct":
        firsts = [next(e["t"] for e in said if e["kind"] == "direct") for said in paths]
        direct = max(*firsts, usable)
    relayed = {said[0]["kind"] for said in paths} != {"direct"}
    found = replace(
        pair,
        ms_to_relay=round((usable - began) * 1000, 1) if relayed else None,
        ms_to_direct=None if direct is None else round((direct - began) * 1000, 1),
    )
    if counted is None:
        return found
    return replace(
        found,
        lost_packets=int(counted["lost"]),
        sent_packets=int(counted["sent"]),
        counted_upgrade=direct is not None and counted["from"] < direct < counted["to"],
    )


def _counted(results: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    """What the program at both parties has printed, if they agree."""
    outputs = {result.get("output") for result in results}
    if len(results) != 2 or len(outputs) != 1:
        return None
    words = [word.split("=") for word in str(outputs.pop()).split()]
    if [word[0] for word in words] != ["lost", "sent", "from", "to"]:
        return None
    return {name: float(value) for name, value in words}


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
    times = (("relay", pair.ms_to_relay), ("direct", pair.ms_to_direct))
    how = ", ".join(f"{kind} in {ms:.0f} ms" for kind, ms in times if ms is not None) or "no path"
    lost = f", {pair.lost_packets} of {pair.sent_packets} lost" if pair.lost_packets else ""
    verdict = "" if pair.as_expected else f"   NOT EXPECTED: {pair.expected}; {pair.reason or ''}"
    who = pair.a if pair.a == pair.b and pair.a not in PLACES else f"{pair.a} - {pair.b}"
    return f"{who:<44} {how}{lost}{verdict}"
