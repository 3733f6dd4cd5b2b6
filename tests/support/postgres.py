"""An ordinary PostgreSQL cluster in a folder of its own, on a Unix socket, as Debian ships it."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.mediator_process import ORDINARY, folder

OWNER = "didmesh"
SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "64MB",
    "max_connections": "60",
    # After a kill it would else sync each of the thousands of files that tests have made.
    "recovery_init_sync_method": "syncfs",
}
SECONDS_TO_START = 60.0
MEMORY = Path("/dev/shm")
ENOUGH = 4 << 30  # bytes: the databases of all tests, and what is written ahead of them


class Cluster:
    """Runs as an ordinary user, since the server refuses root."""

    def __init__(self, path: Path, programs: Path) -> None:
        self._path = path
        self._programs = programs
        self._user = pwd.getpwnam(ORDINARY).pw_uid if os.geteuid() == 0 else None
        self._numbers = itertools.count(1)
        self._run("initdb", "--no-sync", "--auth=trust", f"--username={OWNER}", "-D", self._data)
        self.start()

    def start(self) -> None:
        settings = {**SETTINGS, "unix_socket_directories": str(self._path)}
        self._server = subprocess.Popen(
            [
                self._programs / "postgres",
                *("-D", self._data),
                *(word for item in settings.items() for word in ("-c", "=".join(item))),
            ],
            cwd=self._path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._user,
            group=self._user,
            extra_groups=None if self._user is None else [],
        )
        deadline = time.monotonic() + SECONDS_TO_START
        while self._is_ready() != 0:
            assert self._server.poll() is None, "the server ended before it was ready"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: at once, in order; SIGQUIT: as a crash would."""
        self._server.send_signal(how)
        self._server.wait(timeout=30)

    @property
    def pid(self) -> int:
        return self._server.pid

    def database(self) -> str:
        """The URL of a new, empty one."""
        name = f"d{next(self._numbers)}"
        self._run("createdb", "-h", self._path, "-U", OWNER, name)
        return f"postgresql://{OWNER}@/{name}?host={self._path}"

    def _is_ready(self) -> int:
        return self._run("pg_isready", "-q", "-h", self._path, check=False)

    @property
    def _data(self) -> Path:
        return self._path / "data"

    def _run(self, program: str, *arguments: object, check: bool = True) -> int:
        return subprocess.run(
            [self._programs / program, *map(str, arguments)],
            cwd=self._path,
            check=check,
            stdout=subprocess.DEVNULL,
            stderr=None if check else subprocess.DEVNULL,
            user=self._user,
            group=self._user,
            extra_groups=None if self._user is None else [],
        ).returncode


@contextmanager
def cluster(parent: Path | None = None) -> Iterator[Cluster]:
    programs = find_programs()
    assert programs is not None, "PostgreSQL is not installed"
    with folder(parent) as path:
        started = Cluster(path, programs)
        try:
            yield started
        finally:
            started.stop(signal.SIGQUIT)  # what it has is thrown away


def in_memory() -> Path | None:
    """Where no disk keeps a test waiting, if there is room: it stays when a server is killed."""
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH else None


def find_programs() -> Path | None:
    """The newest that Debian installed, else what PATH has."""
    installed: Sequence[Path] = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3])
    )
    if installed:
        return installed[-1].parent
    found = shutil.which("initdb")
    return None if found is None else Path(found).resolve().parent
