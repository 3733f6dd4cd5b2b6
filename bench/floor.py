"""The floor: what any durable POST costs in this language, on this machine.

A bare aiohttp server that commits the bytes in groups to SQLite with full synchronisation, and
opens and checks nothing.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web

from tests.support.mediator_process import facts, folder, process


@contextmanager
def floor() -> Iterator[tuple[int, dict[str, Any]]]:
    """Its process id, and `http`, where it listens."""
    with folder() as path, process(["bench.floor", str(path / "db")]) as server:
        yield server.pid, facts(server)


def main() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(Path(sys.argv[1])))


async def _serve(data: Path) -> None:
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


if __name__ == "__main__":
    main()
