"""What a durable forward costs the mediator.

    python -m bench.mediator [--forwards N] [--rounds N] [--json]

The load comes from this process, over 8 connections; the mediator is a process of its own with
full synchronisation, as it is run in earnest. Beside it, in the same minutes, the floor: a bare
aiohttp server that commits the same bytes in groups to SQLite with full synchronisation, and
opens and checks nothing. Rates depend on the machine and its neighbours; CPU time much less.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from messaging.message import Message
from messaging.packing import pack
from tests.support.mediator_client import Party
from tests.support.mediator_process import facts, folder, process, run_argv

CONNECTIONS = 8
RECIPIENTS = 16
BODY = 512  # bytes in the innermost message


@dataclass(frozen=True)
class Run:
    """One round against one server."""

    cpu_ms: float  # of the server, per forward
    per_second: float
    p50_ms: float
    p99_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--forwards", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--floor", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.floor:
        _serve_floor(options.floor)
        return
    results: dict[str, list[Run]] = {"floor": [], "mediator": []}
    for _ in range(options.rounds):
        results["floor"].append(_round(_floor_argv, options.forwards))
        results["mediator"].append(_round(run_argv, options.forwards))
    if options.json:
        print(json.dumps({k: [dataclasses.asdict(r) for r in v] for k, v in results.items()}))
    else:
        _print(results)


def _print(results: dict[str, list[Run]]) -> None:
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


# A round


def _round(argv: Callable[[Path], list[str]], forwards: int) -> Run:
    with folder() as path, process(argv(path / "data.db")) as server:
        return asyncio.run(_measure(server.pid, facts(server), forwards))


async def _measure(pid: int, there: dict[str, Any], forwards: int) -> Run:
    envelopes = await _envelopes(there, forwards)
    await _load(there["http"], envelopes[: CONNECTIONS * 10])  # warm both ends
    envelopes = envelopes[CONNECTIONS * 10 :]
    cpu, began = _cpu_seconds(pid), time.perf_counter()
    latencies = sorted(await _load(there["http"], envelopes))
    took, used = time.perf_counter() - began, _cpu_seconds(pid) - cpu
    count = len(latencies)
    return Run(
        cpu_ms=1000 * used / count,
        per_second=count / took,
        p50_ms=1000 * latencies[count // 2],
        p99_ms=1000 * latencies[count * 99 // 100],
    )


async def _envelopes(there: dict[str, Any], forwards: int) -> list[bytes]:
    """Sealed forwards, each different, to recipients in turn; the floor gets as many bytes."""
    if "did" not in there:
        return [os.urandom(_FORWARD_SIZE) for _ in range(forwards)]
    async with aiohttp.ClientSession() as http:
        parties = [Party(http, there["did"], there["http"]) for _ in range(RECIPIENTS)]
        for party in parties:
            await party.register()
        sender, envelopes = parties[0], []
        for number in range(forwards):
            party = parties[number % RECIPIENTS]
            letter = await pack(
                Message("https://example.org/letter", {"text": "x" * BODY}),
                to=party.did,
                sender=sender.did,
                secrets=sender.secrets,
                resolver=sender.resolver,
            )
            envelopes.append(await sender.sealed_forward(party.did, json.loads(letter)))
        return envelopes


_FORWARD_SIZE = 9700  # bytes, about what `_envelopes` makes


async def _load(url: str, envelopes: Sequence[bytes]) -> list[float]:
    """Send all, over several connections at once; the seconds each took."""
    waiting = iter(envelopes)
    latencies: list[float] = []

    async def connection() -> None:
        host, port = urlsplit(url).hostname, urlsplit(url).port
        reader, writer = await asyncio.open_connection(host, port)
        for envelope in waiting:
            began = time.perf_counter()
            writer.write(
                b"POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n"
                b"Content-Type: application/didcomm-encrypted+json\r\n\r\n"
                % (str(host).encode(), len(envelope))
                + envelope
            )
            head = await reader.readuntil(b"\r\n\r\n")
            latencies.append(time.perf_counter() - began)
            if not head.startswith(b"HTTP/1.1 200") or b"Content-Length: 0" not in head:
                raise SystemExit(f"not accepted: {head.decode()}")
        writer.close()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CONNECTIONS):
            tasks.create_task(connection())
    return latencies


# Servers


def _floor_argv(data: Path) -> list[str]:
    return ["bench.mediator", "--floor", str(data)]


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _serve_floor(data: Path) -> None:
    """A bare server: what any durable POST costs in this language, on this machine."""
    import sqlite3
    from concurrent.futures import ThreadPoolExecutor

    import uvloop
    from aiohttp import web

    async def serve() -> None:
        db = sqlite3.connect(data, isolation_level=None, check_same_thread=False)
        db.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
            "CREATE TABLE queue (id INTEGER PRIMARY KEY, envelope BLOB)"
        )
        thread, loop = ThreadPoolExecutor(1), asyncio.get_running_loop()
        waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        work = asyncio.Event()

        async def commit() -> None:
            while True:
                await work.wait()
                work.clear()
                while waiting:
                    group = waiting[:]
                    waiting.clear()
                    db.execute("BEGIN")
                    for body, _ in group:
                        db.execute("INSERT INTO queue (envelope) VALUES (?)", (body,))
                    await loop.run_in_executor(thread, db.execute, "COMMIT")
                    for _, future in group:
                        future.set_result(None)

        async def handle(request: web.BaseRequest) -> web.Response:
            future = loop.create_future()
            waiting.append((await request.read(), future))
            work.set()
            await future
            return web.Response()

        runner = web.ServerRunner(web.Server(handle, access_log=None))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        print(json.dumps({"http": f"http://127.0.0.1:{port}"}), flush=True)
        await commit()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


if __name__ == "__main__":
    main()
