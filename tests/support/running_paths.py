"""What tests of a running session's paths look at, and what they break on the way.

with router_wall(internet, "home0") as blocked, pinging(internet) as found:
    blocked.raise_()
    until_kinds(commands, ["degraded", "relay"], NOTICE)
found.lost
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from lab.nat import NatKind, ruleset
from tests.support.internet import Command, Internet, Party

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
DEAF_ROUTER = """
table inet wall {
  chain asked { type filter hook input priority -10; udp dport { 1900, 5351 } drop; }
}
"""
# All connections that a router knows: a flush by ctnetlink.
FORGET = """
import socket, struct
with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as netlink:
    netlink.send(struct.pack("=IHHII", 20, 1 << 8 | 2, 5, 1, 0) + bytes(4))
    (error,) = struct.unpack_from("=i", netlink.recv(4096), 16)
    assert error == 0, error
"""
NOTICE = 6.0  # seconds until a dead path is left: two of silence, and then some on a busy machine


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


@contextlib.contextmanager
def deaf_router(internet: Internet, home: str) -> Iterator[None]:
    """Asked to open a port, it says nothing in this block."""
    made = Wall(internet.router_of(home), DEAF_ROUTER)
    made.raise_()
    try:
        yield
    finally:
        made.tear_down()


@contextlib.contextmanager
def restarted_router(internet: Internet, home: str, kind: NatKind) -> Iterator[None]:
    """It is away in the block; afterwards it knows no connection and is of this kind."""
    run = ["ip", "netns", "exec", internet.router_of(home)]
    rules = ruleset(kind.nat, internet.address_of(home))
    subprocess.run([*run, "ip", "link", "set", "lan", "down"], check=True)
    try:
        yield
    finally:
        subprocess.run([*run, "nft", "-f", "-"], input=rules, text=True, check=True)
        subprocess.run([*run, sys.executable, "-c", FORGET], check=True)
        subprocess.run([*run, "ip", "link", "set", "lan", "up"], check=True)


@contextlib.contextmanager
def another_address(party: Party) -> Iterator[None]:
    """Its host is somewhere else in its home from the beginning of the block to its end."""
    ip = ["ip", "-n", party.host.namespace]
    (route,) = json.loads(subprocess.check_output([*ip, "-j", "route", "show", "default"]))
    before = party.host.address
    after = f"{before.rpartition('.')[0]}.77"
    for new, old in ((after, before), (before, after)):
        for words in (
            ["addr", "del", f"{old}/24", "dev", route["dev"]],
            ["addr", "add", f"{new}/24", "dev", route["dev"]],
            ["route", "replace", "default", "via", route["gateway"]],
        ):
            subprocess.run([*ip, *words], check=True)
        if new == after:
            yield


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
    inside = _inside(internet)
    process = subprocess.Popen(
        [*inside, sys.executable, "tests/support/icmp_pings.py", mesh_address(internet)],
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


def mesh_address(internet: Internet) -> str:
    """The second party's, as the first party's program reaches it."""
    words = [*_inside(internet), "ip", "-4", "-j", "route"]
    routes = json.loads(subprocess.check_output(words, text=True))
    (other,) = [route["dst"] for route in routes]
    return str(other)


def _inside(internet: Internet) -> list[str]:
    return ["nsenter", f"--net=/proc/{internet.program_of(0)}/ns/net", "--"]


def kinds(commands: list[Command]) -> list[str]:
    return [command.all("path")[-1]["kind"] for command in commands]


def seconds_to(commands: list[Command], kind: str) -> float:
    """From the first path of any of them to the last one's first of this kind."""
    told = [[(path["t"], path["kind"]) for path in command.all("path")] for command in commands]
    first = min(at for said in told for at, _ in said)
    return round(max(next(at for at, one in said if one == kind) for said in told) - first, 2)


def port_of(command: Command) -> int:
    """Where the path in use leads to."""
    return int(command.all("path")[-1]["endpoint"].rpartition(":")[2])


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
        told = json.loads(party.prepared("status", "--json").output)
        paths = told["sessions"][0]["paths"]
        if paths.get(other.did, {}).get("last_handshake"):
            return float(paths[other.did]["last_handshake"])
        time.sleep(0.2)
    raise AssertionError("no handshake is told")
