"""Everybody gives a number and learns the sum."""

import json
import os
from pathlib import Path

from mpyc.runtime import mpc

secint = mpc.SecInt(32)


async def main(number: int) -> None:
    async with mpc:
        total = await mpc.output(mpc.sum(mpc.input(secint(number))))
        print(f"sum={int(total)}")


mpc.run(main(json.loads(Path(os.environ["DIDMESH_INPUTS"]).read_text())["number"]))
