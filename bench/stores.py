"""What a message costs in a store of 10 to 1,000,000 mailboxes, each with mail that waits.

    python -m bench.stores [--largest N] [--kinds sqlite,postgres] [--picture FILE.svg]

Each store is filled anew for each size, one message of 1,000 bytes a mailbox. Then mailboxes
drawn at random get a forward, are counted, fetched from and acknowledged, 32 at a time. At last
one and two processes forward into one PostgreSQL database as fast as they can. PostgreSQL is an
ordinary cluster that is started for this, with full synchronisation.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from bench.load import tree_cpu_seconds
from bench.pictures import Curve, draw
from mediator.settings.config import Limits
from mediator.settings.places import Place, PostgresUrl
from mediator.stores.copying import Row, Table, copy_into
from mediator.stores.interface import Store
from mediator.stores.opening import open_store
from tests.support.mediator_process import CHECKOUT, folder
from tests.support.postgres import Cluster, cluster

SIZES = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
MESSAGE = 1_000  # bytes
AT_ONCE = 32
CALLS = 1_000  # of each kind, at each size
NOW = 1_000_000
SECONDS = 6.0  # of the throughput of processes
CALL_NAMES = ("forward", "count", "fetch", "acknowledge")
DID = 630  # characters of a did:peer:2 whose service is a mediator's did:peer:2


@dataclass(frozen=True)
class Cost:
    """In microseconds a call, 32 of them under way; and CPU of us and of the database."""

    wall: float
    ours: float
    database: float

    @property
    def cpu(self) -> float:
        """What the neighbours on the machine change least."""
        return self.ours + self.database


@dataclass(frozen=True)
class Size:
    """Bytes on disk, indexes included."""

    mailbox: float
    message: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=SIZES[-1])
    parser.add_argument("--kinds", default="sqlite,postgres")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        asyncio.run(_work(PostgresUrl(options.worker)))
        return
    costs: dict[str, dict[int, dict[str, Cost]]] = {}
    for kind in options.kinds.split(","):
        costs[kind] = {}
        for size in (n for n in SIZES if n <= options.largest):
            with ExitStack() as stack:
                server = stack.enter_context(cluster()) if kind == "postgres" else None
                place: Place = (
                    PostgresUrl(server.database())
                    if server
                    else stack.enter_context(folder()) / "m.db"
                )
                costs[kind][size] = asyncio.run(_measure(place, size, server))
                bytes_ = asyncio.run(_sizes(place, size))
                _say(kind, size, costs[kind][size], bytes_, as_json=options.json)
                if server and size == min(options.largest, 10_000):
                    _scale(server, place)
    if options.picture:
        options.picture.write_text(
            draw(
                "µs of CPU per call, the database's included", "mailboxes with mail", _curves(costs)
            )
        )


async def _measure(place: Place, size: int, server: Cluster | None) -> dict[str, Cost]:
    await copy_into(place, _Filled(size))
    random.seed(size)
    costs: dict[str, Cost] = {}
    async with open_store(place, Limits()) as store:
        accounts = [_did(random.randrange(size)) for _ in range(CALLS)]
        numbers = itertools.count()
        ids: list[tuple[str, list[int]]] = []

        async def forward(account: str) -> None:
            letter = b"%020d" % next(numbers) * (MESSAGE // 20)
            await store.enqueue(account, [letter], sender=None, expires=NOW + 9_999, now=NOW)

        async def count(account: str) -> None:
            await store.waiting(account, now=NOW)

        async def fetch(account: str) -> None:
            messages = await store.fetch(account, now=NOW, limit=10, max_bytes=1_000_000)
            ids.append((account, [message.id for message in messages]))

        async def acknowledge(place: int) -> None:
            await store.acknowledge(*ids[place])

        await _all(forward, accounts[:200])  # connections open, plans are made
        for name, call in zip(CALL_NAMES[:3], (forward, count, fetch), strict=True):
            costs[name] = await _cost(lambda call=call: _all(call, accounts), server)
        costs["acknowledge"] = await _cost(lambda: _all(acknowledge, range(CALLS)), server)
    return costs


async def _all(call: Callable[[Any], Awaitable[None]], arguments: Sequence[Any]) -> None:
    left = iter(arguments)

    async def worker() -> None:
        for argument in left:
            await call(argument)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


async def _cost(run: Callable[[], Awaitable[None]], server: Cluster | None) -> Cost:
    before = time.perf_counter(), time.process_time(), _cpu(server)
    await run()
    after = time.perf_counter(), time.process_time(), _cpu(server)
    return Cost(*((b - a) / CALLS * 1e6 for a, b in zip(before, after, strict=True)))


def _cpu(server: Cluster | None) -> float:
    return 0.0 if server is None else tree_cpu_seconds(server.pid)


class _Filled:
    """A store of so many mailboxes, as a copy would read it."""

    def __init__(self, size: int) -> None:
        self._size = size

    async def rows(self, table: Table) -> AsyncIterator[Row]:
        for number in range(self._size if table.name in _MAKERS else 0):
            yield _MAKERS[table.name](number)
        if table.name == "counter":
            yield (0, 0, 0)
        if table.name == "registration":
            yield (True, None)

    async def last_ids(self) -> dict[str, int]:
        return dict.fromkeys(("account", "recipient", "queue", "parcel"), self._size)


def _did(n: int) -> str:
    """As long and as different at its beginning as one that a party makes."""
    keys = hashlib.sha256(b"%d" % n).hexdigest()
    return f"did:peer:2.Ez6LS{keys[:43]}.Vz6Mk{keys[21:]}.S".ljust(DID, "e")


def _queued(n: int) -> Row:
    name = b"%016d" % n
    return (n + 1, n + 1, n + 1, NOW, NOW + 9_999 + n, MESSAGE, name, None, name * 62 + b" " * 8)


_MAKERS: dict[str, Callable[[int], Row]] = {
    "account": lambda n: (n + 1, _did(n), NOW),
    "recipient": lambda n: (n + 1, _did(n), n + 1, True, 1, MESSAGE),
    "queue": _queued,
}


async def _sizes(place: Place, size: int) -> Size:
    if isinstance(place, Path):
        return Size(0, sum(p.stat().st_size for p in place.parent.glob("m.db*")) / size)
    connection = await asyncpg.connect(place.url)
    rows = await connection.fetch(
        "SELECT CASE WHEN relname LIKE 'queue%' THEN 'message' ELSE 'mailbox' END,"
        " sum(pg_total_relation_size(oid))::bigint FROM pg_class WHERE relkind = 'r'"
        " AND relnamespace = 'mediator'::regnamespace GROUP BY 1"
    )
    await connection.close()
    return Size(**{name: total / size for name, total in rows})


# How much more two processes do than one


def _scale(server: Cluster, place: PostgresUrl) -> None:
    rates: list[float] = []
    for processes in (1, 2):
        before = _cpu(server)
        workers = [_worker(place) for _ in range(processes)]
        outcomes = [json.loads(worker.communicate()[0]) for worker in workers]
        sent = sum(outcome["sent"] for outcome in outcomes)
        ours = sum(outcome["cpu"] for outcome in outcomes)
        rates.append(sent / SECONDS)
        print(
            f"postgres, {processes} process(es): {rates[-1]:,.0f} forwards/s, CPU a forward"
            f" {ours / sent * 1e3:.3f} ms ours, {(_cpu(server) - before) / sent * 1e3:.3f} ms its",
            flush=True,
        )
    print(f"1 -> 2 processes: {rates[1] / rates[0]:.2f} times, on {os.cpu_count()} cores")


def _worker(place: PostgresUrl) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "bench.stores", "--worker", place.url]
    return subprocess.Popen(argv, cwd=CHECKOUT, stdout=subprocess.PIPE)


async def _work(place: PostgresUrl) -> None:
    random.seed()
    async with open_store(place, Limits()) as store:
        await _send(store, time.monotonic() + 0.5)
        began = time.process_time()
        sent = await _send(store, time.monotonic() + SECONDS)
        print(json.dumps({"sent": sent, "cpu": time.process_time() - began}))


async def _send(store: Store, until: float) -> int:
    sent = 0

    async def worker() -> None:
        nonlocal sent
        while time.monotonic() < until:
            account = _did(random.randrange(10_000))
            await store.enqueue(
                account, [random.randbytes(MESSAGE)], sender=None, expires=NOW + 9_999, now=NOW
            )
            sent += 1

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return sent


# What is said


def _say(kind: str, size: int, costs: dict[str, Cost], bytes_: Size, *, as_json: bool) -> None:
    if as_json:
        each = {name: vars(cost) for name, cost in costs.items()}
        print(json.dumps({"kind": kind, "size": size, "costs": each, "bytes": vars(bytes_)}))
        return
    words = "  ".join(
        f"{name} {c.wall:5.0f} µs ({c.ours:4.0f} + {c.database:4.0f} CPU)"
        for name, c in costs.items()
    )
    print(
        f"{kind:8} {size:>9,}  {words}  {bytes_.mailbox:,.0f} + {bytes_.message:,.0f} bytes",
        flush=True,
    )


def _curves(costs: dict[str, dict[int, dict[str, Cost]]]) -> list[Curve]:
    return [
        Curve(f"{kind}, {name}", [(size, by_size[size][name].cpu) for size in by_size])
        for kind, by_size in costs.items()
        for name in CALL_NAMES
    ]


if __name__ == "__main__":
    main()
