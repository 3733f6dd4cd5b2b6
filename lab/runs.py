"""A lab's name on the machine: made once, found again by whoever has to clean up.

Everything a lab makes carries the name of its run: its namespaces
(`didmesh-lab-PID-XXXX-HOST`), its directory (`/run/didmesh-lab-PID-XXXX`) and
the environment of every process in it. The lab holds a lock in the directory
for as long as it lives, so a run without a holder is a leftover.
"""

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab import processes
from lab.commands import LabError, ip

RUNTIME = Path("/run")
NETNS = RUNTIME / "netns"
MARK = "DIDMESH_LAB"  # environment variable of every process of a run

ROUNDS = 5

RUN = re.compile(r"didmesh-lab-\d+-[0-9a-f]{4}")


@dataclass(frozen=True)
class Leftovers:
    """What of a run exists on the machine; false if nothing does."""

    namespaces: tuple[str, ...] = ()
    processes: tuple[int, ...] = ()
    directories: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.namespaces or self.processes or self.directories)


def new_name() -> str:
    return f"didmesh-lab-{os.getpid()}-{secrets.token_hex(2)}"


class Run:
    """A new run's directory, locked while this object is open."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.directory = RUNTIME / name
        # Locked before it has its name: nobody ever finds a new run without a holder.
        unnamed = RUNTIME / f".{name}"
        unnamed.mkdir(mode=0o711)
        self._lock = os.open(unnamed / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        unnamed.rename(self.directory)

    def close(self) -> None:
        os.close(self._lock)


def find() -> list[str]:
    """The names of all runs that have left a trace on this machine."""
    places = [path.name for folder in (RUNTIME, NETNS) for path in _entries(folder)]
    return sorted({match.group() for name in places if (match := RUN.match(name))})


def is_alive(run: str) -> bool:
    """Whether the lab that made this run still holds it."""
    try:
        lock = os.open(RUNTIME / run / "lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def leftovers(run: str) -> Leftovers:
    namespaces = tuple(sorted(path.name for path in _namespaces(run)))
    living = processes.with_environment(MARK, run)
    living |= processes.in_network_namespaces(list(_namespaces(run)))
    directory = RUNTIME / run
    directories = (str(directory),) if directory.exists() else ()
    return Leftovers(namespaces, tuple(sorted(living)), directories)


def remove(run: str) -> None:
    """End the processes of a run, then remove its namespaces and its directory."""
    for _ in range(ROUNDS):  # one that forks while we look is found in the next round
        found = leftovers(run)
        if not found.processes:
            break
        processes.end(found.processes)
    if found.namespaces:
        ip(f"netns del {name}" for name in found.namespaces)
    _remove_directory(RUNTIME / run)


def _remove_directory(directory: Path) -> None:
    mounted = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    if any(point.startswith(f"{directory}/") for point in mounted):
        raise LabError(f"something is mounted below {directory}; it stays as it is")
    shutil.rmtree(directory, ignore_errors=True)


def _namespaces(run: str) -> Iterator[Path]:
    return (path for path in _entries(NETNS) if path.name.startswith(f"{run}-"))


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.exists() else []
