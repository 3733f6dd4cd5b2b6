"""Routers and mediators are restarted under a running session, which goes on."""

import os
import time
from typing import Any

import pytest

from lab.nat import NatKind
from tests.support.internet import Command, Internet, Party
from tests.support.running_paths import (
    NOTICE,
    another_address,
    kinds,
    pinging,
    port_of,
    restarted_router,
    until_kind,
)

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]


def test_a_router_that_is_restarted_and_gives_other_ports_is_passed_directly_again(
    internet: Internet,
) -> None:
    parties = internet.parties("home0", "home1")
    commands = internet.run(internet.rounds(60), *zip(parties, (1, 2), strict=True))
    for command in commands:
        command.until("the program has started")
    until_kind(commands, "direct", 20.0)
    before = commands[1].all("path")[-1]["endpoint"]
    with restarted_router(internet, "home0", NatKind.RANDOM_PORT):
        time.sleep(4.0)  # long enough for the first look at our addresses to be in vain
    deadline = time.monotonic() + 30.0
    while kinds(commands) != ["direct", "direct"] or (
        commands[1].all("path")[-1]["endpoint"] == before
    ):
        assert time.monotonic() < deadline, [command.told() for command in commands]
        time.sleep(0.1)
    with pinging(internet) as afterwards:
        time.sleep(2.0)
    assert afterwards.lost == 0, afterwards.words
    for command in commands:
        command.kill()
    with restarted_router(internet, "home0", NatKind.PORT_RESTRICTED):
        pass  # as it was


def test_a_relayed_session_goes_on_after_a_router_was_restarted(internet: Internet) -> None:
    parties = internet.parties("office0", "office1")
    commands = internet.run(internet.rounds(60), *zip(parties, (1, 2), strict=True))
    for command in commands:
        command.until("the program has started")
    with pinging(internet) as during:
        with restarted_router(internet, "office0", NatKind.SYMMETRIC):
            time.sleep(1.0)
        time.sleep(NOTICE + 2.0)
    with pinging(internet) as afterwards:
        time.sleep(3.0)
    assert during.sent - during.received < 100 * (NOTICE + 1.0), during.words
    assert afterwards.lost == 0, afterwards.words
    assert kinds(commands) == ["relay", "relay"]
    for command in commands:
        command.kill()


def test_a_relayed_session_goes_on_at_another_port_after_its_mediator_was_restarted(
    internet: Internet,
) -> None:
    parties = internet.parties("office0", "office1")
    commands = internet.run(internet.rounds(60), *zip(parties, (1, 2), strict=True))
    for command in commands:
        command.until("the program has started")
    assert kinds(commands) == ["relay", "relay"]
    internet.near.restart("--relay-ports", "42000-42031")  # no ticket of before is of use
    try:
        deadline = time.monotonic() + 14.0  # after 15 s of silence a party is lost
        while not all(port_of(command) in range(42000, 42032) for command in commands):
            assert time.monotonic() < deadline, [command.told() for command in commands]
            time.sleep(0.05)
        with pinging(internet) as afterwards:
            time.sleep(3.0)
        assert afterwards.lost == 0, afterwards.words
        assert all(command.process.poll() is None for command in commands)
    finally:
        for command in commands:
            command.kill()
        internet.near.restart()


def test_a_party_that_moves_while_no_mediator_can_be_reached_is_found_where_it_is(
    internet: Internet,
) -> None:
    parties = internet.parties("home0", "open0")
    commands = internet.run(internet.rounds(60), *zip(parties, (1, 2), strict=True))
    for command in commands:
        command.until("the program has started")
    until_kind(commands, "direct", 20.0)
    internet.near.kill()
    try:
        with another_address(parties[0]):
            with pinging(internet) as during:
                time.sleep(15.0)
            with pinging(internet) as afterwards:
                time.sleep(2.0)
            assert during.sent - during.received < 100 * NOTICE, during.words
            assert afterwards.lost == 0, afterwards.words
            assert all(command.process.poll() is None for command in commands)
    finally:
        for command in commands:
            command.kill()
        internet.near.start()


def test_two_that_only_a_third_can_reach_meet_again_though_no_mail_goes(
    internet: Internet,
) -> None:
    parties = internet.parties("home0", "home1", "open0")
    commands = internet.run(internet.rounds(90), *zip(parties, (1, 2, 3), strict=True))
    for command in commands:
        command.until("the program has started")
    deadline = time.monotonic() + 20.0
    while {path["kind"] for command in commands for path in last_paths(command)} != {"direct"}:
        assert time.monotonic() < deadline, [command.told() for command in commands]
        time.sleep(0.1)
    before = path_to(commands[1], parties[0])["endpoint"]
    internet.near.kill()
    try:
        with another_address(parties[0]):
            time.sleep(20.0)  # after 15 s of silence a party is lost
            assert all(command.process.poll() is None for command in commands)
            found = path_to(commands[1], parties[0])
            assert (found["kind"], found["endpoint"] != before) == ("direct", True)
    finally:
        for command in commands:
            command.kill()
        internet.near.start()


def last_paths(command: Command) -> list[dict[str, Any]]:
    """To each other party, as it was told last."""
    return list({path["did"]: path for path in command.all("path")}.values())


def path_to(command: Command, party: Party) -> dict[str, Any]:
    return next(path for path in last_paths(command) if path["did"] == party.did)
