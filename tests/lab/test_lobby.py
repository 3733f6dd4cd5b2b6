"""Real agents who never met come together in a lobby on a small internet, and compute."""

import os
import signal
import time
from collections.abc import Mapping
from typing import Any

import pytest

from lab.walkthrough import README, walkthrough
from tests.support.internet import Command, Internet, Party

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]

RESULT = "winner=party1 price=135\n"
PLACES = ("home0", "home1", "home2")
OPENS = {"DIDMESH_PASSPHRASE": "read aloud to nobody"}


def test_the_readmes_walk_through_runs_as_it_stands(internet: Internet) -> None:
    parts = walkthrough(README.read_text())
    people = dict(zip(("alice", "bob", "carol"), map(internet.newcomer, PLACES), strict=True))
    for part in ("first time", "same people again"):
        link, commands = "", []
        for action in parts[part]:
            if action.words[:1] == ("agent",):
                words = [played(word, internet, link) for word in action.words[1:]]
                command = people[action.who].start(*words, "--json", as_root=True, env=OPENS)
                link = said(command, "open")["link"] if words[0] == "host" else link
                if words[0] == "join":  # seats are given in the order of coming in
                    said(command, "admitted")
                commands.append(command)
        for command in commands:
            assert command.wait() == 0, command.told()
            assert command.the("result")["output"] == RESULT
        phrases = {told["words"] for command in commands for told in command.all("phrase")}
        sessions = {told["session"] for command in commands for told in command.all("phrase")}
        assert len(phrases) == len(sessions) == 1, phrases
        if part == "first time":
            verdicts = [party.verdict() for party in people.values()]
            assert {verdict["session"] for verdict in verdicts} == sessions
            assert all(verdict["complete"] for verdict in verdicts)


def played(word: str, internet: Internet, link: str) -> str:
    return {"https://mediator.example": internet.near.url, "LINK": link}.get(word, word)


def test_who_never_used_it_needs_one_command_too(internet: Internet) -> None:
    alice, bob = internet.newcomer("home0"), internet.newcomer("home1")
    folder = internet.rounds(0.1)
    alice.allow(folder)
    bob.allow(folder)
    first = {"DIDMESH_PASSPHRASE": "the first time"}
    words = ("--seats", "2", "--admit", "anyone", "--input", "bid=1", "--json")
    host = alice.start(
        *("host", folder, "--mediator", internet.near.url, *words), as_root=True, env=first
    )
    link = said(host, "open")["link"]
    guest = bob.start("join", link, "--input", "bid=2", "--json", as_root=True, env=first)
    for command in (host, guest):
        assert command.wait() == 0, command.told()
        assert command.the("result")["output"] == "sum=3\n"
    for party in (alice, bob):
        shown = party.agent("show", "--json")
        assert shown.events[-1]["mediator"], "kept for the next time"
    again = alice.start("host", folder, "--mediator", internet.near.url, *words, as_root=True)
    assert again.wait() == 2, again.told()


def test_three_spoken_words_lead_there_too_and_a_wrong_one_burns_them(internet: Internet) -> None:
    alice, bob, carol, dave = internet.parties("home0", "home1", "home2", "home2")
    host = hosted(alice, "--seats", "2", "--admit", "anyone", "--input", "bid=1", program=SUM)
    code = said(host, "code")["code"]
    first, second, third = code.split("-")
    wrong = f"{first}-{second}-{'acid' if third != 'acid' else 'frog'}"
    refused = joined(carol, wrong, "--mediator", internet.near.url, "--input", "bid=1")
    said(host, "burnt")
    burnt = joined(dave, code, "--mediator", internet.near.url, "--input", "bid=1")
    fresh = said(host, "code", number=1)["code"]
    bob.allow(internet.rounds(0.1))
    one = joined(bob, fresh, "--mediator", internet.near.url, "--input", "bid=2")
    for command in (host, one):
        assert command.wait() == 0, command.told()
        assert command.the("result")["output"] == "sum=3\n"
    assert refused.wait() == 5, refused.told()
    assert burnt.wait() in (3, 5), burnt.told()


