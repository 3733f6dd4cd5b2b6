"""A party that is known under a new DID keeps its account: DIDs and mail come with it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from mediator.addresses import canonical, shorten
from mediator.stores.interface import Store
from messaging.rotation import PriorDid

log = logging.getLogger(__name__)


class Rotations:
    def __init__(self, store: Store, is_denied: Callable[[str], bool]) -> None:
        self._store = store
        self._is_denied = is_denied

    async def follow(self, prior: PriorDid) -> None:
        """`prior` is proven: the old DID signed it, and the new one sent it.

        It comes with every message until it is acknowledged, and a copy of an old one
        moves nothing: each is issued later than the one that was followed before.
        """
        old, new = canonical(prior.old), canonical(prior.new)
        if old == new or self._is_denied(old) or not await self._store.has_account(old):
            return
        if await self._store.rotate(old, new, issued=prior.issued_at or 0):
            log.info("%s is %s now", shorten(old), shorten(new))
