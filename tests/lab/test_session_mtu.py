"""How large the packets of a running session are: as its paths allow, also when that changes."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab.nat import WAN
from tests.support.internet import Command, Internet, Party

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]

HOLE = """
table inet hole {
  chain through { type filter hook forward priority -10; meta l4proto udp meta length > 1400 drop; }
}
"""
PIECES = """
table inet pieces {
  chain in { type filter hook prerouting priority -450; ip frag-off & 0x1fff != 0 counter; }
}
"""
NARROW = 1398  # bytes; a veth lets 4 more in, for a VLAN
FITS = 1328  # of the sizes that are probed, the largest with 60 bytes around it within either
FOUND = 15.0  # seconds until a size is found, on a busy machine
STREAM = 20.0  # seconds
LONGEST_GAP = 8.0  # seconds without a byte when a path turns narrow: TCP waits ever longer itself


def test_on_an_ordinary_path_packets_become_large_both_ways(internet: Internet) -> None:
    parties = internet.parties("home0", "home1")
    session(internet, parties)
    until_mtus(parties, 1420)
    for rank in (0, 1):
        (route,) = routes(internet, rank)
        assert route["metrics"] == [{"mtu": 1420, "advmss": 1380}]
    with streaming(internet, 3.0) as stream:
        pass
    assert stream.bytes > 1_000_000


@pytest.mark.parametrize(
    ("places", "kinds"),
    [
        pytest.param(["office0", "office1"], ["relay", "relay"], id="a relay"),
        pytest.param(["walled", "home0"], ["degraded", "relay"], id="a stream"),
    ],
)
def test_packets_become_large_through_others_as_well(
    internet: Internet, places: list[str], kinds: list[str]
) -> None:
    parties = internet.parties(*places)
    commands = session(internet, parties)
    until_mtus(parties, 1420)
    assert [command.all("path")[-1]["kind"] for command in commands] == kinds
    with streaming(internet, 3.0) as stream:
        pass
    assert stream.bytes > 1_000_000


def test_a_path_that_swallows_large_packets_carries_smaller_ones_from_the_start(
    internet: Internet,
) -> None:
    parties = internet.parties("home0", "home1")
    with one_by_one(parties), rules(internet.router_of("home0"), HOLE):
        commands = session(internet, parties)
        with streaming(internet, 3.0) as stream:
            pass
        assert stream.bytes > 1_000_000, "what nobody has seen to pass must not be used"
        assert stream.longest_gap < 1.0
        until_mtus(parties, FITS)
        with streaming(internet, 3.0) as stream:
            pass
        assert stream.bytes > 1_000_000
        assert not any("do not arrive" in step for step in commands[0].steps())


def test_when_a_path_begins_to_swallow_large_packets_a_stream_goes_on_within_seconds(
    internet: Internet,
) -> None:
    parties = internet.parties("home0", "home1")
    commands = session(internet, parties)
    until_mtus(parties, 1420)
    with streaming(internet, STREAM) as stream:
        time.sleep(3.0)
        with one_by_one(parties), rules(internet.router_of("home0"), HOLE):
            until_mtus(parties, FITS)
            time.sleep(STREAM - 3.0)
    print(f"longest gap {stream.longest_gap:.1f} s")
    assert 0.5 < stream.longest_gap < LONGEST_GAP
    for command in commands:
        assert any("do not arrive any more: 1280 bytes" in step for step in command.steps())


def test_what_a_router_says_of_its_mtu_is_believed_and_nothing_is_sent_in_pieces(
    internet: Internet,
) -> None:
    parties = internet.parties("home0", "home1")
    router = internet.router_of("home0")
    with narrowed(router), rules(router, PIECES):
        session(internet, parties)
        until_mtus(parties, FITS)
        with streaming(internet, 3.0) as stream:
            pass
        assert stream.bytes > 1_000_000
        counted = nft(router, "-j list table inet pieces")
    counters = [
        expression["counter"]["packets"]
        for entry in json.loads(counted)["nftables"]
        for expression in entry.get("rule", {}).get("expr", [])
        if "counter" in expression
    ]
    assert counters == [0]


@contextlib.contextmanager
def one_by_one(parties: list[Party]) -> Iterator[None]:
    """The hosts' cables carry single packets, as real ones do: a rule sees a batch as one long."""
    with contextlib.ExitStack() as stack:
        for party in parties:
            ip = ["ip", "-n", party.host.namespace]
            (route,) = json.loads(subprocess.check_output([*ip, "-j", "route", "show", "default"]))
            link = [*ip, "link", "set", "dev", route["dev"], "gso_max_segs"]
            subprocess.run([*link, "1"], check=True)
            stack.callback(subprocess.run, [*link, "65535"], check=True)
        yield


