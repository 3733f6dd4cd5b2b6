"""Labs that stand in the background until they are taken down, and shells on any running lab.

python -m lab.standing FILE     # what `lab up` starts: builds, says so, waits to be ended
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from lab import runs
from lab.behaviour import check
from lab.commands import LabError
from lab.machine import CHECKOUT, environment, mount_namespace_of
from lab.plan import read
from lab.runs import NETNS, RUNTIME
from lab.topology import Lab

FACTS = "standing"  # in the run's directory: which topology, and the keeper's pid
SECONDS_TO_BUILD = 120.0
SECONDS_TO_END = 20.0


def up(path: Path) -> dict[str, Any]:
    """Build the topology of a file in the background; what is there once it is ready.

    Raises: LabError, in the words of what went wrong.
    """
    keeper = subprocess.Popen(
        [sys.executable, "-m", "lab.standing", str(path.resolve())],
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert keeper.stdout is not None
    with keeper.stdout as told:
        if not select.select([told], [], [], SECONDS_TO_BUILD)[0]:
            keeper.terminate()
            raise LabError(f"the lab was not ready in {SECONDS_TO_BUILD:g} s")
        line = told.readline()
    keeper.returncode = 0  # it outlives us; nobody here waits for it
    facts = json.loads(line) if line else {"error": "the lab ended while it was built"}
    if "error" in facts:
        raise LabError(facts["error"], facts.get("hint"))
    return dict(facts)


def topology_of(run: str) -> str | None:
    """The topology that a lab brought up by `up` was made from; None for any other lab."""
    facts = _facts(run)
    return None if facts is None else str(facts["topology"])


def down(run: str) -> None:
    """End a standing lab and wait until nothing is left of it."""
    facts = _facts(run)
    if facts is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(facts["pid"]), signal.SIGTERM)
        deadline = time.monotonic() + SECONDS_TO_END
        while runs.is_alive(run) and time.monotonic() < deadline:
            time.sleep(0.05)
    if runs.is_alive(run):
        raise LabError(f"{run} does not end", hint="kill its process and call down again")
    runs.remove(run)


def shell(host: str, argv: list[str]) -> NoReturn:
    """Become a command, or a shell, as root on a host of a running lab.

    `host` is its name; with `RUN/` before it where several labs have one of that name.
    """
    run, namespace = _find(host)
    words = argv or ["sh", "-i"]
    os.execvpe(
        "nsenter",
        [
            "nsenter",
            f"--mount={mount_namespace_of(run)}",
            f"--net={NETNS / namespace}",
            "--",
            *words,
        ],
        {
            **environment(run),
            "PS1": f"{host}# ",
            "HOME": "/root",
            "TERM": os.environ.get("TERM", "dumb"),
        },
    )


def hosts_of(run: str) -> list[str]:
    """The names of a running lab's hosts and routers."""
    return [namespace.removeprefix(f"{run}-") for namespace in runs.leftovers(run).namespaces]


def _find(host: str) -> tuple[str, str]:
    wanted_run, _, name = host.rpartition("/")
    alive = [run for run in runs.find() if runs.is_alive(run) and wanted_run in ("", run)]
    found = [run for run in alive if name in hosts_of(run)]
    if len(found) == 1:
        return found[0], f"{found[0]}-{name}"
    if found:
        choices = ", ".join(f"{run}/{name}" for run in found)
        raise LabError(f"several labs have a host {name}", hint=f"say which one: {choices}")
    standing = [run for run in alive if topology_of(run) is not None]
    known = sorted({host for run in standing for host in hosts_of(run)})
    raise LabError(
        f"no running lab has a host {name}",
        hint=f"there are {', '.join(known)}" if known else "python -m lab up TOPOLOGY",
    )


def _facts(run: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads((RUNTIME / run / FACTS).read_text()))
    except FileNotFoundError:
        return None


def _keep(path: Path) -> None:
    """Build, measure, tell, and stay until a signal ends the `with`."""
    plan = read(path)
    with Lab() as lab:
        plan.build(lab)
        for ipv6, wanted in ((False, plan.behaviours()), (True, plan.behaviours6())):
            for verdict in check(lab, {host: host for host in wanted}, wanted, ipv6=ipv6):
                if not verdict.verified:
                    raise LabError(f"{verdict.host} is {verdict.seen}, not {verdict.wanted}")
        hosts = {name: list(lab.hosts[name].all_addresses) for name in plan.hosts()}
        facts = {"lab": lab.name, "topology": path.stem, "title": plan.title, "hosts": hosts}
        (lab.directory / FACTS).write_text(json.dumps({**facts, "pid": os.getpid()}))
        _tell(facts)
        while True:
            signal.pause()


def _tell(facts: Mapping[str, Any]) -> None:
    """One line to whoever started us, and then nothing more."""
    print(json.dumps(facts), flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    try:
        _keep(Path(sys.argv[1]))
    except LabError as error:
        _tell({"error": str(error), "hint": error.hint})
        sys.exit(1)
