"""Real agents on a small internet agree, connect, compute and part, however they come together."""

import itertools
import json
import os
import signal
import time
from typing import Any

import pytest

from tests.support.internet import Command, Internet, Party

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]

RESULT = "winner=party1 price=135\n"


def test_a_person_reads_the_result_and_nothing_else_on_standard_output(internet: Internet) -> None:
    parties = internet.parties("home0", "home1", "home2")
    commands = [
        internet.run_one("auction", party, bid, parties)
        for party, bid in zip(parties, (120, 150, 135), strict=True)
    ]
    for command in commands:
        assert command.wait() == 0, command.told()
        assert command.output == RESULT
        assert "cleaned up: 0 interfaces, 0 namespaces, 0 processes left" in command.errors
    verdicts = [party.verdict() for party in parties]
    assert all(verdict["complete"] for verdict in verdicts)
    assert len({verdict["session"] for verdict in verdicts}) == 1
    assert [told["did"] for told in verdicts[0]["parties"]] == [party.did for party in parties]


def test_parties_come_seconds_apart_and_in_any_order(internet: Internet) -> None:
    """All orders at once, a session each: one more party of each comes every five seconds."""
    orders = list(itertools.permutations(range(3)))
    parties = internet.parties(*(["home0", "home1", "home2"] * len(orders)))
    sessions = [parties[3 * number : 3 * number + 3] for number in range(len(orders))]
    commands = []
    for wave in range(3):
        for session, order in zip(sessions, orders, strict=True):
            party, bid = session[order[wave]], (120, 150, 135)[order[wave]]
            commands.append(internet.run_one("auction", party, bid, session))
        if wave < 2:
            time.sleep(5)
    for command in commands:
        assert command.wait() == 0, command.told()
        assert command.output == RESULT


def test_an_agent_that_was_killed_while_it_waited_is_started_again(internet: Internet) -> None:
    parties = internet.parties("home0", "home1", "home2")
    lost = internet.run_one("auction", parties[0], 120, parties, "--json")
    early = internet.run_one("auction", parties[1], 150, parties, "--json")
    lost.until("party1 wants the same session")
    early.until("party0 wants the same session")
    lost.kill()
    again = internet.run_one("auction", parties[0], 120, parties, "--json")
    again.until("waiting")
    late = internet.run_one("auction", parties[2], 135, parties, "--json")
    for command in (again, early, late):
        assert command.wait() == 0, command.told()
        assert command.the("result")["output"] == RESULT


def test_the_same_parties_compute_again(internet: Internet) -> None:
    """What a session that was broken off has left at the mediators disturbs no later one."""
    parties = internet.parties("home0", "home1", "home2")
    seats = list(zip(parties, (120, 150, 135), strict=True))
    first = internet.run("auction", *seats)
    first[0].until("everybody signed")
    first[0].kill()
    assert [command.wait() for command in first] == [-9, 1, 1]
    for command in internet.run("auction", *seats):
        assert command.wait() == 0, command.told()
        assert command.the("result")["output"] == RESULT


def test_two_parties_of_one_lan_meet_inside_it(internet: Internet) -> None:
    parties = internet.parties("shared-0", "shared-1", "home2")
    commands = internet.run("auction", *zip(parties, (120, 150, 135), strict=True))
    for command in commands:
        assert command.wait() == 0, command.told()
    for number, other in ((0, 1), (1, 0)):
        inside = path_to(commands[number], f"party{other}")
        outside = path_to(commands[number], "party2")
        assert (inside["local_kind"], inside["remote_kind"]) == ("host", "host")
        assert host_of(inside) == parties[other].host.address
        assert host_of(outside) == internet.address_of("home2")
        assert outside["remote_kind"] != "host"
    for other in ("party0", "party1"):
        assert host_of(path_to(commands[2], other)) == internet.address_of("shared")


@pytest.mark.alone
def test_parties_use_different_mediators(internet: Internet) -> None:
    mediators = (internet.near, internet.far, internet.near)
    parties = internet.parties("home0", "home1", "home2", mediators=mediators)
    commands = internet.run("auction", *zip(parties, (120, 150, 135), strict=True))
    for command in commands:
        assert command.wait() == 0, command.told()
        assert command.the("result")["output"] == RESULT
        # A relay may answer first; the direct path replaces it.
        in_the_end = {path["did"]: path["kind"] for path in command.all("path")}
        assert list(in_the_end.values()) == ["direct"] * 2, command.told()


def test_whoever_waits_in_a_run_answers_pings_across_mediators(internet: Internet) -> None:
    parties = internet.parties("home0", "home1", mediators=(internet.near, internet.far))
    waiting = internet.run_one(internet.rounds(20), parties[0], 1, parties, "--json")
    waiting.until("waiting")
    ping = parties[1].agent("ping", parties[0].did, "--count", "2", "--json")
    assert ping.wait() == 0, ping.told()
    assert json.loads(ping.output)["received"] == 2
    assert all(ms < 2000 for ms in json.loads(ping.output)["rtt_ms"])
    waiting.signal(signal.SIGINT)
    assert waiting.wait(10) == 1


def test_status_lists_a_session_while_it_runs_and_no_longer(internet: Internet) -> None:
    parties = internet.parties("home0", "home1")
    commands = internet.run(internet.rounds(6), (parties[0], 1), (parties[1], 2))
    for command in commands:
        command.until("the program has started")
    [session] = status(parties[0])["sessions"]
    assert session["pid"] == commands[0].process.pid
    assert session["parties"] == [party.did for party in parties]
    assert session["paths"][parties[1].did]["kind"] == "direct"
    for command in commands:
        assert command.wait() == 0, command.told()
        assert command.the("result")["output"] == "sum=3\n"
    assert session["session"] == parties[0].verdict()["session"]
    assert status(parties[0])["sessions"] == []


def status(party: Party) -> dict[str, Any]:
    told = json.loads(party.agent("status", "--json").output)
    assert isinstance(told, dict)
    return told


def path_to(command: Command, party: str) -> dict[str, Any]:
    [path] = [path for path in command.all("path") if path["party"] == party]
    assert path["kind"] == "direct"
    return path


def host_of(path: dict[str, Any]) -> str:
    host: str = path["endpoint"].rpartition(":")[0]
    return host
