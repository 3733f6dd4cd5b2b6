"""Two parties send each other 100 numbered datagrams a second and count what does not arrive.

Prints `lost=0 sent=400 from=… to=…` (seconds since the epoch), the same at both.
"""

import asyncio
import json
import os
import socket
import time
from pathlib import Path

from mpyc.runtime import mpc

RATE = 100  # datagrams a second, each way
REST = 0.5  # seconds in which the last may still arrive


class Counter(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.numbers: set[bytes] = set()

    def datagram_received(self, data: bytes, _: object) -> None:
        self.numbers.add(data)


async def main(seconds: int) -> None:
    own, other = mpc.parties[mpc.pid], mpc.parties[1 - mpc.pid]
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind((own.host, own.port))  # before anybody sends
    loop = asyncio.get_running_loop()
    transport, counter = await loop.create_datagram_endpoint(Counter, sock=sock)
    async with mpc:
        began = time.time()
        count = seconds * RATE
        for number in range(count):
            transport.sendto(number.to_bytes(4, "big").ljust(64), (other.host, other.port))
            await asyncio.sleep(began + (number + 1) / RATE - time.time())
        await asyncio.sleep(REST)
        seen = await mpc.transfer([count, len(counter.numbers), began, time.time()])
        sent, arrived = (sum(party[n] for party in seen) for n in (0, 1))
        since, until = min(party[2] for party in seen), max(party[3] for party in seen)
        print(f"lost={sent - arrived} sent={sent} from={since:.3f} to={until:.3f}")
    transport.close()


mpc.run(main(json.loads(Path(os.environ["DIDMESH_INPUTS"]).read_text())["seconds"]))