def test_a_lobby_outlives_every_agent_and_mediator(internet: Internet) -> None:
    alice, bob, carol = internet.parties("home0", "home1", "home2")
    host = hosted(alice, "--seats", "3", "--admit", "anyone", "--input", "bid=120")
    link = said(host, "open")["link"]
    one = joined(bob, link, "--input", "bid=150")
    said(one, "ready")
    until(host, lambda: any(told["what"] == "ready" for told in host.all("lobby")))
    host.kill()
    one.kill()
    internet.near.kill()
    internet.near.start()
    words = ("--resume", "--admit", "anyone", "--input", "bid=120")
    again = alice.start("host", *words, "--json", as_root=True)
    assert said(again, "open")["link"] == link
    other = joined(carol, link, "--input", "bid=135")
    said(other, "ready")
    one = joined(bob, link, "--input", "bid=150")
    for command in (again, one, other):
        assert command.wait() == 0, command.told()
        assert command.the("result")["output"] == RESULT


def test_who_is_vouched_for_computes_and_who_is_not_stays_outside(internet: Internet) -> None:
    alice, bob, carol = internet.parties("home0", "home1", "home2")
    folder = internet.rounds(0.1)
    for party in (alice, bob):
        party.allow(folder)
    registrar = ("--profile", "registrar")
    made = alice.agent("create-did", "--unencrypted", *registrar, "--json")
    issuer = made.events[-1]["did"]
    vouches = {}
    for name, party in (("alice", alice), ("bob", bob)):
        vouched = alice.agent("vouch", party.did, "--as", name, *registrar, "--json")
        vouches[name] = vouched.events[-1]["vouch"]
    words = ("--seats", "2", "--admit", "anyone", "--require-vouch", issuer, "--input", "bid=1")
    bare = hosted(alice, *words, program=folder)
    assert bare.wait() == 6, bare.told()
    host = hosted(alice, *words, *showing(alice, vouches["alice"]), program=folder)
    link = said(host, "open")["link"]
    outside = joined(carol, link, "--input", "bid=2")
    assert outside.wait() == 6, outside.told()
    assert said(outside, "required")["requires"] == [{"kind": "vouch", "issuers": [issuer]}]
    assert f"agent vouch {carol.did}" in outside.told()
    stolen = joined(carol, link, "--input", "bid=2", *showing(carol, vouches["bob"]))
    assert stolen.wait() == 6, stolen.told()
    guest = joined(bob, link, "--input", "bid=2", *showing(bob, vouches["bob"]))
    for command in (host, guest):
        assert command.wait() == 0, command.told()
        assert command.the("result")["output"] == "sum=3\n"
        rosters = [told for told in command.all("lobby") if told["what"] == "roster"]
        shown = [[claim["who"] for claim in seat["claims"]] for seat in rosters[-1]["roster"]]
        assert shown == [["alice"], ["bob"]]
    assert not any(told["what"] == "knock" for told in host.all("lobby") if carol.did in str(told))


def test_a_strangers_program_travels_and_does_not_run_unapproved(internet: Internet) -> None:
    alice, bob = internet.parties("home0", "home1")
    folder = internet.rounds(0.1)
    assert alice.agent("program", "approve", folder).wait() == 0
    host = hosted(alice, "--seats", "2", "--admit", "anyone", "--input", "bid=1", program=folder)
    link = said(host, "open")["link"]
    refused = joined(bob, link, "--input", "bid=2")
    assert refused.wait() == 6, refused.told()
    shown = said(refused, "program")["program"]
    assert not shown["approved"]
    assert [told["have"] for told in refused.all("lobby") if told["what"] == "piece"] == [1]
    assert bob.agent("program", "approve", shown["sha256"][:16]).wait() == 0
    allowed = joined(bob, link, "--input", "bid=2")
    for command in (host, allowed):
        assert command.wait() == 0, command.told()
        assert command.the("result")["output"] == "sum=3\n"


