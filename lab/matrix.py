"""Every place against every other: real agents, a real mediator, real WireGuard.

Each pair holds a session of its own; pairs run side by side, but no party is in two at once.
What came of it is compared with what RFC 4787 says of the two NATs.
"""

import itertools
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
from lab.late import LateOpening
from lab.listening import listen
from lab.pair import Cell, Pair, describe, judge
from lab.places import NEIGHBOURS, PLACES, Neighbours, Place, way
from lab.topology import Lab

MEDIATOR = "198.51.100.10"
PROGRAM = Path(__file__).parent / "programs" / "counting"
SECONDS_FOR_SESSION = 90.0
SECONDS_OF_COUNTING = 3  # in which a pair that can meet is to have met


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
    kinds: Sequence[str],
    *,
    jobs: int,
    say: Callable[[str], None],
    neighbours: bool = True,
    late: bool = False,
) -> Matrix:
    """Build a lab with two of each kind, check their NATs, and let every pair hold a session.

    With `late` a direct way opens only when the program of the pair counts.

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
        pairs = _play_all(cells, jobs, say, lab if late else None)
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


def _play_all(
    cells: Sequence[Cell], jobs: int, say: Callable[[str], None], late: Lab | None
) -> list[Pair]:
    """The pairs in the order of their cells; those of the lab `late` open late."""
    queue = _Queue(cells)
    pairs: dict[int, Pair] = {}
    pool = ThreadPoolExecutor(jobs)

    def work() -> None:
        for number, cell in queue:
            pairs[number] = pair = _play(cell, late)
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


def _play(cell: Cell, late: Lab | None) -> Pair:
    if late is None or cell.expected != "direct":
        return _hold_session(cell, None)
    with LateOpening(late, *(member.host for member in cell.members)) as opening:
        return _hold_session(cell, opening)


def _hold_session(cell: Cell, opening: LateOpening | None) -> Pair:
    roster = cell.members
    commands = {m.name: m.run(PROGRAM, roster, seconds=SECONDS_OF_COUNTING) for m in roster}
    told: dict[str, list[dict[str, Any]]] = {member.name: [] for member in roster}
    words: list[str] = []
    for line in listen(commands, SECONDS_FOR_SESSION):
        event = None if line.is_error else read_event(line.text)
        if event is not None:
            told[line.who].append(event)
            if opening is not None:
                opening.hear(line.who, event)
        elif line.text.strip():
            words.append(f"{line.who}: {line.text.strip()}")
    _end(commands.values())
    return judge(cell, list(told.values()), words, opening.opened_at if opening else None)


def _end(processes: "Iterable[subprocess.Popen[bytes]]") -> None:
    for process in processes:
        process.kill()  # only one that did not end in time is still there
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
