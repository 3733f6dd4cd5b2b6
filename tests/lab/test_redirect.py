"""Which packets take the direct path instead of a relay's, and that no rule outlives its maker."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from lab.host import Host
from lab.topology import Lab

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]

# Where datagrams to the relay, port 5000, arrive: before, while and after they are redirected.
REDIRECTED = """
import os, signal, socket, sys
from agent.network_helper.redirect import Redirect
from agent.wireguard.config import Endpoint

here, family = sys.argv[1], socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET

def bound(port):
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.bind((here, port))
    made.settimeout(5)
    return made

relay, direct, wireguard, other = map(bound, (5000, 6000, 7000, 7001))
redirect = Redirect("test", 7000)
late = [Endpoint(bytes(32), (here, 6000), 0, ((here, 5000),))]

def where(sender, data):
    sender.sendto(data, (here, 5000))
    for name, ear in (("relay", relay), ("direct", direct)):
        ear.setblocking(False)
        try:
            return name if ear.recv(2000) == data else "changed"
        except BlockingIOError:
            pass
    return "nowhere"

DATA = b"\\4\\0\\0\\0" + bytes(1300)
STUN = bytes.fromhex("000100002112a442") + bytes(12)
seen = [where(wireguard, DATA)]
redirect.set(late, {})
seen += [where(wireguard, DATA), where(wireguard, STUN), where(other, DATA)]
redirect.set([], {})
seen += [where(wireguard, DATA)]
print(" ".join(seen), flush=True)
redirect.set(late, {})
os.kill(os.getpid(), signal.SIGKILL)
"""
# What leaves from another port of ours, and what comes there is WireGuard's; with late ones, too.
FROM_ANOTHER_PORT = """
import os, signal, socket, sys
from agent.network_helper.redirect import Redirect
from agent.wireguard.config import Endpoint

here, family = sys.argv[1], socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET

def bound(port):
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.bind((here, port))
    return made

relay, other_side, wireguard, source = map(bound, (5000, 6000, 7000, 8000))
NAMES = {5000: "relay", 6000: "other", 7000: "wireguard", 8000: "source"}
redirect = Redirect("test", 7000)

def way(sender, to, data):
    sender.sendto(data, (here, to))
    for ear in (relay, other_side, wireguard, source):
        ear.setblocking(False)
        try:
            got, came = ear.recvfrom(2000)
        except BlockingIOError:
            continue
        return NAMES[came[1]] + ">" + NAMES[ear.getsockname()[1]] if got == data else "changed"
    return "nowhere"

DATA = b"\\4\\0\\0\\0" + bytes(1300)
STUN = bytes.fromhex("000100002112a442") + bytes(12)
held = {8000: (here, 6000)}
redirect.set([Endpoint(bytes(32), (here, 5000), 0)], held)
print(way(wireguard, 6000, DATA), way(other_side, 8000, DATA), way(wireguard, 5000, DATA))
redirect.set([Endpoint(bytes(32), (here, 6000), 0, ((here, 5000),), 8000)], held)
print(
    way(wireguard, 6000, DATA), way(wireguard, 5000, DATA), way(wireguard, 5000, STUN),
    way(other_side, 8000, DATA), way(other_side, 8000, STUN), way(relay, 5000, DATA),
)
redirect.set([Endpoint(bytes(32), (here, 6000), 0)], held)
print(way(wireguard, 6000, DATA))
redirect.set([Endpoint(bytes(32), (here, 6000), 0)], {})
print(way(wireguard, 6000, DATA), way(other_side, 8000, DATA), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
WITHOUT_NFTABLES = """
from agent.network_helper import redirect
from agent.network_helper.commands import CommandFailed

def missing():
    raise CommandFailed("there is no libnftables.so.1")

redirect._Nft = missing
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Lab() as lab:
        yield lab.public("host", "198.51.100.10")


@pytest.mark.parametrize("version", [4, 6])
def test_only_wireguards_packets_for_the_relay_take_the_direct_path(
    host: Host, version: int
) -> None:
    addresses = host.addresses if version == 4 else host.addresses6
    told, left = run(host, REDIRECTED, addresses[0])
    assert told == "relay direct relay relay relay"
    assert left == "", "the kernel keeps no table whose maker was killed"


@pytest.mark.parametrize("version", [4, 6])
def test_a_path_from_another_port_is_wireguards_both_ways_and_nothing_elses(
    host: Host, version: int
) -> None:
    addresses = host.addresses if version == 4 else host.addresses6
    told, left = run(host, FROM_ANOTHER_PORT, addresses[0])
    assert told.split() == [
        *("source>other", "other>wireguard", "wireguard>relay"),  # held, and not told of
        *("source>other", "source>other", "wireguard>relay"),
        *("other>wireguard", "other>source", "relay>relay"),
        "wireguard>other",  # told to be WireGuard's own
        *("wireguard>other", "other>source"),
    ]
    assert left == ""


def test_a_system_without_nftables_sends_on_as_before(host: Host) -> None:
    told, _ = run(host, WITHOUT_NFTABLES + REDIRECTED, host.address)
    assert told == "relay relay relay relay relay"


def run(host: Host, program: str, address: str) -> tuple[str, str]:
    """What was seen, and the rules that are there once the program was killed."""
    process = host.popen([sys.executable, "-c", program, address], stdout=subprocess.PIPE)
    told, _ = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    return told.decode().strip(), host.run(["nft", "list", "ruleset"])
