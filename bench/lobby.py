"""A lobby of twenty: what it costs each agent, and how many messages.

Twenty lobbies' machines with real keys, sealing and opening every message as agents do, through a
mediator that is a list: the processor time is that of one agent, from its first message to the
moment its session begins. Starting Python and importing the agent is measured beside it; sockets,
and what the session itself costs, are not in it.

    python -m bench.lobby [PARTIES]
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections import Counter

from agent.words import phrase
from messaging.packing import pack, unpack
from messaging.protocols.lobby import from_message, to_message
from resolvers.registry import default_registry
from tests.support.lobbies import Lobby
from tests.support.parties import make_party
from tests.support.sessions import NOW, Party


async def measure(count: int) -> tuple[dict[str, float], int]:
    """Processor seconds of each party, the host first, and the messages of the whole lobby."""
    made = [make_party() for _ in range(count)]
    secrets = {one.did: one.secrets for one in made}
    resolver = default_registry()
    lobby = Lobby([Party(one.did, one.authentication) for one in made])
    spent: Counter[str] = Counter()
    for index in range(1, count):
        lobby.join(index)
    while lobby.mail:
        sender, to, content = lobby.mail.pop(0)
        message = to_message(content, frm=sender, to=to, expires_time=int(NOW) + 3600)
        began = time.process_time()
        sealed = await pack(
            message, to=to, sender=sender, secrets=secrets[sender], resolver=resolver
        )
        spent[sender] += time.process_time() - began
        began = time.process_time()
        opened = await unpack(sealed, secrets=secrets[to], resolver=resolver, now=int(NOW))
        read = from_message(opened.message)
        if read is not None:
            lobby.hand_over((sender, to, read))
        spent[to] += time.process_time() - began
    began = time.process_time()
    told = lobby.began(0)
    if told is None:
        raise RuntimeError("the lobby did not begin")
    phrase(told.gathered.descriptor.id)
    words = time.process_time() - began
    return {party.did: spent[party.did] + words for party in lobby.parties}, lobby.sent


def start_seconds() -> float:
    """Processor seconds of an agent that is started and does nothing."""
    code = "import agent.commands.join, resource as r; print(sum(r.getrusage(r.RUSAGE_SELF)[:2]))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(out.stdout)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    spent, messages = asyncio.run(measure(count))
    host, *guests = spent.values()
    start = start_seconds()
    print(f"lobby of {count} parties: {messages} messages, {messages / (count - 1):.1f} a guest")
    print(f"starting an agent: {start:.2f} s of processor time")
    print(f"host: {host:.2f} s; with its start {host + start:.2f} s")
    print(
        f"guests: median {statistics.median(guests):.2f} s, most {max(guests):.2f} s; "
        f"with their start {max(guests) + start:.2f} s"
    )


if __name__ == "__main__":
    main()
