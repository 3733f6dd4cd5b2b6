"""The sessions that run on this machine, as their processes write them down.

A session keeps one file, $DIDMESH_HOME/sessions/*.json, for as long as it lives:

    {"pid": 4711, "session": "<hash of the descriptor>", "parties": ["did:…", …],
     "paths": {"did:…": {"kind": "direct", …}, …}}

A file whose process is gone is left over from a crash and does not count.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from identity.did import shorten


@dataclass(frozen=True)
class RunningSession:
    """What is written down of one session."""

    pid: int
    session: str
    parties: tuple[str, ...]
    paths: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "parties": list(self.parties)}

    def lines(self) -> Iterator[tuple[str, str]]:
        """Each party and how it is reached, in short."""
        for party in self.parties:
            path = self.paths.get(party)
            yield shorten(party), "" if path is None else _short(path)


class SessionFile:
    """Our own session's file; it is there from the first `write` until `remove`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "sessions" / f"{secrets.token_hex(8)}.json"

    def write(self, session: RunningSession) -> None:
        """Replaces what was there, never leaving half of it."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(session.to_json()))
        new.replace(self._path)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


def running_sessions(folder: Path) -> list[RunningSession]:
    """Those below `folder` whose process lives, in the order of their files' names."""
    found = []
    for path in sorted((folder / "sessions").glob("*.json")):
        try:
            session = _read(json.loads(path.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # being written, or not ours
        if _alive(session.pid):
            found.append(session)
    return found


def _read(value: Mapping[str, Any]) -> RunningSession:
    parties, paths = value["parties"], value["paths"]
    if not isinstance(paths, dict):
        raise TypeError("paths")
    return RunningSession(int(value["pid"]), str(value["session"]), tuple(parties), paths)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _short(path: Any) -> str:
    if not isinstance(path, dict):
        return str(path)
    return " ".join(f"{value}" for value in path.values())
