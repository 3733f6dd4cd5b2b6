"""Ways out of the sandbox, each tried by a program that the network helper really started."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.internet import NEAR, Internet

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces"),
    pytest.mark.skipif(not shutil.which("wg"), reason="needs wireguard-tools"),
    pytest.mark.skipif(not shutil.which("bwrap"), reason="needs bubblewrap"),
]
SCRIPT = Path(__file__).parent.parent / "support" / "shut_in.py"
WANTED = {
    "read the keystore": "ENOENT",
    "read it by a way upwards": "ENOENT",
    "read another session's work folder": "ENOENT",
    "read passwords": "ENOENT",
    "read a home": "ENOENT",
    "link to the keystore": "ENOENT",
    "write to the system": "EACCES",
    "write to its own program": "EROFS",
    "write to the root": "EROFS",
    "write to the devices": "EROFS",
    "write to its work folder": "done",
    "see the agent": "ESRCH",
    "trace the agent": "ESRCH",
    "reach an abstract socket": "ECONNREFUSED",
    "reach a socket with a path": "ENOENT",
    "reach the network": "ENETUNREACH",
    "make a user namespace": "ENOSPC",
    "make a network namespace": "EPERM",
    "be root": "EINVAL",
    "mount": "EPERM",
    "fill the work folder": "ENOSPC",
    "fill /tmp": "ENOSPC",
    "fill /dev/shm": "ENOSPC",
    "one large file": "EFBIG",
    "take all memory": "ENOMEM",
    "fork without end": "EAGAIN",
    "raise a limit": "EPERM",
    "input": "5",
}


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[str, str]]:
    """What each attempt came to, and how the agent's end was."""
    with Internet() as internet:
        party = internet.newcomer("home0")
        process = party.host.popen(
            [sys.executable, str(SCRIPT), str(party.user), str(party.folder), NEAR],
            env={**party.environment(), "PYTHONPATH": str(SCRIPT.parent.parent.parent)},
            cwd=party.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        output, errors = process.communicate(timeout=60)
        told = [json.loads(line) for line in output.splitlines()]
        if told == [{"level": "B"}]:
            pytest.skip("bubblewrap does not work on this machine")
        assert len(told) == 2, errors.decode()
        yield {**told[0], **{name: str(value) for name, value in told[1].items()}}


@pytest.mark.parametrize("attempt", WANTED)
def test_no_way_leads_out_of_the_sandbox(outcomes: dict[str, str], attempt: str) -> None:
    assert outcomes[attempt] == WANTED[attempt]


def test_every_attempt_is_judged_and_nothing_is_left(outcomes: dict[str, str]) -> None:
    assert outcomes.keys() - {"level", "left"} == WANTED.keys()
    assert (outcomes["level"], outcomes["left"]) == ("A", "0")
