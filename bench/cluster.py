"""How much more two mediator processes take than one, on one PostgreSQL database.

    python -m bench.cluster [--share 0.2] [--seconds 8] [--rounds 3]

Whole mediators take forwards by HTTP for the same recipients. Each process gets the given share of
one core and no more, so that the cores last for two of them, for the database and for the load, and
so that neighbours on the machine change little: what is missing to twice the rate is what the
processes wait for each other. The share is kept by stopping a process (SIGSTOP) whenever it is
ahead of it. The database is an ordinary cluster with full synchronisation, and has no bound.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bench.load import cpu_seconds, post_all, tree_cpu_seconds
from bench.mediator import RECIPIENTS, sealed_forward
from tests.support.mediator_client import Party
from tests.support.mediator_process import facts, free_port, process, run_argv
from tests.support.postgres import Cluster, cluster, find_programs

LOADS = (
    4  # each of as many connections as `bench.load` has: waiting for the disk must not be the bound
)
PERIOD = 0.004  # seconds between looks at what a process has used
PER_SECOND = 600  # envelopes made ready for each process and second
PUBLIC_URL = "http://mediator.example"  # of the load balancer that is not there
# So many forwards from one address as nobody would otherwise be allowed.
ROOM = [
    word
    for name in ("address-rate", "address-burst", "pair-rate", "pair-burst", "inbox-messages")
    for word in (f"--limits-{name}", "1000000")
] + ["--limits-inbox-bytes", str(2**40)]


@dataclass(frozen=True)
class Run:
    per_second: float
    share: float  # of a core that each mediator used; below what it may, the cores did not last
    ours_ms: float  # CPU a forward, of all mediators together
    database_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=0.2, help="of one core, for each mediator")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if find_programs() is None:
        print("PostgreSQL is not installed")
        return
    runs: dict[int, list[Run]] = {1: [], 2: []}
    for _ in range(options.rounds):
        for count in runs:
            with cluster() as server:
                run = asyncio.run(_measure(server, count, options.share, options.seconds))
            print(f"{count} process(es): {run.per_second:.0f} forwards/s", flush=True)
            runs[count].append(run)
    _print(runs, options.share)


def _print(runs: dict[int, list[Run]], share: float) -> None:
    print(f"\nwhole mediators on one PostgreSQL, each with {share:.0%} of a core; medians")
    print(
        f"{'processes':>9}{'forwards/s':>12}{'share used':>12}{'CPU ms: ours':>14}{'database':>10}"
    )
    for count, each in runs.items():
        print(
            f"{count:9}{_median(each, 'per_second'):12.0f}{_median(each, 'share'):12.0%}"
            f"{_median(each, 'ours_ms'):14.2f}{_median(each, 'database_ms'):10.2f}"
        )
    gains = [two.per_second / one.per_second for one, two in zip(runs[1], runs[2], strict=True)]
    print(
        f"1 -> 2 processes: {statistics.median(gains):.2f} times"
        f" ({min(gains):.2f} to {max(gains):.2f} in the rounds)"
    )


def _median(runs: Sequence[Run], name: str) -> float:
    return statistics.median(getattr(run, name) for run in runs)


async def _measure(server: Cluster, count: int, share: float, seconds: float) -> Run:
    with _mediators(server.database(), count) as started:
        pids = [one.pid for one, _ in started]
        urls = [there for _, there in started]
        letters = await _letters(urls[0], facts(started[0][0])["did"], count, seconds)
        async with _governed(pids, share):
            await _send(urls, letters, time.perf_counter() + 1.0)
            before = sum(map(cpu_seconds, pids)), tree_cpu_seconds(server.pid)
            began = time.perf_counter()
            sent = await _send(urls, letters, began + seconds)
            took = time.perf_counter() - began
            after = sum(map(cpu_seconds, pids)), tree_cpu_seconds(server.pid)
    ours, database = (1000 * (b - a) / sent for a, b in zip(before, after, strict=True))
    return Run(sent / took, ours * sent / 1000 / took / count, ours, database)


@contextlib.contextmanager
def _mediators(database: str, count: int) -> Iterator[list[tuple[subprocess.Popen[bytes], str]]]:
    """Each with the address it listens on."""
    with contextlib.ExitStack() as stack:
        started = []
        for _ in range(count):
            port = free_port()
            argv = [*run_argv(database, port), "--public-url", PUBLIC_URL, *ROOM]
            started.append((stack.enter_context(process(argv)), f"http://127.0.0.1:{port}"))
        yield started


async def _letters(url: str, did: str, count: int, seconds: float) -> list[Iterator[bytes]]:
    """For each process; all for the same recipients."""
    async with aiohttp.ClientSession() as http:
        parties = [Party(http, did, url) for _ in range(RECIPIENTS)]
        for party in parties:
            await party.register()
        return [
            iter(
                [
                    await sealed_forward(parties[0], parties[number % RECIPIENTS])
                    for number in range(int(PER_SECOND * (seconds + 1)))
                ]
            )
            for _ in range(count)
        ]


async def _send(urls: Sequence[str], letters: Sequence[Iterator[bytes]], until: float) -> int:
    """Over as many connections to each; how many were accepted."""
    loads = [pair for pair in zip(urls, letters, strict=True) for _ in range(LOADS)]

    def those(ready: Iterator[bytes]) -> Iterator[bytes]:
        while time.perf_counter() < until:
            yield next(ready)  # there are more than a process with its share can take

    accepted = await asyncio.gather(*(post_all(url, those(ready)) for url, ready in loads))
    return sum(map(len, accepted))


@contextlib.asynccontextmanager
async def _governed(pids: Sequence[int], share: float) -> AsyncIterator[None]:
    """None of them uses more than its share of a core."""
    stop = threading.Event()
    governor = threading.Thread(target=_govern, args=(pids, share, stop))
    governor.start()
    try:
        yield
    finally:
        stop.set()
        governor.join()


def _govern(pids: Sequence[int], share: float, stop: threading.Event) -> None:
    began = time.monotonic()
    at_first = {pid: _used(pid) for pid in pids}
    while not stop.wait(PERIOD):
        for pid in pids:
            ahead = _used(pid) - at_first[pid] > share * (time.monotonic() - began)
            os.kill(pid, signal.SIGSTOP if ahead else signal.SIGCONT)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def _used(pid: int) -> float:
    """Seconds on a core, of all its threads; finer than the ticks of `cpu_seconds`."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((one / "schedstat").read_text().split()[0]) for one in threads) / 1e9


if __name__ == "__main__":
    main()
