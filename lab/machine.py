"""What every host of a lab shares: one private mount namespace, one plain environment.

The hosts' processes see a `/run` of their own (so that sockets and namespaces
left there are found, and never mix with the machine's), and the checkout at its
usual path, also where ordinary users cannot reach it: a checkout below
somebody's 0700 directory is shown again through a small tmpfs in its place.
"""

import contextlib
import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import rich

from lab.commands import LabError, log
from lab.runs import MARK, RUNTIME, Run

HOLDER = "holder"  # in the run's directory: who holds the mount namespace
CHECKOUT = Path(__file__).resolve().parent.parent


class Machine:
    """Holds the mount namespace open until `close` or until this process dies."""

    def __init__(self, run: Run) -> None:
        self.environment = environment(run.name)
        self.started: list[subprocess.Popen[bytes]] = []  # on any host, for the lab to wait for
        self._names = run.directory / "hosts"
        self._names.write_text("127.0.0.1 localhost\n::1 localhost\n")
        named = f"mount --bind {self._names} /etc/hosts"
        script = "\n".join(["set -e", named, *_private_run(run.directory), *_show(run.directory)])
        log.debug("in the lab's mount namespace:\n%s", script)
        # `cat` ends when the last holder of the pipe's other end does: with us.
        self._holder = subprocess.Popen(
            [
                "unshare",
                "--mount",
                "--propagation",
                "slave",
                "sh",
                "-c",
                f"{script}\necho\nexec cat",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
            start_new_session=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stderr is not None
        if not self._holder.stdout.readline():
            words = self._holder.stderr.read().decode(errors="replace").strip()
            self.close()
            raise LabError(f"cannot make the lab's mount namespace: {words}")
        (run.directory / HOLDER).write_text(str(self.pid))

    @property
    def pid(self) -> int:
        return self._holder.pid

    @property
    def mount_namespace(self) -> str:
        return f"/proc/{self.pid}/ns/mnt"

    def name_host(self, name: str, *addresses: str) -> None:
        """Let every host of the lab look this name up."""
        with self._names.open("a") as names:
            names.writelines(f"{address} {name}\n" for address in addresses)

    def files_in_run(self) -> list[Path]:
        """What processes of the lab have left in their `/run`, as they see it."""
        root = Path(f"/proc/{self.pid}/root")
        own = root / "run"
        found = []
        for folder, _, names in os.walk(own):
            found += [Path("/") / Path(folder, name).relative_to(root) for name in names]
        private = {path for path in found if path.parts[2].startswith("didmesh-lab-")}
        return sorted(set(found) - private)

    def close(self) -> None:
        for pipe in (self._holder.stdin, self._holder.stdout, self._holder.stderr):
            if pipe is not None:
                pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._holder.wait(2)
        self._holder.kill()
        self._holder.wait()


def mount_namespace_of(run: str) -> str:
    """Of a lab that runs in another process."""
    return f"/proc/{(RUNTIME / run / HOLDER).read_text()}/ns/mnt"


def environment(run: str) -> dict[str, str]:
    own = Path(sys.executable).parent
    return {
        "PATH": f"{own}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": "/nonexistent",
        "PYTHONDONTWRITEBYTECODE": "1",
        MARK: run,
    }


def _private_run(directory: Path) -> Iterator[str]:
    """Shell lines: an empty `/run` that has only the run's own directory in it."""
    stage = directory / "stage"
    stage.mkdir()
    shown = stage / directory.name
    yield f"mount -t tmpfs -o mode=755 didmesh-lab {stage}"
    yield f"mkdir {shown}"
    yield f"mount --bind {directory} {shown}"
    yield f"mount --rbind {stage} {RUNTIME}"


def _show(directory: Path) -> Iterator[str]:
    """Shell lines: what the hosts run, reachable for every user at its own path."""
    needed = [CHECKOUT, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()]
    hidden = {path: closed for path in needed if (closed := _first_closed(path)) is not None}
    stages = {}
    for number, path in enumerate(hidden):
        stages[path] = shlex.quote(str(directory / f"show{number}"))
        yield f"mkdir {stages[path]}"
        yield f"mount --rbind {shlex.quote(str(path))} {stages[path]}"
    for closed in set(hidden.values()):
        yield f"mount -t tmpfs -o mode=755 didmesh-lab {shlex.quote(str(closed))}"
    # Parents first; a child of a shown directory is there already.
    for path in sorted(hidden):
        if not any(other in path.parents for other in hidden):
            yield from _show_entries(path, stages[path])


def _show_entries(path: Path, stage: str) -> Iterator[str]:
    """Bind each entry of `path`, since the directory itself may be closed as well."""
    for entry in sorted(path.iterdir()):
        target, source = shlex.quote(str(entry)), f"{stage}/{shlex.quote(entry.name)}"
        yield f"mkdir -p {shlex.quote(str(path))}"
        if entry.is_symlink():
            yield f"cp -P {source} {target}"
        elif entry.is_dir():
            yield f"mkdir {target} && mount --rbind {source} {target}"
        else:
            yield f"touch {target} && mount --bind {source} {target}"


def _first_closed(path: Path) -> Path | None:
    """The outermost directory on the way to `path` that other users cannot enter."""
    for directory in [*reversed(path.parents), path]:
        if not directory.stat().st_mode & stat.S_IXOTH:
            return directory
    return None


def is_readable() -> bool:
    """Whether ordinary users may read our files and our packages' (not after a umask of 077)."""
    return all(Path(origin).stat().st_mode & stat.S_IROTH for origin in (__file__, rich.__file__))


def as_user(user: int | None) -> Sequence[str]:
    """The words before a command that make it an ordinary user's."""
    if user is None:
        return []
    return [
        "setpriv",
        f"--reuid={user}",
        f"--regid={user}",
        "--clear-groups",
        "--inh-caps=-all",
        "--no-new-privs",
        "--",
    ]
