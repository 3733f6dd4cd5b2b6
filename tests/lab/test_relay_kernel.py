"""The relay in the kernel, for real: nftables in a namespace, hosts on an own small internet."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.host import Host
from lab.topology import Lab

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces"),
    pytest.mark.skipif(not shutil.which("nft"), reason="needs nftables"),
]
RELAY = "198.51.100.10"
PORTS = "41000-41015"
ONE = "tests.support.relay_side"


@dataclass
class Running:
    """A relay on a host, and tickets from it."""

    host: Host
    process: "subprocess.Popen[bytes]"

    def tickets(self, versions: tuple[int, int] = (4, 4)) -> list[str]:
        """Each side's, with the relay's address of one family."""
        tickets = json.loads(self.say())
        for ticket, version in zip(tickets, versions, strict=True):
            ticket["hosts"] = [host for host in ticket["hosts"] if (":" in host) == (version == 6)]
        return [json.dumps(ticket) for ticket in tickets]

    def say(self) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        return self.hear()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode()

    def end(self) -> dict[str, object]:
        assert self.process.stdin is not None
        self.process.stdin.close()
        facts: dict[str, object] = json.loads(self.hear())
        self.process.wait(10)
        return facts

    def table(self) -> str:
        return self.host.run(["nft", "list", "ruleset"])


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def relay_host(lab: Lab) -> Host:
    host = lab.public("relay", RELAY)
    host.run(["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"])
    return host


@pytest.fixture(scope="module")
def parties(lab: Lab) -> tuple[Host, Host]:
    return lab.public("one", "203.0.113.201"), lab.public("two", "203.0.113.202")


@contextlib.contextmanager
def running(host: Host, how: str = "kernel", *more: str) -> Iterator[Running]:
    process = host.popen(
        [sys.executable, "-m", "tests.support.relay_host", addresses(host), PORTS, how, *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    relay = Running(host, process)
    try:
        assert json.loads(relay.hear())["forwarding"] == how
        yield relay
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def test_a_thousand_datagrams_pass_in_the_kernel_and_are_counted(
    relay_host: Host, parties: tuple[Host, Host]
) -> None:
    with running(relay_host) as relay:
        assert exchange(relay, parties, "1000") == {"sent": 1000, "received": 1000}
        facts = relay.end()
    assert facts["forwarding"] == "kernel"
    assert facts["packets"] == 2000  # there and back
    assert facts["bytes"] == 2000 * 64


def test_so_they_do_over_ipv6(relay_host: Host, parties: tuple[Host, Host]) -> None:
    with running(relay_host) as relay:
        before = datagrams_read(relay.process.pid, 6)
        asked = exchange(relay, parties, "1000", versions=(6, 6))
        assert asked == {"sent": 1000, "received": 1000}
        assert datagrams_read(relay.process.pid, 6) - before < 30  # binds
        facts = relay.end()
    assert facts["forwarding"] == "kernel"
    assert (facts["packets"], facts["bytes"]) == (2000, 2000 * 64)


@pytest.mark.parametrize("versions", [(4, 6), (6, 4)], ids=["4 to 6", "6 to 4"])
def test_from_one_family_to_the_other_python_carries_beside_the_kernel(
    relay_host: Host, parties: tuple[Host, Host], versions: tuple[int, int]
) -> None:
    with running(relay_host) as relay:
        assert exchange(relay, parties, "200", versions=versions) == {"sent": 200, "received": 200}
        facts = relay.end()
    assert (facts["forwarding"], facts["packets"], facts["by_python"]) == ("kernel", 400, 1)


def test_python_alone_carries_the_same(relay_host: Host, parties: tuple[Host, Host]) -> None:
    with running(relay_host, "python") as relay:
        assert exchange(relay, parties, "200") == {"sent": 200, "received": 200}
        facts = relay.end()
    assert (facts["forwarding"], facts["packets"]) == ("python", 400)


def test_python_sees_binds_and_nothing_of_the_data(
    relay_host: Host, parties: tuple[Host, Host]
) -> None:
    with running(relay_host) as relay:
        user = relay.process.pid
        before = datagrams_read(user)
        exchange(relay, parties, "1000")
        assert datagrams_read(user) - before < 30


def test_a_pair_is_held_to_its_rate(relay_host: Host, parties: tuple[Host, Host]) -> None:
    with running(relay_host, "kernel", "1") as relay:  # a megabit a second
        facts = exchange(relay, parties, "2000", "2000")
        assert 100 < facts["received"] < 1500  # what may burst, and little more


def test_the_table_goes_when_the_relay_ends(relay_host: Host) -> None:
    with running(relay_host) as relay:
        assert "table inet didmesh_relay" in relay.table()
        relay.end()
        wait_until_clean(relay)


def test_the_table_goes_when_the_relay_is_killed(
    relay_host: Host, parties: tuple[Host, Host]
) -> None:
    with running(relay_host) as relay:
        exchange(relay, parties, "1")
        relay.process.send_signal(signal.SIGKILL)
        wait_until_clean(relay)


def test_what_a_killed_helper_left_is_replaced_at_the_next_start(
    relay_host: Host, parties: tuple[Host, Host]
) -> None:
    with running(relay_host) as relay:
        exchange(relay, parties, "1")
        assert "in_41" in relay.table()
        os.kill(helper_of(relay), signal.SIGKILL)
        relay.process.send_signal(signal.SIGKILL)
        assert "in_41" in relay.table()
    with running(relay_host) as relay:
        assert "in_41" not in relay.table()
        exchange(relay, parties, "1")
        relay.end()
        wait_until_clean(relay)


def test_when_the_helper_dies_python_goes_on(relay_host: Host, parties: tuple[Host, Host]) -> None:
    with running(relay_host) as relay:
        exchange(relay, parties, "1")
        os.kill(helper_of(relay), signal.SIGTERM)
        wait_until_clean(relay)
        assert exchange(relay, parties, "100") == {"sent": 100, "received": 100}
        assert relay.end()["forwarding"] == "python"


def test_a_second_relay_does_not_take_the_table_of_a_living_one(relay_host: Host) -> None:
    with running(relay_host) as relay:
        second = relay_host.popen(
            [sys.executable, "-m", "tests.support.relay_host", RELAY, "42000-42001", "kernel"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        output, _ = second.communicate(timeout=30)
        assert json.loads(output.splitlines()[0])["forwarding"] == "python"
        assert "41000-41015" in relay.table()


# Helpers


def addresses(host: Host) -> str:
    return ",".join([*host.addresses, *host.addresses6])


def exchange(
    relay: Running,
    parties: tuple[Host, Host],
    *count: str,
    versions: tuple[int, int] = (4, 4),
) -> dict[str, int]:
    """So many datagrams from one to two, each answered; what was sent and what came back."""
    first, second = relay.tickets(versions)
    one, two = parties
    echo = two.popen([sys.executable, "-m", ONE, "echo", second], stdout=subprocess.PIPE)
    try:
        asked = one.run([sys.executable, "-m", ONE, "ask", first, *count], timeout=60)
    finally:
        echo.kill()
        echo.communicate()
    facts: dict[str, int] = json.loads(asked)
    return facts


def wait_until_clean(relay: Running) -> None:
    deadline = time.monotonic() + 5
    while "didmesh_relay" in relay.table():
        assert time.monotonic() < deadline, relay.table()
        time.sleep(0.05)


def helper_of(relay: Running) -> int:
    """The one process of the relay's host that is a helper."""
    found = subprocess.run(
        ["ip", "netns", "pids", relay.host.namespace], capture_output=True, text=True, check=True
    ).stdout.split()
    [pid] = [pid for pid in found if b"mediator.relay_helper" in read(f"/proc/{pid}/cmdline")]
    return int(pid)


def datagrams_read(pid: int, version: int = 4) -> int:
    """UDP datagrams that programs of this process's network got, not those that passed through."""
    if version == 6:
        words = read(f"/proc/{pid}/net/snmp6").decode().split()
        return int(words[words.index("Udp6InDatagrams") + 1])
    lines = [line.split() for line in read(f"/proc/{pid}/net/snmp").decode().splitlines()]
    names, values = (line for line in lines if line[0] == "Udp:")
    return int(values[names.index("InDatagrams")])


def read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
