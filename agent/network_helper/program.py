"""A program in the session's namespace, run as the caller and with nothing else.

All that happens with privilege is the constant command line of `_enter`. The caller's words come
through a socket and are first looked at by a process that has already become the caller.
"""

import contextlib
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from agent.network_helper.commands import ENVIRONMENT
from agent.network_helper.namespace import Namespace
from agent.network_helper.requests import Launch

SECONDS_TO_ENTER = 10.0

# Runs as the caller. It says first that all are bound to the helper's life: a helper that dies
# earlier never gives it the words.
BECOME_THE_PROGRAM = """
import json, os, socket, sys
with socket.socket(fileno=int(sys.argv[1])) as helper, helper.makefile() as said:
    helper.send(b"bound")
    words = said.read()
if not words:
    sys.exit(1)
argv, env, cwd = json.loads(words)
try:
    os.chdir(cwd)
    os.execvpe(argv[0], argv, env)
except OSError as error:
    sys.exit(f"cannot start {argv[0]}: {error.strerror}")
"""


@dataclass(frozen=True)
class User:
    """Whose programs run. `rootless`: the group of a user that our user namespace does not know."""

    uid: int
    rootless: int | None = None

    def see_the_machine(self) -> list[str]:
        """Rootless, our own mounts hide all of /run, where a user's files may be."""
        return ["nsenter", "--mount=/proc/1/ns/mnt", "--"] if self.rootless is not None else []

    def become(self) -> list[str]:
        """`setpriv` with the words that make what follows this user's.

        Rootless, a further user namespace gives the user back and takes all power over ours. Its
        groups stay: the kernel lets nobody drop groups there, since some files are closed to them.
        """
        if self.rootless is not None:
            names = [f"--map-user={self.uid}", f"--map-group={self.rootless}"]
            return ["unshare", "--user", "--keep-caps", *names, "--", "setpriv"]
        ids = [f"--reuid={self.uid}", f"--regid={_group(self.uid)}"]
        return ["setpriv", *ids, "--clear-groups"]


class Program:
    def __init__(self, launch: Launch, stdio: Sequence[int], user: User, where: Namespace) -> None:
        self._where = where
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                self._process = subprocess.Popen(
                    _enter(where, user, theirs.fileno()),
                    stdin=stdio[0], stdout=stdio[1], stderr=stdio[2],
                    pass_fds=[theirs.fileno()], env=ENVIRONMENT, cwd="/",
                    start_new_session=True,  # no terminal, neither its Ctrl-C nor to type into it
                )  # fmt: skip
            self._tell(ours, launch)
        self.descriptor = os.pidfd_open(self._process.pid)  # readable when the program has ended
        self.leash, self.callers_end = socket.socketpair()

    def _tell(self, ours: socket.socket, launch: Launch) -> None:
        words = json.dumps([launch.argv, launch.env, launch.cwd], ensure_ascii=False)
        ours.settimeout(SECONDS_TO_ENTER)  # the caller may have stopped it: it is their process now
        try:
            if ours.recv(5):
                ours.sendall(words.encode())
        except TimeoutError:
            self._process.kill()
        except ConnectionError:
            pass  # it has ended, and `finish` tells how

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        """Kill the program and all it started: with its first process ends the pid namespace."""
        self._where.end_connections()
        self._process.kill()

    def finish(self) -> int:
        """Wait for the end, tell the caller how it ended: an exit code, or minus a signal."""
        status = self._process.wait()
        os.close(self.descriptor)
        with self.leash, contextlib.suppress(OSError):  # nobody is waiting any more
            self.leash.send(str(status).encode())
        return status


def _enter(where: Namespace, user: User, words: int) -> list[str]:
    """Into the namespaces, then out of all privilege, bound to our life at both ends.

    Changing the user forgets the death signal that unshare sets; the second setpriv sets it again.
    """
    die_with_us = f"--pdeathsig={signal.SIGKILL.name}"
    return [
        "setpriv", die_with_us, "--",
        *user.see_the_machine(),
        *where.inside("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"),
        *user.become(),
        "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all",
        die_with_us, "--",
        sys.executable, "-I", "-S", "-c", BECOME_THE_PROGRAM, str(words),
    ]  # fmt: skip


def _group(uid: int) -> int:
    """The user's own group; the others (docker, sudo) are no business of a program's."""
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return uid
