"""What a durable forward costs the mediator, and picking it up, and pushing it.

    python -m bench.mediator [--forwards N] [--rounds N] [--json]

The load comes from this process, over 8 connections; the mediator is a process of its own with
full synchronisation, as it is run in earnest. Beside it, in the same minutes, the floor
(`bench.floor`). Rates depend on the machine and its neighbours; CPU time much less.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from bench.floor import floor
from bench.load import CONNECTIONS, cpu_seconds, post_all
from messaging.message import Message
from messaging.packing import pack
from tests.support.mediator_client import Party
from tests.support.mediator_process import facts, folder, process, run_argv

RECIPIENTS = 16
BODY = 512  # bytes in the innermost message
PUSHES = 200
EACH = 5  # of so many forwards one is for the live socket


@dataclass(frozen=True)
class Run:
    """One round against one server."""

    cpu_ms: float  # of the server, per forward
    per_second: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class PickupRun:
    """Fetching in batches of 100 and acknowledging them; pushing to a live socket."""

    cpu_ms: float  # of the mediator, per message fetched and acknowledged
    per_second: float
    push_p50_ms: float  # from posting a forward to its arrival on the socket, at half load
    push_p99_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--forwards", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results: dict[str, list[Run]] = {"floor": [], "mediator": []}
    pickups: list[PickupRun] = []
    for _ in range(options.rounds):
        with floor() as (pid, there):
            results["floor"].append(asyncio.run(_measure_floor(pid, there, options)))
        with folder() as path, process(run_argv(path / "data.db")) as server:
            run, pickup = asyncio.run(_measure_mediator(server.pid, facts(server), options))
            results["mediator"].append(run)
            pickups.append(pickup)
    if options.json:
        everything: dict[str, Sequence[Any]] = {**results, "pickup": pickups}
        print(json.dumps({k: [dataclasses.asdict(r) for r in v] for k, v in everything.items()}))
    else:
        _print(results, pickups)


def _print(results: dict[str, list[Run]], pickups: list[PickupRun]) -> None:
    print(
        f"durable forwards, {CONNECTIONS} connections, body of {BODY} bytes; median of the rounds"
    )
    print(f"{'':10}{'CPU ms each':>13}{'forwards/s':>13}{'p50 ms':>9}{'p99 ms':>9}")
    for name, runs in results.items():
        run = sorted(runs, key=lambda r: r.cpu_ms)[len(runs) // 2]
        spread = f"   CPU {min(r.cpu_ms for r in runs):.2f} to {max(r.cpu_ms for r in runs):.2f}"
        print(
            f"{name:10}{run.cpu_ms:13.2f}{run.per_second:13.0f}{run.p50_ms:9.1f}{run.p99_ms:9.1f}"
            f"{spread}"
        )
    pickup = sorted(pickups, key=lambda p: p.cpu_ms)[len(pickups) // 2]
    print(
        f"pickup by 100: {pickup.cpu_ms:.2f} ms CPU and {pickup.per_second:.0f} messages/s; "
        f"live push at half load: p50 {pickup.push_p50_ms:.1f} ms, p99 {pickup.push_p99_ms:.1f} ms"
    )


# A round


async def _measure_floor(pid: int, there: dict[str, Any], options: argparse.Namespace) -> Run:
    bodies = [os.urandom(FORWARD_SIZE) for _ in range(options.forwards)]
    return await _measure_load(pid, there["http"], bodies)


async def _measure_mediator(
    pid: int, there: dict[str, Any], options: argparse.Namespace
) -> tuple[Run, PickupRun]:
    async with aiohttp.ClientSession() as http:
        parties = [Party(http, there["did"], there["http"]) for _ in range(RECIPIENTS)]
        for party in parties:
            await party.register()
        envelopes = [
            await sealed_forward(parties[0], parties[number % RECIPIENTS])
            for number in range(options.forwards)
        ]
        run = await _measure_load(pid, there["http"], envelopes)
        kept = sum([(await party.status()).message_count for party in parties])
        assert kept == options.forwards, "what was accepted is not what is kept"
        return run, await _measure_pickup(pid, parties, run.per_second / 2)


async def _measure_load(pid: int, url: str, envelopes: Sequence[bytes]) -> Run:
    warming = CONNECTIONS * 10
    await post_all(url, envelopes[:warming])
    cpu, began = cpu_seconds(pid), time.perf_counter()
    latencies = sorted(await post_all(url, envelopes[warming:]))
    took, used = time.perf_counter() - began, cpu_seconds(pid) - cpu
    count = len(latencies)
    return Run(
        cpu_ms=1000 * used / count,
        per_second=count / took,
        p50_ms=1000 * latencies[count // 2],
        p99_ms=1000 * latencies[count * 99 // 100],
    )


async def _measure_pickup(pid: int, parties: Sequence[Party], rate: float) -> PickupRun:
    cpu, began, fetched = cpu_seconds(pid), time.perf_counter(), 0
    for party in parties:
        while messages := await party.fetch(100):
            await party.acknowledge([message.id for message in messages])
            fetched += len(messages)
    took, used = time.perf_counter() - began, cpu_seconds(pid) - cpu
    pushes = sorted(await _pushes(parties, rate))
    return PickupRun(
        cpu_ms=1000 * used / fetched,
        per_second=fetched / took,
        push_p50_ms=1000 * pushes[len(pushes) // 2],
        push_p99_ms=1000 * pushes[len(pushes) * 99 // 100],
    )


async def _pushes(parties: Sequence[Party], rate: float) -> list[float]:
    """Seconds from posting a forward to its arrival on a live socket.

    Forwards to others come meanwhile at the given rate, evenly; every `EACH`th is for the socket.
    """
    sender, live, *others = parties
    count = PUSHES * EACH
    envelopes = [
        await sealed_forward(sender, others[number % len(others)] if number % EACH else live)
        for number in range(count)
    ]
    seconds: list[float] = []
    async with live.socket() as socket, asyncio.TaskGroup() as tasks:
        began = time.perf_counter()
        for number, envelope in enumerate(envelopes):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            posted = time.perf_counter()
            tasks.create_task(sender.post(envelope))
            if number % EACH == 0:
                await socket.connection.receive_str()
                seconds.append(time.perf_counter() - posted)
    return seconds


async def sealed_forward(sender: Party, recipient: Party) -> bytes:
    """A sealed forward with a sealed letter in it; every one is different."""
    letter = await pack(
        Message("https://example.org/letter", {"text": "x" * BODY}),
        to=recipient.did,
        sender=sender.did,
        secrets=sender.secrets,
        resolver=sender.resolver,
    )
    return await sender.sealed_forward(recipient.did, json.loads(letter))


FORWARD_SIZE = 9700  # bytes, about what `sealed_forward` makes


if __name__ == "__main__":
    main()
