"""A party of a relayed pair as a command on a host of a lab.

python -m tests.support.relay_side echo TICKET           answers what comes, until it is killed
python -m tests.support.relay_side ask TICKET COUNT [N]  sends so many, N at once; counts answers
"""

from __future__ import annotations

import asyncio
import json
import sys

from tests.support.relayed import RelayedSide, packet
from traversal.relay import RelayTicket

SIZE = 64  # bytes of a datagram
LATEST = 3.0  # seconds until an answer is lost, on a busy machine


def main() -> None:
    verb, words, *more = sys.argv[1:]
    ticket = RelayTicket.from_json(json.loads(words))
    asyncio.run(echo(ticket) if verb == "echo" else ask(ticket, *map(int, more)))


async def echo(ticket: RelayTicket) -> None:
    side = RelayedSide(ticket, ticket.servers()[0], "")
    await side.bind()
    while True:
        data = await side.receive(1.0)
        side.send_binds()
        if data is not None:
            side.send(data)


async def ask(ticket: RelayTicket, count: int, at_once: int = 20) -> None:
    side = RelayedSide(ticket, ticket.servers()[0], "")
    await side.bind()
    while not side.binding.other_bound:
        side.send_binds()
        await side.receive(0.05)
    await asyncio.sleep(0.1)  # until the kernel has its rules; Python forwards before
    received = sent = 0
    while sent < count:
        for _ in range(min(at_once, count - sent)):
            side.send(packet(b"")[:SIZE])
            sent += 1
        while received < sent and await side.receive(LATEST) is not None:
            received += 1
    print(json.dumps({"sent": sent, "received": received}))


if __name__ == "__main__":
    main()
