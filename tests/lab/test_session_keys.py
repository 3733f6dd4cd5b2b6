"""What keys the tunnels of a real session have."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.internet import Internet

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]


def test_every_pair_has_a_preshared_key_of_its_own(internet: Internet) -> None:
    parties = internet.parties("home0", "home1", "home2")
    seats = zip(parties, (1, 2, 3), strict=True)
    commands = internet.run(internet.rounds(5), *seats)
    for command in commands:
        command.until("has started")
        assert "x25519+ml-kem-768: confirmed with everybody" in command.steps()
    keys = [preshared_keys(internet.program_of(rank)) for rank in range(3)]
    for command in commands:
        assert command.wait() == 0, command.told()
    assert [len(known) for known in keys] == [2, 2, 2]
    assert len(set().union(*keys)) == 3, "three pairs have three keys, each known to two"


def test_parties_that_all_say_so_have_none(internet: Internet) -> None:
    parties = internet.parties("home0", "home1")
    program = internet.rounds(1)
    commands = [
        internet.run_one(program, party, bid, parties, "--json", "--classical-keys")
        for party, bid in zip(parties, (1, 2), strict=True)
    ]
    for command in commands:
        assert command.wait() == 0, command.told()
        assert any("x25519 alone" in step for step in command.steps())


def test_one_that_says_so_alone_is_refused(internet: Internet) -> None:
    parties = internet.parties("home0", "home1")
    program = internet.rounds(1)
    commands = [
        internet.run_one(program, parties[0], 1, parties, "--json"),
        internet.run_one(program, parties[1], 2, parties, "--json", "--classical-keys"),
    ]
    for command in commands:
        assert command.wait() == 6, command.told()
        assert "key_agreement: ours is" in command.the("error")["text"]


def preshared_keys(program: int) -> set[str]:
    """What WireGuard says to the helper that started this program, and to nobody else."""
    helper = program
    while b"agent.network_helper" not in Path(f"/proc/{helper}/cmdline").read_bytes():
        helper = parent(helper)
    shown = subprocess.run(
        [
            *("nsenter", f"--mount=/proc/{helper}/ns/mnt", f"--net=/proc/{program}/ns/net"),
            *("wg", "show", "all", "preshared-keys"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return {line.split("\t")[2] for line in shown.stdout.splitlines()} - {"(none)"}


def parent(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("PPid"))
