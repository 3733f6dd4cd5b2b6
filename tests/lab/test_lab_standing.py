"""A lab that is up stays until it is taken down, can be looked into, and leaves nothing."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import runs

CHECKOUT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]

TOPOLOGY = """
title = "A test's"
[public.lighthouse]
address = "198.51.100.10"
[carrier.isp]
nat = "symmetric"
[home.alice]
nat = "port-restricted"
behind = "isp"
link = { delay = 1 }
[ipv6.dora]
"""


@pytest.fixture
def standing(tmp_path: Path) -> Iterator[str]:
    """The name of a lab that is up."""
    path = tmp_path / "small.toml"
    path.write_text(TOPOLOGY)
    told = _lab("up", str(path)).stdout
    [run] = re.findall(r"^(didmesh-lab-\S+): A test's$", told, re.MULTILINE)
    try:
        yield run
    finally:
        _lab("down", run)
    assert not runs.leftovers(run)


def test_a_lab_stays_up_can_be_entered_and_goes_with_all_it_had(standing: str) -> None:
    assert f"{standing}  running" in _lab("list").stdout
    assert "up: small" in _lab("list").stdout
    inside = _lab("shell", f"{standing}/alice", "ip", "-4", "-br", "addr").stdout
    assert "192.168.1.11/24" in inside
    assert "100.64.0.11/10" in _lab("shell", f"{standing}/alice-router", "ip", "addr").stdout
    assert "2001:db8:" in _lab("shell", f"{standing}/dora", "ip", "-6", "addr").stdout
    assert "lighthouse.lab" in _lab("shell", f"{standing}/alice", "cat", "/etc/hosts").stdout
    assert runs.leftovers(standing).processes  # the slow link's
    assert f"{standing} removed" in _lab("down", standing).stdout
    assert not runs.leftovers(standing)


def test_what_a_killed_keeper_leaves_is_removed(standing: str) -> None:
    keeper = int(standing.split("-")[2])
    os.kill(keeper, signal.SIGKILL)
    while runs.is_alive(standing):
        time.sleep(0.01)
    assert f"{standing}  left over" in _lab("list").stdout
    assert runs.leftovers(standing).namespaces
    assert f"{standing} removed" in _lab("down", standing).stdout
    assert not runs.leftovers(standing)


def test_a_host_that_no_lab_has_is_told() -> None:
    done = _lab("shell", "nobody-here", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("lab: no running lab has a host nobody-here\n")


def test_a_mistake_in_a_topology_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    before = set(runs.find())  # others may make labs of their own meanwhile
    path = tmp_path / "wrong.toml"
    path.write_text(TOPOLOGY.replace("symmetric", "cone"))
    done = _lab("up", str(path), check=False)
    assert done.returncode == 1
    assert f"{path}: carrier.isp.nat: no 'cone'" in done.stderr
    path.write_text(TOPOLOGY.replace("198.51.100.10", "203.0.113.2"))  # the reflector's own
    done = _lab("up", str(path), check=False)
    assert done.returncode == 1
    assert "lab: " in done.stderr
    assert "up: wrong" not in _lab("list").stdout
    assert [run for run in set(runs.find()) - before if not runs.is_alive(run)] == []


def _lab(*words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "lab", *words],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=check,
    )
