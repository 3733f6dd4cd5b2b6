"""What passes a direct path is no work of ours: counted while 100 MB go by."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.internet import Internet, Party
from tests.support.running_paths import NOTICE, mesh_address, router_wall, until_kind, until_kinds

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]

SIZE = 100_000_000  # bytes: at the mesh's MTU some 80,000 packets, and half as many answers
FEW = 30_000_000  # through Python, which takes long enough
EACH = 5e-6  # seconds for a packet, less than Python takes at both ends together
BESIDE = 0.03  # of the time that goes by: pulses, looks at WireGuard, notes
PACKET = 1240  # bytes of payload in a packet of the mesh, about
TAKE = """
import socket
with socket.create_server(("", 40404)) as door:
    print("ready", flush=True)
    sender, _ = door.accept()
    with sender:
        left = bytearray(1 << 20)
        got = 0
        while n := sender.recv_into(left):
            got += n
print(got, flush=True)
"""
GIVE = """
import socket, sys
left, block = int(sys.argv[2]), bytes(1 << 16)
with socket.create_connection((sys.argv[1], 40404), 10) as sender:
    while left > 0:
        sender.sendall(block[:left])
        left -= len(block)
"""


def test_no_packet_of_a_direct_path_is_touched_by_python(internet: Internet) -> None:
    parties = internet.parties("home0", "home1")
    commands = internet.run(internet.rounds(60), *zip(parties, (1, 2), strict=True))
    for command in commands:
        command.until("the program has started")
    until_kind(commands, "direct", 20.0)
    with counting(parties) as direct:
        transfer(internet, SIZE)
    with router_wall(internet, "home0") as blocked:
        blocked.raise_()
        until_kinds(commands, ["degraded", "relay"], NOTICE)
        with counting(parties) as streamed:
            transfer(internet, FEW)
    print(f"direct: {direct.text(SIZE)}; by a stream: {streamed.text(FEW)}")
    assert direct.seconds < direct.allowed(SIZE), direct.text(SIZE)
    assert streamed.seconds > streamed.allowed(FEW), "or the count would not see what it is to see"
    for command in commands:
        command.kill()


@dataclass
class Work:
    """Of the agents and their helpers: how often they had something to do, and their time."""

    wakeups: int = 0
    seconds: float = 0.0  # on a processor
    took: float = 0.0  # on the clock

    def allowed(self, size: int) -> float:
        return size / PACKET * EACH + self.took * BESIDE

    def text(self, size: int) -> str:
        words = f"{self.wakeups} wakeups and {self.seconds:.2f} s of Python"
        return f"{words} for {size // PACKET} packets in {self.took:.1f} s"


@contextlib.contextmanager
def counting(parties: list[Party]) -> Iterator[Work]:
    """Every process of ours that runs Python beside the programs."""
    pids = [pid for party in parties for pid in ours(party)]
    assert len(pids) >= 2 * len(parties), pids
    before = {pid: worked(pid) for pid in pids}
    began, work = time.monotonic(), Work()
    yield work
    work.took = time.monotonic() - began
    for pid in pids:
        now = worked(pid)
        work.wakeups += now.wakeups - before[pid].wakeups
        work.seconds += now.seconds - before[pid].seconds


def ours(party: Party) -> list[int]:
    """The agent and its network helper, and neither WireGuard nor the program."""
    listed = ["ip", "netns", "pids", party.host.namespace]
    pids = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    lines = {int(pid): command_line(int(pid)) for pid in pids}
    return [pid for pid, words in lines.items() if "-m agent" in words]


def command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def worked(pid: int) -> Work:
    """All threads since they began. Source: proc(5), status and schedstat."""
    work = Work()
    for task in Path(f"/proc/{pid}/task").iterdir():
        lines = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
        work.wakeups += int(lines["voluntary_ctxt_switches"])
        work.seconds += int((task / "schedstat").read_text().split()[0]) / 1e9
    return work


def transfer(internet: Internet, size: int) -> None:
    """So many bytes by TCP inside the mesh, from the first party's network to the second's."""
    inside = [
        ["nsenter", f"--net=/proc/{internet.program_of(rank)}/ns/net", "--", sys.executable, "-c"]
        for rank in (0, 1)
    ]
    taking = subprocess.Popen([*inside[1], TAKE], stdout=subprocess.PIPE, text=True)
    try:
        assert taking.stdout is not None
        assert taking.stdout.readline() == "ready\n"
        give = [*inside[0], GIVE, mesh_address(internet), str(size)]
        subprocess.run(give, check=True, timeout=60)
        assert taking.stdout.readline() == f"{size}\n"
    finally:
        taking.kill()
        taking.communicate()
