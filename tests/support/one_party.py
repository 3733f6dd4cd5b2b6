"""A party of a connectivity test, in its own namespace: candidates out, offers in, results out.

    python tests/support/one_party.py STUN_HOST PORT PORT PARTIES MY_NUMBER

Prints one line of offers by party number, reads one line of offers made to it by party number, and
prints one line of what was found, before and after which the clock is read.
"""

import asyncio
import json
import sys
import time

from agent.connection.connectivity import Connectivity, Found
from agent.connection.gathering import gather
from agent.connection.udp import UdpPort
from traversal.candidate import Address, LocalSide, RemoteSide

TIMEOUT = 5.0


async def main(host: str, first: str, second: str, parties: str, number: str) -> None:
    me = int(number)
    others = [party for party in range(int(parties)) if party != me]
    port = await UdpPort.bind()
    gathered = await gather(port, [Address(host, int(first)), Address(host, int(second))], 2.0)
    local = {party: LocalSide.fresh(gathered.candidates) for party in others}
    say({"mapping": gathered.mapping, "offers": {p: o.to_json() for p, o in local.items()}})
    offers = json.loads(await asyncio.to_thread(sys.stdin.readline))
    connectivity = Connectivity(port)
    for party in others:
        remote = RemoteSide.from_json(offers[str(party)])
        connectivity.add_party(str(party), local[party], remote, controlling=me < party)
    started = time.monotonic()
    results = await connectivity.establish(TIMEOUT, lambda party, event: None)
    seconds = time.monotonic() - started
    say({"seconds": seconds, "results": {p: told(result) for p, result in results.items()}})
    port.close()


def told(result: object) -> dict[str, object]:
    if isinstance(result, Found):
        return {"endpoint": result.endpoint.host, "rtt": result.rtt, "same_lan": result.same_lan}
    return {"reason": result.reason}


def say(line: dict[str, object]) -> None:
    print(json.dumps(line), flush=True)


asyncio.run(main(*sys.argv[1:]))
