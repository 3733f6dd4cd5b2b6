"""A relay without the rest of its mediator, for tests and benches on hosts of a lab.

    python -m tests.support.relay_host ADDRESS[,ADDRESS] PORTS kernel|python [RATE]

Prints the tickets of a pair a line, as JSON, for as many lines as it reads; at the end of its
input it ends. Started as root, it starts the helper itself and becomes an ordinary user.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from mediator.relay.kernel import kernel_forwarding
from mediator.relay.service import Relay
from mediator.settings.config import RelaySettings
from traversal.relay_server import Rules

USER = 65534


def main() -> None:
    addresses, ports, how, *more = sys.argv[1:]
    first, _, last = ports.partition("-")
    helper = listening_helper() if how == "kernel" else Path("/nowhere")
    settings = RelaySettings(
        kernel=how == "kernel",
        ports=range(int(first), int(last) + 1),
        rate=int(more[0]) if more else 100_000,
        helper=helper,
    )
    uvloop.run(serve(addresses.split(","), settings))


def listening_helper() -> Path:
    """What systemd's socket does: a helper as root for the one that connects."""
    path = Path(tempfile.mkdtemp(prefix="didmesh-relay-")) / "helper.sock"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    listener.listen(1)
    path.chmod(0o666)
    path.parent.chmod(0o755)
    if os.fork() == 0:
        mediator, _ = listener.accept()
        listener.close()
        path.unlink()
        path.parent.rmdir()
        os.dup2(mediator.fileno(), 0)
        os.execv(sys.executable, [sys.executable, "-I", "-m", "mediator.relay_helper"])
    listener.close()
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    return path


async def serve(addresses: list[str], settings: RelaySettings) -> None:
    rules = Rules(settings.ports, tuple(addresses), lambda source: True, settings.rate * 1_000_000)
    async with kernel_forwarding(settings) as kernel:
        relay = Relay(bytes(32), rules, addresses, kernel, time.time)
        async with relay.serving():
            print(json.dumps(relay.describe()), flush=True)
            while await asyncio.to_thread(sys.stdin.readline):
                [pair] = relay.reserve("did:example:a", os.urandom(32).hex(), 1)
                tickets = [pair.side(number, addresses).to_json() for number in (0, 1)]
                print(json.dumps(tickets), flush=True)
            await relay.look()
            print(json.dumps(relay.describe()), flush=True)


if __name__ == "__main__":
    main()
