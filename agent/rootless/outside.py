"""The process that the user started: it has the command run inside, and passes signals on.

Everything else lives in a pid namespace whose first process holds the other end of a leash. When
this process ends, in whatever way, the leash is let go and the kernel ends all of it.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

import click

from agent.errors import UsageMistake
from agent.rootless.handover import is_inside
from agent.rootless.probe import NAMESPACES, require
from agent.rootless.way_out import WayOut

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

rootless_option = click.option(
    "--rootless",
    is_flag=True,
    help="Without root, sudo or a service: in namespaces of your own.",
)


def run_inside(rootless: bool) -> None:
    """Return inside, or where `rootless` is false; otherwise end as the command inside does.

    Raises: RootlessImpossible, UsageMistake.
    """
    if not rootless or is_inside():
        return
    if os.geteuid() == 0:
        raise UsageMistake("--rootless is for ordinary users", "root needs no such thing: leave it")
    click.get_current_context().exit(_run(require(), sys.argv[1:]))


def _run(ways: Sequence[WayOut], words: Sequence[str]) -> int:
    """The command's exit code; minus a signal becomes 128 + signal, as shells say it."""
    watched = {*PASSED_ON, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    leash, theirs = socket.socketpair()
    with leash:
        with theirs:
            theirs.set_inheritable(True)
            process = subprocess.Popen(
                [*_first_process(theirs.fileno(), ways), *words],
                close_fds=False,  # what was handed to us, `--input @/dev/fd/3`, is for the agent
                preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, before),
            )
        while process.poll() is None:
            _pass_on(signal.sigwaitinfo(watched), leash)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _first_process(leash: int, ways: Sequence[WayOut]) -> list[str]:
    numbers = [leash, os.getuid(), os.getgid(), os.getpid()]
    paths = ",".join(f"{way.name}={way.command}" for way in ways)
    module = [sys.executable, "-I", "-m", "agent.rootless.inside"]
    return [*NAMESPACES, *module, *map(str, numbers), paths]


def _pass_on(said: signal.struct_siginfo, leash: socket.socket) -> None:
    """What a terminal sends, every process of ours has got from it already."""
    from_a_process = said.si_code <= 0
    if said.si_signo in PASSED_ON and from_a_process:
        leash.send(bytes([said.si_signo]))
