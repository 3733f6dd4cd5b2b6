"""What MPyC would wait for for ever ends in seconds, with a reason."""

import time
from pathlib import Path

import pytest

from agent.launchers import Exit
from agent.launchers.mpyc import mpyc_words
from agent.launchers.progress import Event
from tests.support import launched

TALK = """
import asyncio
from mpyc.runtime import mpc

async def main():
    async with mpc:
        print("half a result")
        secint = mpc.SecInt()
        while True:
            await mpc.output(mpc.input(secint(1)))
            await asyncio.sleep(0.01)

mpc.run(main())
"""

LEAVE_EARLY = """
import os, time
from mpyc.runtime import mpc

async def main():
    async with mpc:
        total = await mpc.output(sum(mpc.input(mpc.SecInt()(1))))
        print(total)
        if mpc.pid == 1:
            time.sleep(1)
            os._exit(0)

mpc.run(main())
"""

FAIL = """
from mpyc.runtime import mpc

async def main():
    async with mpc:
        print("half a result")
        if mpc.pid == 0:
            raise ValueError("on purpose")
        await mpc.output(sum(mpc.input(mpc.SecInt()(1))))

mpc.run(main())
"""

STATUS = "import sys; sys.exit(3)"


@pytest.mark.parametrize("env", [{}, {"MPYC_NOUVLOOP": "1"}], ids=["uvloop", "asyncio"])
@pytest.mark.parametrize("victim", [0, 1, 2])
async def test_a_killed_party_ends_the_others_within_seconds_and_without_a_result(
    tmp_path: Path, victim: int, env: dict[str, str]
) -> None:
    probe = launched.write_program(tmp_path / "probe", TALK)
    hosts = launched.addresses(3)
    parties = [await launched.start(probe, hosts, rank, 1, tmp_path, env=env) for rank in range(3)]
    for party in parties:
        await party.until(Event.STARTED)
    parties[victim].process.kill()
    killed = time.monotonic()
    ended = await launched.ends(parties, 10)
    assert time.monotonic() - killed < 5
    for rank in {0, 1, 2} - {victim}:
        assert (ended[rank].code, ended[rank].stdout) == (Exit.PARTY_LOST, "")
        assert ended[rank].told(Event.LOST)[0].fields == {"party": str(victim)}
        assert ended[rank].sentence == f"the connection to party {victim} ended too early"


async def test_a_party_that_leaves_before_the_last_word_of_all_spoils_the_result(
    tmp_path: Path,
) -> None:
    probe = launched.write_program(tmp_path / "probe", LEAVE_EARLY, lost=2)
    ended = await launched.run(probe, (1, 1, 1), tmp_path)
    for rank in (0, 2):
        assert (ended[rank].code, ended[rank].stdout) == (Exit.PARTY_LOST, "")


async def test_a_party_that_never_comes_is_named(tmp_path: Path) -> None:
    probe = launched.write_program(tmp_path / "probe", TALK, start=2)
    hosts = launched.addresses(3)
    parties = [await launched.start(probe, hosts, rank, 1, tmp_path) for rank in (0, 2)]
    first, last = await launched.ends(parties, 15)
    assert (first.code, last.code) == (Exit.NOT_CONNECTED, Exit.NOT_CONNECTED)
    assert first.sentence == f"not connected in 2 s: party 1 ({hosts[1]}) Connection refused"
    assert last.sentence == f"not connected in 2 s: party 1 ({hosts[1]}) has not connected"


async def test_parties_with_different_thresholds_find_out_instead_of_hanging(
    tmp_path: Path,
) -> None:
    probe = launched.write_program(tmp_path / "probe", TALK, start=2)
    hosts = launched.addresses(3)
    parties = [
        await launched.start(probe, hosts, rank, 1, tmp_path, threshold=threshold)
        for rank, threshold in ((0, 1), (1, 1), (2, 0))
    ]
    ended = await launched.ends(parties, 15)
    assert all(party.code in (Exit.NOT_CONNECTED, Exit.PARTY_LOST) for party in ended)
    theirs, ours = "party 2 of 3, threshold 0", "party 2 of 3, threshold 1"
    assert f'greets with "didmesh mpyc 1: {theirs}", not with "didmesh mpyc 1: {ours}"' in (
        ended[0].stderr + ended[1].stderr
    )


async def test_an_address_that_is_not_ours_ends_the_run_at_once(tmp_path: Path) -> None:
    probe = launched.write_program(tmp_path / "probe", TALK, start=60)
    hosts = ("198.51.100.1", "198.51.100.2")
    for rank, wanted in (
        (0, "cannot dial from 198.51.100.1"),
        (1, "cannot listen on 198.51.100.2"),
    ):
        party = await launched.start(probe, hosts, rank, 1, tmp_path)
        ended = await party.ended(10)
        assert ended.code == Exit.ADDRESS_UNUSABLE
        assert wanted in ended.sentence


async def test_a_program_that_fails_says_so_and_the_others_lose_it(tmp_path: Path) -> None:
    probe = launched.write_program(tmp_path / "probe", FAIL)
    first, second = await launched.run(probe, (1, 1), tmp_path)
    assert (first.code, first.sentence) == (
        Exit.PROGRAM_FAILED,
        "the program ended with ValueError",
    )
    assert "on purpose" in first.stderr
    assert (second.code, second.stdout) == (Exit.PARTY_LOST, "")


async def test_a_programs_own_status_does_not_pass_for_one_of_ours(tmp_path: Path) -> None:
    probe = launched.write_program(tmp_path / "probe", STATUS)
    party = await launched.start(probe, launched.addresses(2), 0, 1, tmp_path)
    ended = await party.ended(10)
    assert (ended.code, ended.sentence) == (Exit.PROGRAM_FAILED, "the program ended with 3")


@pytest.mark.parametrize(("parties", "shared"), [(3, True), (13, True), (14, False), (64, False)])
def test_shared_keys_are_used_while_there_are_not_too_many(parties: int, shared: bool) -> None:
    words = mpyc_words(["10.77.0.1:1"] * parties, 0, (parties - 1) // 2)
    assert ("--no-prss" not in words) is shared
