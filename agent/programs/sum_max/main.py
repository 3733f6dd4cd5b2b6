"""Opens the sum and the maximum of everybody's number."""

import json
import os
from pathlib import Path

from mpyc.runtime import mpc

secint = mpc.SecInt(32)


async def main(number: int) -> None:
    async with mpc:
        numbers = mpc.input(secint(number))
        total, largest = await mpc.output([mpc.sum(numbers), mpc.max(numbers)])
        print(f"sum={int(total)} max={int(largest)}")


if __name__ == "__main__":
    mpc.run(main(json.loads(Path(os.environ["DIDMESH_INPUTS"]).read_text())["number"]))
