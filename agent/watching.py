"""Running sessions as people follow them: a table, and what waits until paths are good enough.

All of it reads the files of `agent.running`, which sessions write once a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.plain import plain
from agent.running import RunningSession, running_sessions

if TYPE_CHECKING:
    from rich.console import RenderableType

LOOK = 0.2  # seconds between two looks at the files
COLUMNS = ("party", "path", "endpoint", "RTT", "MTU", "in", "out", "for", "why, and the next try")
USABLE = frozenset({"direct", "relay", "degraded"})
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def looks(folder: Path, seconds: float) -> Iterator[list[RunningSession]]:
    """The sessions that run, again and again for so long."""
    until = time.monotonic() + seconds
    while True:
        yield running_sessions(folder)
        if time.monotonic() + LOOK > until:
            return
        time.sleep(LOOK)


def state_of(sessions: Sequence[RunningSession]) -> str:
    """The worst of all pairs: none (also without a session), usable or direct."""
    paths = [path for session in sessions for path in session.paths.values()]
    if not paths or any(not is_usable(path) for path in paths):
        return "none"
    return "direct" if all(path.get("kind") == "direct" for path in paths) else "usable"


def is_usable(path: Mapping[str, Any]) -> bool:
    """Something came back through the mesh."""
    return path.get("kind") in USABLE and "answered" in path


def table(
    sessions: Sequence[RunningSession], name: Callable[[str], str], now: float
) -> RenderableType:
    """A rich table a session; `name` gives the words for a DID."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    if not sessions:
        return Text("no session runs here")
    tables = []
    for session in sessions:
        title = f"session {session.session[:16]} (process {session.pid})"
        made = Table(*COLUMNS, title=Text(plain(title)), title_justify="left")
        for party, path in session.paths.items():
            made.add_row(*(Text(plain(cell)) for cell in row(name(party), path, now)))
        tables.append(made)
    return Group(*tables)


def row(party: str, path: Mapping[str, Any], now: float) -> tuple[str, ...]:
    """One pair, a cell a column."""
    rtt = path.get("mesh_rtt_ms", path.get("rtt_ms"))
    return (
        party,
        str(path.get("kind", "none")),
        str(path.get("endpoint", "")),
        "" if rtt is None else f"{rtt} ms",
        str(path.get("mtu", "")),
        _bytes(path.get("rx_bytes")),
        _bytes(path.get("tx_bytes")),
        _span(now - path["since"]) if "since" in path else "",
        why(path, now),
    )


def why(path: Mapping[str, Any], now: float) -> str:
    """Why it is no direct one, and when something better is tried; empty where it is direct."""
    words = [str(path["why"])] if path.get("why") else []
    if "next_try" in path:
        words.append(f"next try in {_span(max(0.0, path['next_try'] - now))}")
    return "; ".join(words)


def _bytes(number: Any) -> str:
    if not isinstance(number, int):
        return ""
    value, unit = float(number), 0
    while value >= 1024 and unit < len(UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {UNITS[unit]}" if unit else f"{number} B"


def _span(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
