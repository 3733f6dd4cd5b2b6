"""What handlers may ask of those who bring mail out of the house, and who is told of failure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol, Self

import orjson

HOPS = "Didcomm-Hops"  # header: how many mediators passed this on already
MAX_HOPS = 10
OUTGOING_FULL = "e.p.me.res.storage.outgoing-full"
MAX_ORIGIN = 16 * 1024  # bytes; DIDs and ids are shorter, or nobody is told


@dataclass(frozen=True)
class Origin:
    """Who asked, by a forward, for mail to be passed on."""

    sender: str  # the DID that the envelope proved
    ours: str  # our DID that was addressed
    thread: str  # of the forward

    def to_text(self) -> str | None:
        """As a store keeps it; None if it is longer than anybody needs."""
        text = orjson.dumps(asdict(self))
        return text.decode() if len(text) <= MAX_ORIGIN else None

    @classmethod
    def from_text(cls, text: str) -> Self:
        return cls(**orjson.loads(text))


class Report(Protocol):
    """Tell whoever asked that its mail for `target` was given up, and why."""

    async def __call__(self, origin: Origin, target: str, why: str) -> None: ...


class Outbound(Protocol):
    """Where handlers put what has to leave."""

    async def leads_elsewhere(self, did: str) -> bool:
        """Whether it may be the DID of somebody whose mail is taken at another address."""

    def check(self, url: str) -> None:
        """Raises: TargetRefused, if nothing is ever brought there."""

    async def post(
        self,
        target: str,
        envelopes: Sequence[bytes],
        *,
        expires: int,
        hops: int = 0,
        inbox: bool = False,
        delay: int = 0,
        sender: str | None = None,
        origin: Origin | None = None,
    ) -> None:
        """Returns when it is on disk; `delay` in milliseconds. Raises: Refusal.

        `origin` is told if it is given up.
        """
