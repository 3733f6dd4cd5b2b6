"""Who is lost, says stop or cannot be reached: the others learn why, and every machine is clean."""

import os
import signal
import time

import pytest

from tests.support.internet import Command, Internet

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]

CLEAN = {"interfaces": 0, "namespaces": 0, "processes": 0}
NUMBERS = (1, 2, 3)


@pytest.mark.parametrize(
    "moment", ["everybody signed", "network namespace", "everybody is ready", "has started"]
)
def test_an_agent_that_is_killed_is_named_by_the_others_within_seconds(
    internet: Internet, moment: str
) -> None:
    parties = internet.parties("home0", "home1", "home2")
    commands = internet.run(internet.rounds(20), *zip(parties, NUMBERS, strict=True))
    commands[1].until(moment)
    commands[1].kill()
    killed_at = time.monotonic()
    survivors = (commands[0], commands[2])
    assert [command.wait(15) for command in survivors] == [1, 1]
    assert time.monotonic() - killed_at < 10
    for command in survivors:
        assert "party1" in error_of(command)
        assert cleanup_of(command) == CLEAN
        assert command.the("result")["output"] is None
    for party in (parties[0], parties[2]):
        verdict = party.verdict()
        reasons = [record["aborted"] for record in verdict["parties"]]
        assert not verdict["complete"]
        assert verdict["false_statements"] == 0
        assert reasons[1] is None
        assert any("party1" in reason for reason in reasons if reason)


@pytest.mark.parametrize("moment", ["everybody signed", "has started"])
def test_a_party_that_was_killed_comes_back_by_the_same_command_and_all_end_well(
    internet: Internet, moment: str
) -> None:
    parties = internet.parties("home0", "home1", "home2")
    program = internet.rounds(5)
    words = ("--json", "--retries", "1", "--timeout", "60")
    commands = [
        internet.run_one(program, party, number, parties, *words)
        for party, number in zip(parties, NUMBERS, strict=True)
    ]
    commands[1].until(moment)
    commands[1].kill()
    for survivor in (commands[0], commands[2]):
        survivor.until("beginning again (epoch 1)")
    back = internet.run_one(program, parties[1], NUMBERS[1], parties, *words)
    for command in (commands[0], back, commands[2]):
        assert command.wait() == 0, command.told()
        assert command.the("result")["output"] == "sum=6\n"
        assert cleanup_of(command) == CLEAN
    verdicts = [party.verdict() for party in parties]
    assert all(verdict["complete"] for verdict in verdicts)
    assert {verdict["epoch"] for verdict in verdicts} == {1}
    assert [len(verdict["earlier"]) for verdict in verdicts] == [1, 0, 1]


def test_who_is_not_back_in_time_is_named(internet: Internet) -> None:
    parties = internet.parties("home0", "home1")
    words = ("--json", "--retries", "1", "--timeout", "4")
    program = internet.rounds(20)
    commands = [
        internet.run_one(program, party, number, parties, *words)
        for party, number in zip(parties, NUMBERS, strict=False)
    ]
    commands[1].until("has started")
    commands[1].kill()
    assert commands[0].wait(30) == 3, commands[0].told()
    assert "waited 4 s for party1" in error_of(commands[0])
    verdict = parties[0].verdict()
    assert "party1" in verdict["parties"][0]["aborted"]


def test_a_computation_goes_on_when_every_mediator_is_gone(internet: Internet) -> None:
    mediators = (internet.near, internet.far, internet.near)
    parties = internet.parties("home0", "home1", "home2", mediators=mediators)
    commands = internet.run(internet.rounds(3), *zip(parties, NUMBERS, strict=True))
    for command in commands:
        command.until("has started")
    internet.near.kill()
    internet.far.kill()
    for command in commands:
        assert command.wait() == 0, command.told()
        assert command.the("result")["output"] == "sum=6\n"
        assert cleanup_of(command) == CLEAN
    assert all(party.verdict()["complete"] for party in parties)


