"""Parties that differ, in a real session: who gives what, who learns what, who sits where."""

import os

import pytest

from tests.support.internet import Command, Internet, Party

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]


def test_voters_learn_of_a_match_and_the_helper_nothing(internet: Internet) -> None:
    alice, bob, carol = parties = internet.parties("home0", "home1", "home2")
    commands = [
        run(alice, [bob.did, f"helper={carol.did}"], "voter", "--input", "vote=1"),
        run(bob, [f"helper={carol.did}", f"voter={alice.did}"], None, "--input", "vote=1"),
        run(carol, [alice.did, bob.did], "helper"),
    ]
    for command in commands:
        assert command.wait() == 0, command.told()
    told = [command.the("result")["output"] for command in commands]
    assert told == ["match\n", "match\n", "done (no output)\n"]
    for command in commands:
        [equal] = [step for step in command.steps() if "equal" in step]
        assert "voter 2/2" in equal
        assert "helper 1/1" in equal
    for party in parties:
        verdict = party.verdict()
        assert verdict["complete"], verdict
        assert verdict["verdict"].endswith("signed the result of its role")


def test_whoever_wants_another_seat_is_refused_by_name(internet: Internet) -> None:
    alice, bob, carol = internet.parties("home0", "home1", "home2")
    commands = [
        run(alice, [bob.did, f"helper={carol.did}"], "voter", "--input", "vote=1"),
        run(bob, [alice.did, carol.did], "helper"),
        run(carol, [alice.did, bob.did], "helper"),
    ]
    for command in commands:
        assert command.wait() == 6, command.told()
    assert any("role of party" in command.the("error")["text"] for command in commands)


def run(party: Party, others: list[str], role: str | None, *words: str) -> Command:
    own = [] if role is None else ["--role", role]
    named = [word for other in others for word in ("--with", other)]
    return party.start("run", "private_match", *own, *named, *words, "--json", as_root=True)
