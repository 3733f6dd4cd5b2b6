"""A pair whose direct way opens late: only once its program counts, so that the change is counted.

Between the two nothing but UDP is held back, and only what would go from one to the other: each
reaches the mediator and its relay as ever.
"""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from lab.host import Host
from lab.topology import Lab


class LateOpening:
    """Closed within the `with` until both ends have told that their programs are connected.

    `opened_at` is then the time, in seconds since the epoch. Two that meet without the internet
    between them cannot be held back, and are not.
    """

    def __init__(self, lab: Lab, one: Host, two: Host) -> None:
        self._lab, self._ends = lab, (one, two)
        self._connected: set[str] = set()
        self.opened_at: float | None = None

    def __enter__(self) -> Self:
        self._lab.close_between(*self._ends)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.opened_at is None:
            self._lab.open_between(*self._ends)

    def hear(self, who: str, event: Mapping[str, Any]) -> None:
        if event.get("name") == "program" and str(event.get("text")).startswith("connected"):
            self._connected.add(who)
        if len(self._connected) == 2 and self.opened_at is None:
            self._lab.open_between(*self._ends)
            self.opened_at = time.time()
