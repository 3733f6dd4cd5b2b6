"""One agent is killed in the middle: the others say who was lost, end soon, and leave nothing."""

import os
import signal
import time

import pytest

from lab import processes
from lab.demo import demo
from lab.screen import Screen

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]


@pytest.mark.parametrize(
    "moment",
    ["everybody signed session", "everybody is ready", "the program has started"],
)
def test_the_others_name_the_party_that_was_killed_and_leave_a_clean_machine(moment: str) -> None:
    killer = Killer("party1", moment)
    facts = demo(killer)
    assert [party.exit_code for party in facts.parties] == [1, -signal.SIGKILL, 1]
    for survivor in ("party0", "party2"):
        assert f"{survivor} ended with exit code 1: lost party1" in (facts.error or "")
        assert killer.heard[survivor] - killer.killed_at < 10
    assert facts.cleanup.interfaces == []
    assert facts.cleanup.namespaces == []
    assert facts.cleanup.processes == []
    assert [path for path in facts.cleanup.keys if "/home1/" not in path] == []


class Killer(Screen):
    """Kills a party's agent as soon as it says certain words; notes when the others last spoke."""

    def __init__(self, victim: str, moment: str) -> None:
        super().__init__()
        self.victim = victim
        self.moment = moment
        self.killed_at = 0.0
        self.heard: dict[str, float] = {}

    def say(self, who: str, text: str, *, style: str = "") -> None:
        super().say(who, text, style=style)
        self.heard[who] = time.monotonic()
        if who == self.victim and self.moment in text and not self.killed_at:
            self.killed_at = time.monotonic()
            os.kill(_agent_of(who), signal.SIGKILL)


def _agent_of(party: str) -> int:
    user = str(64101 + int(party.removeprefix("party")))
    [agent] = [
        pid
        for pid in processes.descendants(os.getpid())
        if processes.environment_of(pid).get("DIDMESH_USER") == user
        and " -m agent run " in processes.command_of(pid)
    ]
    return agent
