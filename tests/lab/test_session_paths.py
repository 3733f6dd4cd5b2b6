"""Paths of running sessions: relayed where nothing else can be, better when it can, never lost."""

import json
import os
import subprocess
import time

import pytest

from tests.support.internet import Internet
from tests.support.running_paths import (
    NOTICE,
    handshake,
    kinds,
    pinging,
    router_wall,
    until_kind,
    until_kinds,
    wall,
)

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]


def test_a_home_without_udp_computes_through_a_stream_and_is_called_degraded(
    internet: Internet,
) -> None:
    parties = internet.parties("walled", "home0")
    commands = internet.run(internet.rounds(3), *zip(parties, (1, 2), strict=True))
    for command in commands:
        assert command.wait() == 0, command.told()
        assert command.the("result")["output"] == "sum=3\n"
    assert kinds(commands) == ["degraded", "relay"]
    assert "UDP blocked" in commands[0].all("path")[-1]["why"]


def test_no_ping_is_lost_when_a_direct_path_opens_and_a_dead_one_is_left_within_seconds(
    internet: Internet,
) -> None:
    parties = internet.parties("home0", "home1")
    with wall(parties[0], internet.address_of("home1")) as between:
        between.raise_()
        commands = internet.run(internet.rounds(40), *zip(parties, (1, 2), strict=True))
        for command in commands:
            command.until("the program has started")
        assert kinds(commands) == ["relay", "relay"]
        before = handshake(parties[0], parties[1])

        with pinging(internet) as upgrade:
            time.sleep(1.0)
            between.tear_down()
            until_kind(commands, "direct", 20.0)
            time.sleep(3.0)
        assert upgrade.lost == 0, upgrade.words
        assert handshake(parties[0], parties[1]) == before

        between.raise_()
        until_kind(commands, "relay", NOTICE)
        with pinging(internet) as relayed:
            time.sleep(3.0)
        assert relayed.lost == 0, relayed.words

        with pinging(internet) as again:
            between.tear_down()
            until_kind(commands, "direct", 20.0)
            time.sleep(3.0)
        assert again.lost == 0, again.words
        assert handshake(parties[0], parties[1]) == before
    for command in commands:
        command.kill()


def test_no_ping_is_lost_on_the_way_from_a_slow_relay_to_a_direct_path(internet: Internet) -> None:
    """Late packets of a slow relay make WireGuard follow them back, at both ends in turn."""
    parties = internet.parties("home0", "home1", mediators=[internet.remote] * 2)
    with wall(parties[0], internet.address_of("home1")) as between:
        between.raise_()
        commands = internet.run(internet.rounds(60), *zip(parties, (1, 2), strict=True))
        for command in commands:
            command.until("the program has started")
        assert kinds(commands) == ["relay", "relay"]
        with pinging(internet) as upgrade:
            time.sleep(1.0)
            between.tear_down()
            until_kind(commands, "direct", 20.0)
            time.sleep(4.0)
        with pinging(internet) as afterwards:
            time.sleep(2.0)
    assert upgrade.lost == afterwards.lost == 0, upgrade.words
    assert afterwards.median < 100, "the relay takes 200 ms"
    rules = ["ip", "netns", "exec", parties[0].host.namespace, "nft", "list", "ruleset"]
    assert "udp dport set" not in subprocess.check_output(rules, text=True)
    for command in commands:
        command.kill()


def test_a_cable_that_is_pulled_for_ten_seconds_ends_no_session(internet: Internet) -> None:
    parties = internet.parties("home0", "home1")
    commands = internet.run(internet.rounds(20), *zip(parties, (1, 2), strict=True))
    for command in commands:
        command.until("the program has started")
    ip = ["ip", "-n", parties[0].host.namespace]
    (route,) = json.loads(subprocess.check_output([*ip, "-j", "route", "show", "default"]))
    subprocess.run([*ip, "link", "set", route["dev"], "down"], check=True)
    time.sleep(10.0)
    subprocess.run([*ip, "link", "set", route["dev"], "up"], check=True)
    way_out = ["default", "via", route["gateway"], "dev", route["dev"]]
    subprocess.run([*ip, "route", "replace", *way_out], check=True)
    for command in commands:
        assert command.wait() == 0, command.told()
        assert command.the("result")["output"] == "sum=3\n"
    assert any("looking for our addresses again" in step for step in commands[0].steps())


def test_when_udp_is_blocked_a_stream_takes_over_and_goes_when_udp_is_back(
    internet: Internet,
) -> None:
    parties = internet.parties("home0", "home1")
    commands = internet.run(internet.rounds(60), *zip(parties, (1, 2), strict=True))
    for command in commands:
        command.until("the program has started")
    until_kind(commands, "direct", 10.0)
    with router_wall(internet, "home0") as blocked:
        with pinging(internet) as fallback:
            blocked.raise_()
            until_kinds(commands, ["degraded", "relay"], NOTICE)
            time.sleep(2.0)
        assert fallback.sent - fallback.received < 100 * NOTICE, fallback.words
        with pinging(internet) as streamed:
            time.sleep(3.0)
        assert streamed.lost == 0, streamed.words
        with pinging(internet) as upgrade:
            time.sleep(1.0)
            blocked.tear_down()
            until_kind(commands, "direct", 20.0)
            time.sleep(3.0)
        print("lost while UDP was found blocked, and when it came back:")
        print(fallback.sent - fallback.received, "and", upgrade.lost, "pings of 100 a second")
        assert upgrade.lost < 20, upgrade.words
    for command in commands:
        command.kill()


def test_a_relay_is_reached_by_udp_again_when_udp_is_back(internet: Internet) -> None:
    parties = internet.parties("office0", "office1")
    with router_wall(internet, "office0") as blocked:
        blocked.raise_()
        commands = internet.run(internet.rounds(40), *zip(parties, (1, 2), strict=True))
        for command in commands:
            command.until("the program has started")
        assert kinds(commands) == ["degraded", "relay"]
        blocked.tear_down()
        until_kind(commands, "relay", 15.0)
        with pinging(internet) as relayed:
            time.sleep(3.0)
        assert relayed.lost == 0, relayed.words
    for command in commands:
        command.kill()
