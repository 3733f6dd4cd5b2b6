"""What a program may touch beside the mesh: the command line that shuts it in.

The session's network namespace is always there; it is the network helper's work. Within it the
program's first process, already an ordinary user's, becomes one of these:

| level | how | the program sees |
|---|---|---|
| A | bubblewrap and limits | a read-only system, its own files, a work folder in memory |
| B | limits alone | all that its user may see |

Nothing runs without the namespace, so there is no level below B. Which of the two it is gets
measured on the machine (`agent.sandboxing`), told to the person, and is then insisted on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

INSIDE: Final = Path("/home/party")
"""The work folder as a program at level A sees it."""

MEMORY: Final = 4 << 30  # bytes of address space, of each process
PROCESSES: Final = 256  # and threads, at level A; at B they would count all of the user's
FILE_SIZE: Final = 64 << 20  # bytes, of each file
ROOM: Final = 64 << 20  # bytes in all, each in the work folder, /tmp and /dev/shm; in memory
OPEN_FILES: Final = 1024
FIRST_TO_DIE: Final = 1000  # what the kernel takes first when memory ends


class Level(StrEnum):
    A = "A"
    B = "B"


WORDS: Final[Mapping[Level, str]] = {
    Level.A: "sandbox level A: it reaches the parties alone, and sees neither your files nor your"
    " other programs",
    Level.B: "sandbox level B: it reaches the parties alone, but can read your files",
}


@dataclass(frozen=True)
class System:
    """What of this machine a program needs to run, each as it is; found by `agent.sandboxing`."""

    bwrap: str
    links: Mapping[str, str] = field(default_factory=dict)
    """Of the root folder's links to system folders: name -> target, "/lib" -> "usr/lib"."""
    shown: tuple[str, ...] = ()
    """Files and folders that are shown read-only where they are."""


@dataclass(frozen=True)
class Sandbox:
    system: System | None
    """None: level B."""

    @property
    def level(self) -> Level:
        return Level.B if self.system is None else Level.A

    def home(self, workdir: Path) -> Path:
        """The work folder as the program sees it."""
        return workdir if self.system is None else INSIDE

    def wrap(self, argv: tuple[str, ...], workdir: Path, cpu_seconds: int) -> tuple[str, ...]:
        """What to start in place of `argv`; the program's files are in `workdir`/program."""
        inner = (*_limits(cpu_seconds, processes=self.system is not None), *argv)
        return inner if self.system is None else (*_walls(self.system, workdir), *inner)


def _limits(cpu_seconds: int, *, processes: bool) -> tuple[str, ...]:
    words = [f"--as={MEMORY}", f"--fsize={FILE_SIZE}", f"--nofile={OPEN_FILES}"]
    words += [f"--cpu={cpu_seconds}", "--core=0"]
    if processes:
        words.append(f"--nproc={PROCESSES}")
    return ("choom", "-n", str(FIRST_TO_DIE), "--", "prlimit", *words, "--")


def _walls(system: System, workdir: Path) -> tuple[str, ...]:
    """Bubblewrap's words, in the order in which it mounts."""
    words = [system.bwrap, "--unshare-user", "--disable-userns", "--unshare-pid", "--unshare-ipc"]
    words += ["--unshare-uts", "--unshare-cgroup-try", "--hostname", "party", "--die-with-parent"]
    for name, target in system.links.items():
        words += ["--symlink", target, name]
    words += ["--proc", "/proc", "--dev", "/dev"]
    for folder in ("/dev/shm", "/tmp", str(INSIDE)):  # noqa: S108 - the program's own
        words += ["--size", str(ROOM), "--tmpfs", folder]
    for path in system.shown:  # after the empty folders, which must not hide them
        words += ["--ro-bind", path, path]
    words += ["--ro-bind", str(workdir / "program"), str(INSIDE / "program")]
    words += ["--remount-ro", "/dev", "--remount-ro", "/"]
    return (*words, "--chdir", str(INSIDE), "--")
