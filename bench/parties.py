"""How a session's set-up grows with its parties: real agents behind NATs, one real mediator.

    python -m bench.parties [--counts 2,5,10,20] [--json]      as root

Every party has a home behind a port-restricted NAT. The mediator goes before the parties, as it
would on a machine of its own. Counted at the mediator: the messages that were forwarded, per party
and other party, over the whole session. The program says one word.
"""

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lab.commands import LabError
from lab.crew import Crew, Member, read_event
from lab.listening import listen
from lab.nat import NatKind
from lab.topology import Lab

MEDIATOR = "198.51.100.10"
PROGRAM = Path(__file__).parents[1] / "lab" / "programs" / "greeting"
SECONDS = 240.0


@dataclass(frozen=True)
class Measured:
    """Times in seconds."""

    parties: int
    pairs: int
    whole: float  # from the last agent's start to the last mesh
    mesh: float  # from the first offer to the last mesh
    mails: float  # per party and other party
    direct: int  # pairs that were direct as the mesh came up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", default="2,5,10,20")
    parser.add_argument("--json", action="store_true")
    options, _ = parser.parse_known_args()
    if os.geteuid() != 0:
        sys.exit("bench.parties: needs root to make network namespaces")
    counts = [int(count) for count in options.counts.split(",")]
    results = _measured(counts)
    if options.json:
        print(json.dumps([asdict(one) for one in results]))
    else:
        _print(results)


def _measured(counts: Sequence[int]) -> list[Measured]:
    with Lab() as lab:
        crew = Crew(lab)
        url = crew.start_mediator(MEDIATOR)
        with contextlib.suppress(OSError):  # a kernel without groups of sessions
            Path(f"/proc/{crew.mediator}/autogroup").write_text("-15")
        for number in range(max(counts)):
            name = f"home{number}"
            crew.hire(name, lab.home(name, nat=NatKind.PORT_RESTRICTED.nat).host)
        crew.create_dids(url, at_once=2)
        crew.approve(PROGRAM, at_once=2)
        results = []
        for count in counts:
            try:
                results.append(_session(lab, crew.members[:count]))
            except LabError as error:
                print(f"bench.parties: {error}", file=sys.stderr)
        return results


def _session(lab: Lab, members: Sequence[Member]) -> Measured:
    before = _forwarded(lab)
    commands = {member.name: member.run(PROGRAM, members) for member in members}
    started = time.time()
    told: dict[str, list[dict[str, Any]]] = {member.name: [] for member in members}
    words: list[str] = []
    for line in listen(commands, SECONDS):
        event = None if line.is_error else read_event(line.text)
        if event is not None:
            told[line.who].append(event)
        elif line.text.strip():
            words.append(f"{line.who}: {line.text.strip()}")
    meshes = [event for said in told.values() for event in said if event["event"] == "mesh"]
    ends = [event for said in told.values() for event in said if event["event"] == "result"]
    count = len(members)
    if len(meshes) < count or [end["output"] for end in ends] != ["hello\n"] * count:
        errors = [
            event["text"] for said in told.values() for event in said if "error" in event["event"]
        ]
        raise LabError(f"{count} parties: no session: {(errors or words or ['no word'])[-1]}")
    offered = min(mesh["t"] - mesh["seconds"] for mesh in meshes)
    last = max(mesh["t"] for mesh in meshes)
    kinds = [  # of each pair's end, as the mesh came up
        {event["did"]: event["kind"] for event in reversed(said) if event["event"] == "path"}
        for said in told.values()
    ]
    return Measured(
        parties=count,
        pairs=count * (count - 1) // 2,
        whole=round(last - started, 2),
        mesh=round(last - offered, 2),
        mails=round((_forwarded(lab) - before) / (count * (count - 1)), 2),
        direct=sum(kind == "direct" for own in kinds for kind in own.values()) // 2,
    )


def _forwarded(lab: Lab) -> float:
    """How many messages the mediator has taken to keep, ever."""
    read = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9464/metrics').read().decode())"
    text = lab.hosts["mediator"].run([sys.executable, "-c", read])
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if line.startswith("didmesh_messages_total") and "forward" in line and "accepted" in line
    )


def _print(results: Sequence[Measured]) -> None:
    table = Table("parties", "pairs", "direct at once", "start to mesh", "offers to mesh", "mails")
    table.title = "set-up of a session; mails are per party and other party, the whole session long"
    for one in results:
        row = (one.parties, one.pairs, one.direct, f"{one.whole:.1f} s", f"{one.mesh:.1f} s")
        table.add_row(*map(str, row), f"{one.mails:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
