"""Many idle live WebSockets in one mediator, how fast they may come, and what mail costs in memory.

    python -m bench.sockets [--sockets 5000] [--storm 500] [--messages 20000]

Sockets are opened at the given rate, each proves its DID and switches live delivery on; then they
are idle. Memory is the resident set of the mediator's process, from /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import time
from pathlib import Path
from typing import Any

import aiohttp

from bench.load import cpu_seconds
from messaging.protocols.message_pickup import LiveDeliveryChange
from tests.support.mediator_client import Party
from tests.support.mediator_process import facts, folder, process, run_argv

PARTIES = 400  # so many accounts share the sockets
LETTER = 4096  # bytes of a queued message
FORWARDS_AT_ONCE = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sockets", type=int, default=5000)
    parser.add_argument("--storm", type=int, default=500, help="sockets opened a second")
    parser.add_argument("--messages", type=int, default=20_000)
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 65536)), hard))
    with folder() as data:
        argv = [*run_argv(data / "m.db"), "--metrics", "off"]
        with process(argv) as started:
            asyncio.run(_measure(started.pid, facts(started), options))


async def _measure(pid: int, there: dict[str, Any], options: argparse.Namespace) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        parties = [Party(http, there["did"], there["http"]) for _ in range(PARTIES)]
        for party in parties:
            await party.register()
        await _queue(pid, parties, options.messages)
        await _sockets(pid, parties, options.sockets, options.storm)


async def _queue(pid: int, parties: list[Party], count: int) -> None:
    before, numbers = _resident(pid), iter(range(count))

    async def send() -> None:
        for number in numbers:
            party = parties[number % len(parties)]
            letter = {"n": number, "x": "y" * LETTER}
            assert (await party.forward(party.did, letter)).status == 200

    async with asyncio.TaskGroup() as tasks:
        for _ in range(FORWARDS_AT_ONCE):
            tasks.create_task(send())
    grown = _resident(pid) - before
    print(
        f"{count} queued messages of {LETTER} bytes: {grown / 2**20:.1f} MiB more,"
        f" {grown / count:.0f} bytes each (they are on disk)"
    )


async def _sockets(pid: int, parties: list[Party], count: int, storm: int) -> None:
    change = LiveDeliveryChange(True).to_message
    live = [await parties[number % len(parties)].seal(change()) for number in range(count)]
    latencies: list[float] = []
    sockets: list[aiohttp.ClientWebSocketResponse[bool]] = []
    before, cpu, began = _resident(pid), cpu_seconds(pid), time.perf_counter()

    async def open_one(number: int) -> None:
        at = began + number / storm
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        party, asked = parties[number % len(parties)], time.perf_counter()
        socket = await party.http.ws_connect(f"{party.url}/ws", max_msg_size=0)
        latencies.append(time.perf_counter() - asked)
        sockets.append(socket)
        await socket.send_bytes(live[number])
        await socket.receive_str(timeout=60)

    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            tasks.create_task(open_one(number))
    took, used = time.perf_counter() - began, cpu_seconds(pid) - cpu
    await asyncio.sleep(1)
    resident = _resident(pid)
    latencies.sort()
    print(
        f"{count} live sockets, {storm} a second asked for: all open after {took:.1f} s,"
        f" handshake p50 {1000 * latencies[count // 2]:.0f} ms,"
        f" p99 {1000 * latencies[count * 99 // 100]:.0f} ms, {1000 * used / count:.2f} ms CPU each"
    )
    print(
        f"  the mediator holds {resident / 2**20:.0f} MiB,"
        f" {(resident - before) / count / 1024:.1f} KiB for each socket"
    )
    cpu = cpu_seconds(pid)
    await asyncio.sleep(5)
    print(f"  idle, they take {100 * (cpu_seconds(pid) - cpu) / 5:.1f} % of a core")
    for socket in sockets:
        if socket._response.connection is not None:
            socket._response.connection.transport.abort()  # type: ignore[union-attr]


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


if __name__ == "__main__":
    main()
