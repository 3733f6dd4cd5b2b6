"""Sealed-bid second-price auction: opens who won and the second-highest bid, nothing else."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mpyc.runtime import mpc

secint = mpc.SecInt(32)  # holds every bid the manifest allows, and the difference of any two


def auction(bids: Sequence[Any]) -> tuple[Any, Any]:
    """The winner's index and the second-highest of at least two secret bids, both still secret."""
    first, other = bids[:2]
    above = first < other
    highest = mpc.if_else(above, other, first)
    second = first + other - highest
    winner = above
    for party, bid in enumerate(bids[2:], start=2):
        above = highest < bid  # strictly: of equal bids the lower index wins
        between = second < bid
        second = mpc.if_else(above, highest, mpc.if_else(between, bid, second))
        highest = mpc.if_else(above, bid, highest)
        winner = mpc.if_else(above, secint(party), winner)
    return winner, second


async def main(bid: int) -> None:
    async with mpc:
        winner, price = await mpc.output(list(auction(mpc.input(secint(bid)))))
        print(f"winner=party{int(winner)} price={int(price)}")


if __name__ == "__main__":
    inputs = json.loads(Path(os.environ["DIDMESH_INPUTS"]).read_text())
    mpc.run(main(inputs["bid"]))
