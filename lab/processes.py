"""Which processes belong to whom, read from /proc; and ending them."""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Collection, Iterator
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36

PROC = Path("/proc")


def adopt_orphans(adopt: bool) -> None:
    """Make this process the parent of descendants whose own parent dies.

    So nothing that was started in a lab can get out of sight by forking twice.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def descendants(ancestor: int) -> set[int]:
    """All living processes below `ancestor`, zombies left out."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    waiting = [ancestor]
    while waiting:
        below = children.get(waiting.pop(), [])
        found.update(below)
        waiting.extend(below)
    return {pid for pid in found if not _is_zombie(pid)}


def in_network_namespaces(namespaces: Collection[Path]) -> set[int]:
    """All processes whose network namespace is one of these files."""
    inodes = set()
    for path in namespaces:
        with contextlib.suppress(OSError):
            inodes.add(path.stat().st_ino)
    return {pid for pid in _pids() if network_of(pid) in inodes}


def with_environment(name: str, value: str) -> set[int]:
    """All processes that were started with this environment variable."""
    return {pid for pid in _pids() if environment_of(pid).get(name) == value}


def environment_of(pid: int) -> dict[str, str]:
    """What a process was started with; empty for one that is gone."""
    try:
        entries = (PROC / str(pid) / "environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    return dict(entry.split("=", 1) for entry in entries.split("\0") if "=" in entry)


def network_of(pid: int) -> int | None:
    """The inode of a process's network namespace; None if it is gone."""
    try:
        return (PROC / str(pid) / "ns/net").stat().st_ino
    except OSError:
        return None


def command_of(pid: int) -> str:
    try:
        words = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return "?"
    return b" ".join(words).decode(errors="replace").strip()


def end(pids: Collection[int], *, grace: float = 0.0) -> None:
    """Ask processes to end, and after `grace` seconds make them."""
    if grace:
        _signal(pids, signal.SIGTERM)
        _wait_until_gone(pids, grace)
    _signal(pids, signal.SIGKILL)
    _wait_until_gone(pids, 5.0)


def _signal(pids: Collection[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _wait_until_gone(pids: Collection[int], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(_is_running(pid) for pid in pids):
        time.sleep(0.01)


def _is_running(pid: int) -> bool:
    return (PROC / str(pid)).exists() and not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    state = _stat(pid)
    return state is None or state[0] in "ZX"


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def _parents() -> Iterator[tuple[int, int]]:
    for pid in _pids():
        stat = _stat(pid)
        if stat is not None:
            yield pid, int(stat[1])


def _stat(pid: int) -> list[str] | None:
    """/proc/PID/stat from the state on: state, parent, …; None if it is gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()
