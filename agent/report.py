"""What a running lobby or session tells: lines for a person, or JSON lines for a program.

Both get the same events. A person reads progress on standard error and finds the program's result,
and nothing else, on standard output; a program reads one JSON object a line on standard output.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Protocol, TextIO

from agent.plain import plain


class Report(Protocol):
    def event(self, kind: str, /, **facts: Any) -> None: ...


@dataclass
class JsonReport:
    """One JSON object a line: `event`, `t` (Unix seconds) and the event's facts."""

    stream: TextIO = field(default_factory=lambda: sys.stdout)

    def event(self, kind: str, /, **facts: Any) -> None:
        line = json.dumps({"event": kind, "t": round(time.time(), 3), **facts})
        print(line, file=self.stream, flush=True)


@dataclass
class PlainReport:
    """Progress with the seconds since the start; the result alone on standard output."""

    progress: TextIO = field(default_factory=lambda: sys.stderr)
    result: TextIO = field(default_factory=lambda: sys.stdout)
    _began: float = field(default_factory=time.monotonic)

    def event(self, kind: str, /, **facts: Any) -> None:
        match kind:
            case "step" | "sandbox" | "lobby" | "contact":
                self._say(facts["text"])
            case "phrase":
                self._say(f"phrase: {facts['words']}   (the same at everybody, or stop)")
            case "path":
                by = f" ({facts['by']})" if "by" in facts else ""
                self._say(
                    f"{facts['party']}: {facts['kind']} path{by}, {facts['endpoint']},"
                    f" {facts['rtt_ms']:.1f} ms"
                )
            case "mesh":
                self._say(f"mesh up {facts['seconds']:.2f} s after the first offer")
            case "result":
                if facts["output"] is not None:
                    print(facts["output"], end="", file=self.result, flush=True)
                if facts["transcript"]:
                    self._say(f"transcript: {facts['transcript']}")
            case "error":
                print(f"agent: {plain(facts['text'])}", file=self.progress, flush=True)
                if facts["hint"]:
                    print(f"agent: hint: {facts['hint']}", file=self.progress, flush=True)
            case "cleanup":
                self._say(
                    f"cleaned up: {facts['interfaces']} interfaces, {facts['namespaces']}"
                    f" namespaces, {facts['processes']} processes left"
                )

    def _say(self, text: str) -> None:
        seconds = time.monotonic() - self._began
        print(f"{seconds:6.1f} s  {plain(text)}", file=self.progress, flush=True)
