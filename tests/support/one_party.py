"""A party of a connectivity test, in its own namespace: candidates out, offers in, results out.

    python -m tests.support.one_party STUN_HOST PORT PORT PARTIES MY_NUMBER

Prints one line of offers by party number, reads one line of offers made to it by party number, and
prints one line of what was found, before and after which the clock is read.
"""

import asyncio
import contextlib
import json
import sys
import time

from agent.connection.connectivity import Connectivity
from agent.connection.gathering import gather
from agent.connection.udp import UdpPort
from traversal.agreement import PathSettled
from traversal.candidate import Address, LocalSide, RemoteSide

TIMEOUT = 5.0
AFTERWARDS = 0.5  # seconds in which the others may still need our answers


async def main(host: str, first: str, second: str, parties: str, number: str) -> None:
    me = int(number)
    others = [party for party in range(int(parties)) if party != me]
    port = await UdpPort.bind()
    gathered = await gather(port, [Address(host, int(first)), Address(host, int(second))], 2.0)
    local = {party: LocalSide.fresh(gathered.candidates) for party in others}
    say({"mapping": gathered.mapping, "offers": {p: o.to_json() for p, o in local.items()}})
    offers = json.loads(await asyncio.to_thread(sys.stdin.readline))
    settled: set[str] = set()
    all_settled = asyncio.Event()

    def note(party: str, event: object) -> None:
        if isinstance(event, PathSettled):
            settled.add(party)
        if len(settled) == len(others):
            all_settled.set()

    connectivity = Connectivity(port, note)
    for party in others:
        remote = RemoteSide.from_json(offers[str(party)])
        connectivity.add_party(str(party), local[party], remote, controlling=me < party)
    started = time.monotonic()
    running = asyncio.create_task(connectivity.run())
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(all_settled.wait(), TIMEOUT)
    seconds = time.monotonic() - started
    say({"seconds": seconds, "results": {p: told(connectivity, str(p)) for p in others}})
    await asyncio.sleep(AFTERWARDS)
    running.cancel()
    port.close()


def told(connectivity: Connectivity, party: str) -> dict[str, object]:
    path = connectivity.path(party)
    if path is not None:
        return {"endpoint": path.endpoint.host, "rtt": path.rtt, "same_lan": path.same_lan}
    return {"reason": connectivity.explain(party).reason}


def say(line: dict[str, object]) -> None:
    print(json.dumps(line), flush=True)


asyncio.run(main(*sys.argv[1:]))
