"""One direction of a pair: where datagrams go, how many may, and how many did."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from traversal.relay_server import admits

BURST = 0.1  # seconds of the rate that may come at once, and one full datagram at least
MAX_DATAGRAM = 65_536
WIREGUARD = frozenset(bytes([kind, 0, 0, 0]) for kind in range(1, 5))


class Flow:
    """`send` brings datagrams to the other side; `now` is the loop's clock in seconds."""

    __slots__ = (
        "_allowed",
        "_at",
        "_most",
        "_now",
        "_rate",
        "_send",
        "bytes",
        "dropped",
        "packets",
    )

    def __init__(
        self, send: Callable[[Sequence[bytes]], None], rate: int, now: Callable[[], float]
    ) -> None:
        self.packets = 0
        self.bytes = 0
        self.dropped = 0  # over the rate, or nothing that a relay passes on
        self._send = send
        self._now = now
        self._rate = rate / 8
        self._most = max(self._rate * BURST, MAX_DATAGRAM)
        self._allowed = self._most
        self._at = now()

    def forward(self, datagrams: Sequence[bytes]) -> None:
        """This runs for every datagram that Python relays."""
        allowed = [data for data in datagrams if self._allows(data)]
        self.dropped += len(datagrams) - len(allowed)
        if allowed:
            self.packets += len(allowed)
            self.bytes += sum(map(len, allowed))
            self._send(allowed)

    def _allows(self, data: bytes) -> bool:
        size = len(data)
        if self._allowed < size:
            self._refill()
        if self._allowed < size or not ((data[:4] in WIREGUARD and size >= 32) or admits(data)):
            return False
        self._allowed -= size
        return True

    def _refill(self) -> None:
        now = self._now()
        self._allowed = min(self._most, self._allowed + (now - self._at) * self._rate)
        self._at = now
