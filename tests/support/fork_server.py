"""The agent's commands in processes that need not load it, forked from one that has.

    with ForkServer() as server:
        [done] = server.run([Call(["show", "--json"], environment, folder, output, errors)])
        assert done.wait() == 0

Loading is most of what a short command takes. What a test is about is started as a person does it;
what leads there, and what is looked at afterwards, may come from here: the same code, as the same
user, in the same place.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0  # seconds
PR_SET_NO_NEW_PRIVS = 38  # linux/prctl.h


@dataclass(frozen=True)
class Call:
    """One command line, in the server's environment and more; its output goes to files.

    Of its namespaces there are the files.
    """

    words: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    output: str
    errors: str
    user: int | None = None
    namespaces: Sequence[str] = ()


@dataclass(frozen=True)
class Ended:
    """A process that is over, as `Popen` shows it."""

    pid: int
    returncode: int

    def poll(self) -> int:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        return self.returncode


class ForkServer:
    """`environment`: as for `Popen`."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = environment

    def __enter__(self) -> ForkServer:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fork_server"],
            cwd=CHECKOUT,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        return self

    def __exit__(self, *error: Any) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    def run(self, calls: Sequence[Call], timeout: float = PATIENCE) -> list[Ended]:
        """All of them at once, to their ends."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([asdict(call) for call in calls]).encode() + b"\n")
        self._process.stdin.flush()
        told, _, _ = select.select([self._process.stdout], [], [], timeout)
        assert told, f"still run after {timeout:g} s: {[call.words for call in calls]}"
        return [Ended(*ended) for ended in json.loads(self._process.stdout.readline())]


def serve() -> None:
    """Fork a process for each call in a line; answer with their numbers and exit codes."""
    load()
    for line in sys.stdin.buffer:
        started = [forked(Call(**words)) for words in json.loads(line)]
        ended = [(pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])) for pid in started]
        print(json.dumps(ended), flush=True)


def load() -> None:
    from agent.cli import COMMANDS, group

    for name in COMMANDS:
        group.get_command(None, name)  # type: ignore[arg-type]


def forked(call: Call) -> int:
    if pid := os.fork():
        return pid
    code = 1
    try:
        become(call)
        code = command(call.words)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def become(call: Call) -> None:
    """What `lab.host.Host.popen` makes of a process by other programs."""
    libc = ctypes.CDLL(None, use_errno=True)
    with (
        Path(os.devnull).open("rb") as nothing,
        Path(call.output).open("wb") as output,
        Path(call.errors).open("wb") as errors,
    ):
        for number, file in enumerate((nothing, output, errors)):
            os.dup2(file.fileno(), number)
    for namespace in [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in call.namespaces]:
        assert libc.setns(namespace, 0) == 0, os.strerror(ctypes.get_errno())
        os.close(namespace)
    if call.user is not None:
        os.setgroups([])
        os.setresgid(call.user, call.user, call.user)
        os.setresuid(call.user, call.user, call.user)
        assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    os.environ.update(call.environment)
    os.chdir(call.folder)


def command(words: Sequence[str]) -> int:
    from agent.cli import main

    try:
        main(words)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


if __name__ == "__main__":
    serve()
