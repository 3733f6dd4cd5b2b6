"""One direction of a pair: where datagrams go, how many may, and how many did."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from traversal.segments import MAX_RUN, Run

BURST = 0.1  # seconds of the rate that may come at once, and one full run at least


class Flow:
    """`send` brings runs to the other side; `now` is the loop's clock in seconds."""

    __slots__ = (
        "_allowed",
        "_at",
        "_most",
        "_now",
        "_rate",
        "_send",
        "bytes",
        "packets",
    )

    def __init__(
        self, send: Callable[[Sequence[Run]], None], rate: int, now: Callable[[], float]
    ) -> None:
        self.packets = 0
        self.bytes = 0
        self._send = send
        self._now = now
        self._rate = rate / 8
        self._most = max(self._rate * BURST, MAX_RUN)
        self._allowed = self._most
        self._at = now()

    def forward(self, runs: Sequence[Run]) -> None:
        """This runs for all that Python relays: runs of what a relay passes on."""
        going = [fitting for run in runs if (fitting := self._fitting(run)) is not None]
        if going:
            self.packets += sum(run.number for run in going)
            self.bytes += sum(len(run.data) for run in going)
            self._send(going)

    def _fitting(self, run: Run) -> Run | None:
        """As much of it as the rate lets through now."""
        length = len(run.data)
        if self._allowed < length:
            self._refill()
            if self._allowed < length:
                fitting = run.data[: int(self._allowed // run.size) * run.size]
                self._allowed -= len(fitting)
                return Run(run.size, fitting) if fitting else None
        self._allowed -= length
        return run

    def _refill(self) -> None:
        now = self._now()
        self._allowed = min(self._most, self._allowed + (now - self._at) * self._rate)
        self._at = now
