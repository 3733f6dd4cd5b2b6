"""Remembers what was acted on, so that it is acted on once."""

import hashlib
from collections import OrderedDict

from messaging.envelope import CLOCK_SKEW, MAX_AGE
from messaging.errors import Replayed

KEEP = MAX_AGE + 2 * CLOCK_SKEW  # seconds: longer than any dated message is accepted


class ReplayGuard:
    """The last `limit` messages of `KEEP` seconds, 16 bytes each; the oldest go first."""

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._seen: OrderedDict[bytes, int] = OrderedDict()

    def admit(self, sender: str, proof: bytes, now: int) -> None:
        """Note a message by its sender and what authenticates it. Raises: Replayed."""
        named = b"%d %b %b" % (len(proof), proof, sender.encode())
        name = hashlib.blake2b(named, digest_size=16).digest()
        self._forget(now)
        if name in self._seen:
            raise Replayed
        self._seen[name] = now

    def _forget(self, now: int) -> None:
        while self._seen:
            seen = next(iter(self._seen.values()))
            if len(self._seen) < self._limit and seen + KEEP >= now:
                return
            self._seen.popitem(last=False)
