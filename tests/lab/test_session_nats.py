"""NATs that vary their ports: relayed, foreseen or guessed."""

import os
import signal
import time

import pytest

from lab.boxes import port_mapping_daemon
from tests.support.internet import Internet
from tests.support.running_paths import (
    deaf_router,
    handshake,
    kinds,
    pinging,
    seconds_to,
    until_kind,
)

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]


def test_two_homes_with_varying_ports_compute_through_the_relay_and_say_why(
    internet: Internet,
) -> None:
    parties = internet.parties("office0", "office1")
    commands = internet.run(internet.rounds(3), *zip(parties, (1, 2), strict=True))
    for command in commands:
        assert command.wait() == 0, command.told()
        (path,) = command.all("path")
        assert path["kind"] == "relay"
        assert path["endpoint"].startswith("198.51.100.")
        assert path["why"].count("address-and-port-dependent mapping") == 2
        assert command.the("result")["output"] == "sum=3\n"
    one_port = {command.all("path")[0]["endpoint"] for command in commands}
    assert len(one_port) == 1, "of two at one mediator one asks for a port, and both bind there"
    for command, relays in zip(commands, (1, 0), strict=True):
        assert any(step.endswith(f"relays: {relays}") for step in command.steps())


def test_a_home_whose_ports_are_counted_up_is_met_where_it_will_be_next(
    internet: Internet,
) -> None:
    parties = internet.parties("counting", "home0")
    commands = internet.run(internet.rounds(3), *zip(parties, (1, 2), strict=True))
    for command in commands:
        assert command.wait() == 0, command.told()
        assert command.the("result")["output"] == "sum=3\n"
    assert kinds(commands) == ["direct", "direct"]
    (candidates,) = (step for step in commands[0].steps() if step.startswith("mapping"))
    met = commands[1].all("path")[-1]["endpoint"]
    assert f"predicted {met}" in candidates, (met, candidates)


@pytest.mark.skipif(port_mapping_daemon() is None, reason="needs Debian's miniupnpd-nftables")
def test_a_port_that_the_router_opens_late_is_told_and_makes_the_path_direct(
    internet: Internet,
) -> None:
    parties = internet.parties("mapper", "office0")
    with deaf_router(internet, "mapper"):
        commands = internet.run(internet.rounds(12), *zip(parties, (1, 2), strict=True))
        for command in commands:
            command.until("everybody is ready")
        assert kinds(commands) == ["relay", "relay"]
    until_kind(commands, "direct", 12.0)
    for command in commands:
        assert command.wait() == 0, command.told()
        assert command.the("result")["output"] == "sum=3\n"


@pytest.mark.alone
def test_six_of_six_pairs_that_only_guessing_connects_are_direct_within_seconds(
    internet: Internet,
) -> None:
    parties = internet.parties("office0", "home0")
    took: list[float] = []
    lost: list[int] = []
    for _ in range(6):
        commands = [
            internet.run_one(internet.rounds(60), party, number, parties, "--json", "--try-hard")
            for number, party in enumerate(parties, 1)
        ]
        for command in commands:
            command.until("the program has started")
        before = handshake(parties[0], parties[1])
        with pinging(internet) as upgrade:
            until_kind(commands, "direct", 25.0)
            time.sleep(3.0)
        assert kinds(commands) == ["direct", "direct"]
        assert handshake(parties[0], parties[1]) == before
        took.append(seconds_to(commands, "direct"))
        lost.append(upgrade.lost)
        for command in commands:
            command.signal(signal.SIGINT)
            command.wait()
    print("seconds from the mesh to a direct path:", took, "pings lost:", lost)
    assert lost == [0] * 6
