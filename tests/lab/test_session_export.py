"""The mesh of a real session, exported while it runs, and read by the tools it is for."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.internet import Internet

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
    pytest.mark.skipif(not shutil.which("wg-quick"), reason="needs wireguard-tools"),
]

# A network and a folder for control sockets of its own; all ends with the shell.
READ = """
mount -t tmpfs tmpfs /run/wireguard
wireguard-go --foreground dmexport >/dev/null 2>&1 &
for _ in $(seq 100); do [ -S /run/wireguard/dmexport.sock ] && break; sleep 0.1; done
wg-quick strip "$1" > /run/wireguard/stripped
wg setconf dmexport /run/wireguard/stripped
wg show dmexport dump
kill $!
wait
"""


def test_what_is_exported_is_what_runs_and_wg_takes_it(internet: Internet) -> None:
    parties = internet.parties("home0", "home1")
    seats = zip(parties, (1, 2), strict=True)
    commands = internet.run(internet.rounds(15), *seats)
    for command in commands:
        command.until("has started")
    written = parties[0].folder / "mesh.conf"
    done = parties[0].agent("export", "wg-quick", "--output", str(written))
    assert done.process.returncode == 0, done.told()
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    interface, peer = read_by_wg(written)
    hosts = parties[0].agent("export", "hosts", "--session", "")
    assert hosts.output.count("party1") == 2
    written.unlink()
    for command in commands:
        assert command.wait() == 0, command.told()
    assert interface[2] != "0", "the port of the session"
    assert peer[1] != "(none)", "a preshared key"
    assert peer[2] != "(none)", "an endpoint"
    assert peer[3].split("/")[0] in hosts.output
    after = parties[0].agent("export", "hosts")
    assert after.process.returncode == 1
    assert "no such session runs" in after.errors


def read_by_wg(path: Path) -> list[list[str]]:
    Path("/run/wireguard").mkdir(mode=0o700, exist_ok=True)
    words = ["unshare", "--net", "--mount", "--propagation", "private", "bash", "-e", "-c", READ]
    done = subprocess.run(
        [*words, "read", str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(lines) == 2, done.stderr
    return lines