def session(internet: Internet, parties: list[Party]) -> list[Command]:
    commands = internet.run(internet.rounds(60), *zip(parties, (1, 2), strict=True))
    for command in commands:
        command.until("the program has started")
    return commands


def until_mtus(parties: list[Party], mtu: int) -> None:
    """Until `agent status` tells this of both directions."""
    deadline = time.monotonic() + FOUND
    while (seen := [mtu_of(party) for party in parties]) != [mtu, mtu]:
        assert time.monotonic() < deadline, seen
        time.sleep(0.1)


def mtu_of(party: Party) -> int | None:
    (session,) = json.loads(party.agent("status", "--json").output)["sessions"]
    (path,) = session["paths"].values()
    mtu = path.get("mtu")
    assert mtu is None or isinstance(mtu, int)
    return mtu


@dataclass
class Stream:
    bytes: int = 0
    longest_gap: float = 0.0


@contextlib.contextmanager
def streaming(internet: Internet, seconds: float) -> Iterator[Stream]:
    """From the first party's program to the second's."""
    (to,) = [str(route["dst"]) for route in routes(internet, 0)]
    words = [sys.executable, "tests/support/tcp_stream.py"]
    with (
        subprocess.Popen(
            [*inside(internet, 1), *words, "receive", to, str(seconds)],
            stdout=subprocess.PIPE,
            text=True,
        ) as receiver,
    ):
        assert receiver.stdout is not None
        receiver.stdout.readline()
        found = Stream()
        with subprocess.Popen([*inside(internet, 0), *words, "send", to, str(seconds)]) as sender:
            try:
                yield found
            finally:
                told = json.loads(receiver.stdout.readline())
                sender.kill()
        found.bytes, found.longest_gap = told["bytes"], told["longest_gap"]


def routes(internet: Internet, rank: int) -> list[dict[str, object]]:
    """Of the mesh, as this party's program has them."""
    told = subprocess.check_output([*inside(internet, rank), "ip", "-4", "-j", "route"])
    found = json.loads(told)
    assert isinstance(found, list)
    return found


def inside(internet: Internet, rank: int) -> list[str]:
    return ["nsenter", f"--net=/proc/{internet.program_of(rank)}/ns/net", "--"]


@contextlib.contextmanager
def rules(router: str, text: str) -> Iterator[None]:
    """In a router, for a while."""
    name = text.split()[2]
    nft(router, "-f -", text)
    try:
        yield
    finally:
        nft(router, f"delete table inet {name}")


@contextlib.contextmanager
def narrowed(router: str) -> Iterator[None]:
    """Its way out takes no more; it says so to those inside, and drops what comes from outside."""
    link = ["ip", "-n", router, "link", "set", WAN, "mtu"]
    subprocess.run([*link, str(NARROW)], check=True)
    try:
        yield
    finally:
        subprocess.run([*link, "1500"], check=True)


def nft(router: str, words: str, text: str = "") -> str:
    command = ["ip", "netns", "exec", router, "nft", *words.split()]
    return subprocess.run(command, input=text, text=True, check=True, capture_output=True).stdout
