"""The sessions that run on this machine, as their processes write them down.

A session keeps $DIDMESH_HOME/sessions/PID-RANDOM.json, a socket of the same name with .sock over
which it answers (`agent.telling`), and a work folder without an ending, for as long as it lives:

    {"pid": 4711, "session": "<hash of the descriptor>", "parties": ["did:…", …],
     "paths": {"did:…": {"kind": "direct", …}, …}}

The work folder is locked by whoever it belongs to. Without a lock it is left over from a crash, and
the next session removes it. (Numbers of processes say nothing: a session may have a pid namespace
of its own, and numbers are given again.)
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent.rootless.handover import process_id
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


class Traces:
    """All that our own session keeps on the disk while it runs."""

    def __init__(self, folder: Path) -> None:
        sessions = folder / "sessions"
        sessions.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(sessions):  # a folder that has no lock yet must not be taken for a left one
            _sweep(sessions)
            self.workdir = sessions / f"{process_id()}-{secrets.token_hex(8)}"
            self.workdir.mkdir(mode=0o700)
            self._lock = os.open(self.workdir, os.O_RDONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._file = self.workdir.with_suffix(".json")
        self.socket = self.workdir.with_suffix(".sock")

    def write(self, session: RunningSession) -> None:
        """Tell other processes; replaces what was there, never leaving half of it."""
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(session.to_json()))
        new.replace(self._file)

    def remove(self) -> None:
        self._file.unlink(missing_ok=True)
        shutil.rmtree(self.workdir, ignore_errors=True)
        os.close(self._lock)


def _sweep(sessions: Path) -> None:
    """Remove what processes that were killed could not."""
    for path in sessions.iterdir():
        if not path.name[0].isdecimal() or _is_held(path.with_suffix("")):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def running_sessions(folder: Path) -> list[RunningSession]:
    """Those below `folder` whose process lives, in the order of their files' names."""
    found = []
    for path in sorted((folder / "sessions").glob("*.json")):
        try:
            session = _read(json.loads(path.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # being written, or not ours
        if _is_held(path.with_suffix("")):
            found.append(session)
    return found


def socket_of(folder: Path, session: RunningSession) -> Path | None:
    """Where this session answers, if it does already."""
    return next((folder / "sessions").glob(f"{session.pid}-*.sock"), None)


def _read(value: Mapping[str, Any]) -> RunningSession:
    parties, paths = value["parties"], value["paths"]
    if not isinstance(paths, dict):
        raise TypeError("paths")
    return RunningSession(int(value["pid"]), str(value["session"]), tuple(parties), paths)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_held(workdir: Path) -> bool:
    """Whether its session lives. Held for a moment by whoever asks, which harms nobody."""
    try:
        descriptor = os.open(workdir, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _short(path: Any) -> str:
    """The words of a path that fit on a line; why it is relayed is one of them."""
    if not isinstance(path, dict):
        return str(path)
    words = [str(path[name]) for name in ("kind", "endpoint") if name in path]
    if "by" in path:
        words.insert(1, f"({path['by']})")
    if "rtt_ms" in path:
        words.append(f"{path['rtt_ms']} ms")
    if "why" in path:
        words.append(f"since {path['why']}")
    return " ".join(words)
