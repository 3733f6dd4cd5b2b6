"""What monitoring asks, on a listener of its own that strangers need not reach."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable

from aiohttp import hdrs, web

from mediator.entrance.pages import Page
from mediator.errors import MediatorError
from mediator.operation.metrics import CONTENT_TYPE, Metrics
from mediator.stores.administration import Administration

log = logging.getLogger(__name__)

RECOUNT = 10.0  # seconds between counts of the queues, which scan all mailboxes
LOOK = 1.0  # seconds between looks at the event loop


class Monitoring:
    def __init__(
        self,
        metrics: Metrics,
        store: Administration,
        pages: dict[str, Page],
        clock: Callable[[], float],
    ) -> None:
        self._metrics = metrics
        self._store = store
        self._clock = clock
        self._counting = asyncio.Lock()
        self._counted = float("-inf")
        self._pages = {**pages, "/metrics": self._page}

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        page = self._pages.get(request.path)
        if page is None or request.method not in {hdrs.METH_GET, hdrs.METH_HEAD}:
            return web.Response(status=404, text=f"there is {', '.join(sorted(self._pages))}\n")
        return await page(request)

    async def _page(self, _: web.BaseRequest) -> web.StreamResponse:
        async with self._counting:
            if time.monotonic() - self._counted > RECOUNT:
                await self._count()
        text = self._metrics.text()
        return web.Response(body=text, headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})

    async def _count(self) -> None:
        try:
            self._metrics.counted(await self._store.totals(), self._clock())
        except MediatorError as error:
            log.warning("the queues cannot be counted: %s", error)
        self._counted = time.monotonic()


@contextlib.asynccontextmanager
async def monitored(monitoring: Monitoring, listener: socket.socket | None) -> AsyncIterator[None]:
    """Serves until the block is left; without a listener nothing is served."""
    if listener is None:
        yield
        return
    runner = web.ServerRunner(
        web.Server(monitoring.handle, access_log=None), handle_signals=False, shutdown_timeout=1.0
    )
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield
    finally:
        await runner.cleanup()


async def watch_loop(metrics: Metrics) -> None:
    loop = asyncio.get_running_loop()
    while True:
        expected = loop.time() + LOOK
        await asyncio.sleep(LOOK)
        metrics.lagged(max(0.0, loop.time() - expected))
