"""Paths of running sessions: relayed where nothing else can be, better when it can, never lost."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.internet import Command, Internet, Party

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]

WALL = """
table inet wall {{
  chain out {{ type filter hook output priority 0; ip daddr {0} meta l4proto udp drop; }}
  chain in {{ type filter hook prerouting priority -400; ip saddr {0} meta l4proto udp drop; }}
}}
"""
ROUTER_WALL = """
table inet wall {
  chain through { type filter hook forward priority -10; meta l4proto udp drop; }
}
"""
NOTICE = 6.0  # seconds until a dead path is left: two of silence, and then some on a busy machine


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


@dataclass
class Wall:
    """For UDP alone: between one host and an address, or in a router."""

    namespace: str
    rules: str

    def raise_(self) -> None:
        self._nft(self.rules)

    def tear_down(self) -> None:
        self._nft("table inet wall\ndelete table inet wall\n")

    def _nft(self, text: str) -> None:
        nft = ["ip", "netns", "exec", self.namespace, "nft", "-f", "-"]
        subprocess.run(nft, input=text, text=True, check=True)


@contextlib.contextmanager
def wall(party: Party, address: str) -> Iterator[Wall]:
    made = Wall(party.host.namespace, WALL.format(address))
    try:
        yield made
    finally:
        made.tear_down()


@contextlib.contextmanager
def router_wall(internet: Internet, home: str) -> Iterator[Wall]:
    """UDP neither into this home nor out of it."""
    made = Wall(internet.router_of(home), ROUTER_WALL)
    try:
        yield made
    finally:
        made.tear_down()


@dataclass
class Pings:
    sent: int = 0
    received: int = 0
    median: int = 0  # ms
    words: str = ""

    @property
    def lost(self) -> int:
        assert self.sent > 100
        return self.sent - self.received


@contextlib.contextmanager
def pinging(internet: Internet) -> Iterator[Pings]:
    """A hundred pings a second from the first party's program to the second's address."""
    inside = ["nsenter", f"--net=/proc/{internet.program_of(0)}/ns/net", "--"]
    routes = subprocess.check_output([*inside, "ip", "-4", "-j", "route"], text=True)
    (other,) = [route["dst"] for route in json.loads(routes)]
    process = subprocess.Popen(
        [*inside, sys.executable, "tests/support/icmp_pings.py", other],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    found = Pings()
    try:
        yield found
    finally:
        found.words, _ = process.communicate(timeout=20)
    found.sent, found.received, found.median = map(int, found.words.split()[:3])


def kinds(commands: list[Command]) -> list[str]:
    return [command.all("path")[-1]["kind"] for command in commands]


def until_kind(commands: list[Command], kind: str, seconds: float) -> None:
    until_kinds(commands, [kind] * len(commands), seconds)


def until_kinds(commands: list[Command], wanted: list[str], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while kinds(commands) != wanted:
        assert time.monotonic() < deadline, "".join(command.told() for command in commands)
        time.sleep(0.02)


def handshake(party: Party, other: Party) -> float:
    """When WireGuard shook hands with the other, as `agent status` says it."""
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        told = json.loads(party.agent("status", "--json").output)
        paths = told["sessions"][0]["paths"]
        if paths.get(other.did, {}).get("last_handshake"):
            return float(paths[other.did]["last_handshake"])
        time.sleep(0.2)
    raise AssertionError("no handshake is told")
