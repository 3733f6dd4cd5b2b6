"""Opens the sum and the maximum of everybody's number: sum_max, under Cicada."""

import json
import os
from pathlib import Path

import numpy
from cicada.additive import AdditiveProtocolSuite
from cicada.communicator import SocketCommunicator


def main(number: int) -> None:
    with SocketCommunicator.connect(startup_timeout=60) as communicator:
        suite = AdditiveProtocolSuite(communicator)
        secret = numpy.array(number)
        shares = [
            suite.share(src=party, secret=secret, shape=())
            for party in range(communicator.world_size)
        ]
        total, largest = shares[0], shares[0]
        for share in shares[1:]:
            total = suite.add(total, share)
            largest = suite.maximum(largest, share)
        print(f"sum={int(suite.reveal(total))} max={int(suite.reveal(largest))}")


if __name__ == "__main__":
    main(json.loads(Path(os.environ["DIDMESH_INPUTS"]).read_text())["number"])
