"""The auction, against a plain model and as real parties."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.launch import program
from agent.launchers import Exit
from agent.launchers.progress import Event
from tests.support import launched

MAIN = program.SHIPPED / "second_price_auction" / "main.py"
HIGHEST = 1_000_000_000

# Computes the auction on bids read from stdin, alone: the arithmetic of the parties, without them.
ALONE = f"""
import json, runpy, sys
sys.argv = ["alone", "--no-log"]
from mpyc.runtime import mpc
found = runpy.run_path({str(MAIN)!r})
for line in sys.stdin:
    bids = [found["secint"](bid) for bid in json.loads(line)]
    opened = mpc.run(mpc.output(list(found["auction"](bids))))
    print(json.dumps([int(x) for x in opened]), flush=True)
"""

# Many auctions in one run: every party knows all bids, and gives its own.
MANY = f"""
import json, os, runpy
from pathlib import Path
from mpyc.runtime import mpc
found = runpy.run_path({str(MAIN)!r})

async def main():
    async with mpc:
        for bids in json.loads((Path(__file__).parent / "bids.json").read_text()):
            own = found["secint"](bids[mpc.pid])
            winner, price = await mpc.output(list(found["auction"](mpc.input(own))))
            print(int(winner), int(price))

mpc.run(main())
"""

bid = st.one_of(st.integers(1, HIGHEST), st.sampled_from([1, 2, HIGHEST - 1, HIGHEST]))


def model(bids: list[int]) -> tuple[int, int]:
    return bids.index(max(bids)), sorted(bids)[-2]


@pytest.mark.parametrize("env", [{}, {"MPYC_NOUVLOOP": "1"}], ids=["uvloop", "asyncio"])
async def test_every_party_prints_exactly_the_winner_and_the_second_price(
    tmp_path: Path, env: dict[str, str]
) -> None:
    ended = await launched.run(launched.AUCTION, (120, 150, 135), tmp_path, env=env)
    wanted = (Exit.DONE, "winner=party1 price=135\n")
    assert [(party.code, party.stdout) for party in ended] == [wanted] * 3
    for party in ended:
        assert [line.count for line in party.told(Event.CONNECTED)] == [(1, 2), (2, 2)]
        assert len(party.told(Event.STARTED)) == len(party.told(Event.FINISHED)) == 1


async def test_nothing_a_party_writes_or_shows_to_others_on_its_machine_has_its_bid(
    tmp_path: Path,
) -> None:
    auction, secret = launched.AUCTION, 777_777_771
    hosts = launched.addresses(3)
    party = await launched.start(auction, hosts, 0, secret, tmp_path)
    process = Path("/proc") / str(party.process.pid)
    assert str(secret).encode() not in (process / "cmdline").read_bytes()
    assert str(secret).encode() not in (process / "environ").read_bytes()
    others = [await launched.start(auction, hosts, rank, 5, tmp_path) for rank in (1, 2)]
    for ended in await launched.ends([party, *others]):
        assert ended.stdout == "winner=party0 price=5\n"
        assert str(secret) not in ended.stderr


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    bids=st.one_of(
        st.lists(bid, min_size=3, max_size=7), st.lists(st.integers(1, 3), min_size=3, max_size=7)
    )
)
def test_the_auction_agrees_with_the_plain_model(
    alone: "subprocess.Popen[str]", bids: list[int]
) -> None:
    assert alone.stdin is not None
    assert alone.stdout is not None
    alone.stdin.write(json.dumps(bids) + "\n")
    alone.stdin.flush()
    assert tuple(json.loads(alone.stdout.readline())) == model(bids)


@pytest.mark.slow
@pytest.mark.parametrize("parties", [3, 4, 5, 6, 7])
async def test_any_number_of_real_parties_agrees_with_the_plain_model(
    tmp_path: Path, parties: int
) -> None:
    source = random.Random(parties)
    cases = [[source.randint(1, HIGHEST) for _ in range(parties)] for _ in range(4)]
    cases += [[source.randint(1, 2) for _ in range(parties)] for _ in range(6)]
    cases += [[HIGHEST] * parties, [1] * parties]
    folder = tmp_path / "probe"
    launched.write_program(folder, MANY)
    (folder / "bids.json").write_text(json.dumps(cases))
    ended = await launched.run(program.load_folder(folder), [0] * parties, tmp_path)
    wanted = "".join(f"{winner} {price}\n" for winner, price in map(model, cases))
    assert [party.stdout for party in ended] == [wanted] * parties, ended[0].stderr


@pytest.fixture(scope="module")
def alone() -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", ALONE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
