"""Durable forwards, ours beside other mediators, interleaved on the same machine.

    DIDMESH_BENCH_PEERS=FOLDER python -m bench.peers [--forwards 1000] [--rounds 3]

FOLDER holds one executable for each mediator, which becomes that mediator (`exec`) and prints a
line of JSON when it is ready: {"did": …, "http": …}. None of them comes with this project. Each
must speak coordinate-mediation 3.0 and did:peer:2. What another's 2xx promises is for its documents
to say: ours is on disk.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from bench.mediator import CONNECTIONS, RECIPIENTS, _cpu_seconds, _forward
from tests.support.mediator_client import Party
from tests.support.mediator_process import facts, folder, process, run_argv

VARIABLE = "DIDMESH_BENCH_PEERS"
OURS = "didmesh"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--forwards", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if VARIABLE not in os.environ:
        print(f"no other mediators: {VARIABLE} names no folder of executables")
        return
    peers = sorted(p for p in Path(os.environ[VARIABLE]).iterdir() if os.access(p, os.X_OK))
    results: dict[str, list[tuple[float, float]]] = {OURS: [], **{p.name: [] for p in peers}}
    for _ in range(options.rounds):
        with folder() as data, process(run_argv(data / "m.db")) as started:
            there = facts(started)
            results[OURS].append(asyncio.run(_measure(started.pid, there, options.forwards)))
        for peer in peers:
            with _started(peer) as (pid, there):
                results[peer.name].append(asyncio.run(_measure(pid, there, options.forwards)))
    _print(results)


def _print(results: dict[str, list[tuple[float, float]]]) -> None:
    ours = statistics.median(rate for rate, _ in results[OURS])
    print(f"{'mediator':24}{'forwards/s':>12}{'CPU ms each':>13}{'ours is':>12}")
    for name, rounds in results.items():
        rate = statistics.median(rate for rate, _ in rounds)
        cpu = statistics.median(cpu for _, cpu in rounds)
        print(f"{name:24}{rate:12.0f}{cpu:13.2f}{ours / rate:10.1f} x")


@contextmanager
def _started(peer: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with subprocess.Popen([peer.resolve()], stdout=subprocess.PIPE) as started:
        try:
            assert started.stdout is not None
            yield started.pid, json.loads(started.stdout.readline())
        finally:
            started.terminate()


async def _measure(pid: int, there: dict[str, Any], count: int) -> tuple[float, float]:
    """Forwards a second, and milliseconds of CPU for each."""
    async with aiohttp.ClientSession() as http:
        parties = [Party(http, there["did"], there["http"]) for _ in range(RECIPIENTS)]
        for party in parties:
            await party.register()
        envelopes = iter(
            [await _forward(parties[0], parties[number % RECIPIENTS]) for number in range(count)]
        )

        async def send() -> None:
            for envelope in envelopes:
                reply = await parties[0].post(
                    envelope, **{"Content-Type": "application/didcomm-encrypted+json"}
                )
                assert reply.status // 100 == 2, reply

        cpu, began = _cpu_seconds(pid), time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(CONNECTIONS):
                tasks.create_task(send())
        took, used = time.perf_counter() - began, _cpu_seconds(pid) - cpu
        return count / took, 1000 * used / count


if __name__ == "__main__":
    main()