def test_parties_agree_although_the_mediator_was_killed_while_they_waited(
    internet: Internet,
) -> None:
    parties = internet.parties("home0", "home1", "home2")
    program = internet.rounds(1)
    early = [
        internet.run_one(program, party, number, parties, "--json")
        for party, number in zip(parties[:2], NUMBERS, strict=False)
    ]
    for command in early:
        command.until("wants the same session")
    internet.near.kill()
    internet.near.start()
    late = internet.run_one(program, parties[2], NUMBERS[2], parties, "--json")
    for command in (*early, late):
        assert command.wait() == 0, command.told()
        assert command.the("result")["output"] == "sum=6\n"


def test_a_proposal_outlives_the_mediator_that_keeps_it(internet: Internet) -> None:
    parties = internet.parties("home0", "home1")
    program = internet.rounds(1)
    early = internet.run_one(program, parties[0], 1, parties, "--json")
    early.until("waiting")
    internet.until_queued(parties[1], 1)
    internet.near.kill()
    internet.near.start()
    late = internet.run_one(program, parties[1], 2, parties, "--json")
    for command in (early, late):
        assert command.wait() == 0, command.told()
        assert command.the("result")["output"] == "sum=3\n"


def test_parties_start_while_the_mediator_is_away(internet: Internet) -> None:
    parties = internet.parties("home0", "home1")
    internet.near.kill()
    commands = internet.run(internet.rounds(1), (parties[0], 1), (parties[1], 2))
    for command in commands:
        command.until("waiting")
    time.sleep(1)
    internet.near.start()
    for command in commands:
        assert command.wait() == 0, command.told()


def test_ctrl_c_while_waiting_is_told_and_the_others_wait_on(internet: Internet) -> None:
    parties = internet.parties("home0", "home1", "home2")
    program = internet.rounds(1)
    leaver = internet.run_one(program, parties[0], 1, parties, "--json")
    stayer = internet.run_one(program, parties[1], 2, parties, "--json")
    leaver.until("party1 wants the same session")
    stayer.until("party0 wants the same session")
    leaver.signal(signal.SIGINT)
    assert leaver.wait(10) == 1
    assert error_of(leaver) == "party0 was stopped by its owner"
    stayer.until("party0 was stopped by its owner", 10)
    back = internet.run_one(program, parties[0], 1, parties, "--json")
    late = internet.run_one(program, parties[2], 3, parties, "--json")
    for command in (stayer, back, late):
        assert command.wait() == 0, command.told()


def test_ctrl_c_in_the_middle_ends_the_run_of_everybody(internet: Internet) -> None:
    parties = internet.parties("home0", "home1", "home2")
    commands = internet.run(internet.rounds(20), *zip(parties, NUMBERS, strict=True))
    for command in commands:
        command.until("has started")
    assert len(internet.programs()) >= len(parties)
    commands[0].signal(signal.SIGINT)
    began = time.monotonic()
    for command, party in zip(commands, parties, strict=True):
        assert command.wait(10) == 1
        assert error_of(command) == "party0 was stopped by its owner"
        assert command.the("error")["exit_code"] == 1
        assert cleanup_of(command) == CLEAN
        reasons = {record["aborted"] for record in party.verdict()["parties"]} - {None}
        assert reasons == {"party0 was stopped by its owner"}
    assert time.monotonic() - began < 10
    assert internet.programs() == []


def test_a_party_that_never_comes_is_named_when_the_time_is_up(internet: Internet) -> None:
    parties = internet.parties("home0", "home1", "home2")
    program = internet.rounds(1)
    commands = [
        internet.run_one(program, party, 1, parties, "--json", "--timeout", "3")
        for party in parties[:2]
    ]
    for command in commands:
        assert command.wait(20) == 3, command.told()
    assert any("waited 3 s for party2" in error_of(command) for command in commands)


def error_of(command: Command) -> str:
    text: str = command.the("error")["text"]
    return text


def cleanup_of(command: Command) -> dict[str, int]:
    event = command.the("cleanup")
    return {name: event[name] for name in CLEAN}
