"""Whether a mediator lives, and whether it would accept a message now."""

from __future__ import annotations

import asyncio
import logging
import time

from mediator.errors import MediatorError
from mediator.stores.administration import Administration

log = logging.getLogger(__name__)

PATIENCE = 5.0  # seconds for the store to have something on disk
FRESH = 1.0  # seconds for which one look does for all who ask

DRAINING = "draining"
NO_STORE = "the store cannot be written"


class Health:
    def __init__(self, store: Administration) -> None:
        self.draining = False
        self._store = store
        self._looking = asyncio.Lock()
        self._looked = float("-inf")
        self._fault: str | None = None

    def drain(self) -> None:
        """It was told to stop: nothing new is for this process."""
        self.draining = True

    async def fault(self) -> str | None:
        """Why it is not ready; None if it is."""
        if self.draining:
            return DRAINING
        async with self._looking:
            if time.monotonic() - self._looked > FRESH:
                self._fault = await self._look()
                self._looked = time.monotonic()
        return self._fault

    async def _look(self) -> str | None:
        try:
            async with asyncio.timeout(PATIENCE):
                await self._store.check()
        except (MediatorError, TimeoutError) as error:
            log.error("not ready: %s", error or "the store does not answer")  # noqa: TRY400
            return NO_STORE
        return None