def test_the_same_group_again_takes_one_command_where_it_was_allowed(internet: Internet) -> None:
    alice, bob, carol = parties = internet.parties("home0", "home1", "home2")
    for party in parties:
        for name, other in zip(("alice", "bob", "carol"), parties, strict=True):
            if other is not party:
                assert party.agent("contacts", "name", other.did, name).wait() == 0
    for party, others in ((bob, ("alice", "carol")), (carol, ("alice", "bob"))):
        words = [word for name in others for word in ("--with", name)]
        assert party.agent("allow", "auction", *words).wait() == 0
    waiting = [
        party.start("join", "--standing", "--input", f"bid={bid}", "--json", as_root=True)
        for party, bid in ((bob, 150), (carol, 135))
    ]
    for command in waiting:
        said(command, "waiting")
    for _ in range(2):
        host = hosted(alice, "--with", "bob", "--with", "carol", "--input", "bid=120")
        assert host.wait() == 0, host.told()
        assert host.the("result")["output"].endswith("price=135\n")
    for command in waiting:
        until(command, lambda command=command: len(command.all("result")) == 2)  # type: ignore[misc]
        assert all(told["output"].endswith("price=135\n") for told in command.all("result"))
        command.signal(signal.SIGINT)
        command.wait(10)


@pytest.mark.parametrize("who", ["guest", "host"])
def test_who_is_killed_while_all_compute_comes_back_to_its_lobby_and_all_end_well(
    internet: Internet, who: str
) -> None:
    alice, bob, carol = parties = internet.parties("home0", "home1", "home2")
    folder = internet.rounds(5)
    for party in parties:
        party.allow(folder)
    again = ("--retries", "1", "--timeout", "60")
    words = ("--admit", "anyone", "--input", "bid=1", *again)
    host = hosted(alice, "--seats", "3", *words, program=folder)
    link = said(host, "open")["link"]
    one = joined(bob, link, "--input", "bid=2", *again)
    other = joined(carol, link, "--input", "bid=3", *again)
    lost, survivors = (host, (one, other)) if who == "host" else (one, (host, other))
    lost.until("has started")
    lost.kill()
    for survivor in survivors:
        survivor.until("beginning again (epoch 1)")
    if who == "host":
        back = alice.start("host", "--resume", *words, "--json", as_root=True)
    else:
        back = joined(bob, link, "--input", "bid=2", *again)
    for command in (*survivors, back):
        assert command.wait() == 0, command.told()
        assert command.the("result")["output"] == "sum=6\n"
    verdicts = [party.verdict() for party in parties]
    assert all(verdict["complete"] for verdict in verdicts)
    assert {verdict["epoch"] for verdict in verdicts} == {1}


SUM = "rounds"


def hosted(party: Party, *words: str, program: str = "auction") -> Command:
    if program == SUM:
        program = party.internet.rounds(0.1)
        assert party.agent("program", "approve", program).wait() == 0
    return party.start("host", program, *words, "--json", as_root=True)


def joined(party: Party, link: str, *words: str) -> Command:
    return party.start("join", link, *words, "--json", as_root=True)


def showing(party: Party, token: str) -> tuple[str, str]:
    folder = party.folder / "mine"
    folder.mkdir(exist_ok=True)
    (folder / "claim.vouch").write_text(token)
    return ("--claim", str(folder / "claim.vouch"))


def said(command: Command, what: str, number: int = 0) -> Mapping[str, Any]:
    """What a command told of this kind, waiting for it."""

    def told() -> list[dict[str, Any]]:
        return [event for event in command.all("lobby") if event["what"] == what]

    until(command, lambda: len(told()) > number, what)
    return told()[number]


def until(command: Command, done: Any, what: str = "") -> None:
    deadline = time.monotonic() + 60
    while not done():
        over = command.process.poll() is not None and not done()
        assert not over, f"ended before {what}: {command.told()}"
        assert time.monotonic() < deadline, f"never said {what}: {command.told()}"
        time.sleep(0.02)
