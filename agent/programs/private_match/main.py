"""Private match: opens to the two voters whether both said yes, and to the helper nothing."""

import json
import os
from pathlib import Path

from mpyc.runtime import mpc

secbit = mpc.SecInt(1)


async def main(vote: int | None, voters: list[int]) -> None:
    async with mpc:
        one, other = mpc.input(secbit(vote), senders=voters)
        both = await mpc.output(one * other, receivers=voters)
        if vote is None:
            print("done (no output)")
        else:
            print("match" if both else "no match")


if __name__ == "__main__":
    inputs = json.loads(Path(os.environ["DIDMESH_INPUTS"]).read_text())
    roles = os.environ["DIDMESH_ROLES"].split(",")
    mpc.run(main(inputs.get("vote"), [i for i, role in enumerate(roles) if role == "voter"]))
