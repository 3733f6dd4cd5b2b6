"""The first process of the namespaces: raises way out, helper and agent; with it everything ends.

    python -I -m agent.rootless.inside LEASH UID GID PID WAYS WORD...

Root of a user namespace, which is: the calling user towards the rest of the machine. Takes nothing
from the network and nothing from the agent but its end.
"""

import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from agent.network_helper.client import HANDED_OVER
from agent.network_helper.commands import ENVIRONMENT, CommandFailed, run
from agent.network_helper.namespace import in_a_thread, made_namespace
from agent.rootless import handover
from agent.rootless.probe import RootlessImpossible
from agent.rootless.way_out import PACKAGES, Name, WayOut, only_loopback

RESOLV_CONF = "/etc/resolv.conf"
SECONDS_TO_START = 10.0
SECONDS_TO_END = 10.0


def main() -> None:
    leash, uid, gid, process = map(int, sys.argv[1:5])
    os.set_inheritable(leash, False)
    ways = [_way(words) for words in sys.argv[5].split(",")]
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the agent, whose end is ours
    signal.signal(signal.SIGHUP, lambda *_: None)
    namespace = in_a_thread(made_namespace)
    try:
        _open(namespace, ways)
    except RootlessImpossible as error:
        print(f"agent: {error}", f"agent: hint: {error.hint}", sep="\n", file=sys.stderr)
        sys.exit(error.exit_code)
    agents_end, helpers_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with agents_end, helpers_end:
        helper = _start_helper(namespace, uid, gid, helpers_end)
        agent = _start_agent(namespace, uid, gid, process, agents_end, sys.argv[6:])
    with socket.socket(fileno=leash) as held:
        code = _wait(agent, held)
    helper.wait(SECONDS_TO_END)  # it takes the session down
    sys.exit(code if code >= 0 else 128 - code)


def _way(words: str) -> WayOut:
    name, _, command = words.partition("=")
    return WayOut(cast(Name, name), command)


def _open(namespace: int, ways: Sequence[WayOut]) -> None:
    """The first way out that works. Raises: RootlessImpossible."""
    complaints = []
    for way in ways:
        complaint = _start_way_out(way, namespace)
        if complaint is None:
            _bring_resolver(way)
            return
        complaints.append(f"{way.name} does not start: {complaint}")
    hint = "see whether AppArmor or SELinux forbids it, or install another: " + ", ".join(
        PACKAGES.values()
    )
    raise RootlessImpossible("; ".join(complaints), hint)


def _start_way_out(way: WayOut, namespace: int) -> str | None:
    """None once packets can leave; otherwise what it complained of."""
    ready, theirs = os.pipe()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            way.argv(f"/proc/self/fd/{namespace}", theirs),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
            pass_fds=[namespace, theirs], start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        if way.goes_to_background:
            works = process.wait(SECONDS_TO_START) == 0
        else:
            works = os.read(ready, 1) != b""
        os.close(ready)
        if works:
            return None
        errors.seek(0)
        lines = errors.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no reason given"


def _bring_resolver(way: WayOut) -> None:
    """Names are looked up at the way out, where the machine's resolver cannot be reached."""
    try:
        if not only_loopback(Path(RESOLV_CONF).read_text()):
            return
        with tempfile.NamedTemporaryFile("w") as text:
            text.write(f"nameserver {way.resolver}\n")
            text.flush()
            Path(text.name).chmod(0o644)
            run("mount", "--bind", text.name, RESOLV_CONF)
    except (OSError, CommandFailed) as error:
        print(f"agent: names may not be found: {error}", file=sys.stderr)


def _start_helper(
    namespace: int, uid: int, gid: int, end: socket.socket
) -> "subprocess.Popen[bytes]":
    module = [sys.executable, "-I", "-m", "agent.network_helper"]
    return subprocess.Popen(
        [*_inside(namespace), *module, "--uid", str(uid), "--rootless", str(gid)],
        stdin=end.fileno(), stdout=subprocess.DEVNULL, env=ENVIRONMENT, start_new_session=True,
    )  # fmt: skip


def _start_agent(
    namespace: int, uid: int, gid: int, process: int, end: socket.socket, words: Sequence[str]
) -> "subprocess.Popen[bytes]":
    """The user's own again: in a user namespace that has no power over these namespaces."""
    user = ["unshare", "--user", f"--map-user={uid}", f"--map-group={gid}", "--"]
    end.set_inheritable(True)
    return subprocess.Popen(
        [*_inside(namespace), *user, sys.executable, "-P", "-m", "agent", *words],
        close_fds=False,  # the user may have handed it files
        env=os.environ | {HANDED_OVER: str(end.fileno()), handover.VARIABLE: str(process)},
    )


def _inside(namespace: int) -> list[str]:
    return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{namespace}", "--"]


def _wait(agent: "subprocess.Popen[bytes]", leash: socket.socket) -> int:
    """How the agent ended; signals from outside reach it, and nothing outlives the leash."""
    ended = os.pidfd_open(agent.pid)
    with selectors.PollSelector() as selector:
        selector.register(ended, selectors.EVENT_READ)
        selector.register(leash, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if ended in ready:
                return agent.wait()
            said = leash.recv(1)
            if not said:
                os._exit(1)
            agent.send_signal(said[0])


if __name__ == "__main__":
    main()
