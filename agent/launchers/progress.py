"""The lines that a launcher writes to stderr while it works, for the agent to show and watch.

    didmesh: EVENT [DONE/TOTAL] [NAME=VALUE …] [; a sentence for people]

| event | fields | says |
|---|---|---|
| listening | address, port | the own port is open |
| connected | DONE/TOTAL, party | one more of the other parties is connected |
| refused | source | somebody was turned away; the sentence says why |
| started | | every party is connected, the program computes |
| running | sent, received (bytes) | at most every 2 s, and only if something moved |
| lost | party | the connection to a party ended before the computation did |
| failed | code | the last line of a run that failed: the exit code, and the reason |
| finished | sent, received (bytes), seconds | the last line of a run that succeeded |

Every other line on stderr is the program's own. A program could write such lines itself: what
they say is good for showing and for giving up early, never for trusting a result.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

_LINE = re.compile(
    r"didmesh: (?P<event>[a-z]+)(?: (?P<done>\d{1,4})/(?P<total>\d{1,4}))?"
    r"(?P<fields>(?: [a-z]+=[^\s;]+)*)(?:; (?P<sentence>.*))?",
    re.ASCII,
)


class Event(StrEnum):
    LISTENING = "listening"
    CONNECTED = "connected"
    REFUSED = "refused"
    STARTED = "started"
    RUNNING = "running"
    LOST = "lost"
    FAILED = "failed"
    FINISHED = "finished"


@dataclass(frozen=True)
class Progress:
    event: Event
    count: tuple[int, int] | None = None
    """How many of how many."""
    fields: Mapping[str, str] = field(default_factory=dict)
    sentence: str = ""

    def serialize(self) -> str:
        """One line without its end."""
        words = [f"didmesh: {self.event}"]
        if self.count:
            words.append(f"{self.count[0]}/{self.count[1]}")
        words += [f"{name}={value}" for name, value in self.fields.items()]
        return " ".join(words) + (f"; {self.sentence}" if self.sentence else "")


def parse_progress(line: str) -> Progress | None:
    """Read one line of stderr; None for a line that is the program's own."""
    match = _LINE.fullmatch(line.rstrip("\r\n"))
    if match is None or match["event"] not in list(Event):
        return None
    return Progress(
        Event(match["event"]),
        (int(match["done"]), int(match["total"])) if match["done"] else None,
        dict(word.split("=", 1) for word in match["fields"].split()),
        match["sentence"] or "",
    )


def tell(progress: Progress) -> None:
    print(progress.serialize(), file=sys.stderr, flush=True)
