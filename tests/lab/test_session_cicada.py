"""The same computation in two real sessions, under MPyC and under Cicada."""

import os

import pytest

from tests.support.internet import Command, Internet, Party
from tests.support.peers import process

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.interop,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]

NUMBERS = (7, 107, 207)
RESULT = "sum=321 max=207\n"


def test_cicada_and_mpyc_compute_the_same_in_a_mesh(internet: Internet) -> None:
    if reason := process.missing("cicada"):
        pytest.skip(reason)
    parties = internet.parties("home0", "home1", "home2")
    mpyc = compute("sum_max", parties)
    for party in parties:
        party.python = str(process.CICADA)
    cicada = compute("sum_max_cicada", parties)
    for command in (*mpyc, *cicada):
        assert command.the("result")["output"] == RESULT


def compute(program: str, parties: list[Party]) -> list[Command]:
    """A session of these parties, each with its number, to its good end."""
    commands = [
        party.start(
            *("run", program, "--input", f"number={number}", "--json"),
            *(word for other in parties if other is not party for word in ("--with", other.did)),
            as_root=True,
        )
        for party, number in zip(parties, NUMBERS, strict=True)
    ]
    for command in commands:
        assert command.wait() == 0, command.told()
    return commands
