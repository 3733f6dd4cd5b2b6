"""What WireGuard's own word on a peer means: point it elsewhere, or give the path up; pure.

Late datagrams of the path used before make WireGuard follow them back ("roaming"), and then the
other side follows us. So the endpoint is set again until both sides are known to use the new path,
and until then what still goes to a relay left for it is redirected. A little later WireGuard may
roam as it likes, for instance after a NAT that was restarted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from agent.wireguard.config import PeerStatus

SILENCE = 2.0  # seconds in which we send and hear nothing, though everybody beats twice a second
AFTERCARE = 1.0  # seconds for which the endpoint is looked after once both use the path
FIRST_SILENCE = 7.0  # the same before the first handshake, which is repeated after 5 s


@dataclass
class PeerWatch:
    """`aim` when a path is found, `settle` when both use it; `observe` what WireGuard says."""

    wanted: tuple[str, int] | None = None
    late: tuple[tuple[str, int], ...] = ()  # relays, from which packets are redirected for now
    last: PeerStatus | None = None
    _free_at: float = -math.inf  # when WireGuard may roam
    _is_set: bool = False
    _since: float = math.inf  # when we last heard the peer, or began to wait for it
    _sent: int = field(default=0)

    def aim(
        self, endpoint: tuple[str, int], now: float, late: Sequence[tuple[str, int]] = ()
    ) -> None:
        """`late` are the relays that this path replaces."""
        self.wanted, self.late, self._free_at = endpoint, tuple(late), math.inf
        self._is_set, self._since = False, now
        self._sent = self.last.tx_bytes if self.last is not None else 0

    def settle(self, now: float) -> None:
        if self.late:
            self.late, self._is_set = (), False
        self._free_at = now + AFTERCARE

    @property
    def urgent(self) -> bool:
        """Whether to look often."""
        return self._free_at > -math.inf

    @property
    def due(self) -> bool:
        """Whether the endpoint is to be set (again); `observe` may make it so."""
        return self.wanted is not None and not self._is_set

    def done(self) -> None:
        """The endpoint was set."""
        self._is_set = True

    def again(self) -> None:
        """The endpoint is to be set once more, with what has changed beside it."""
        self._is_set = False

    def observe(self, status: PeerStatus, now: float) -> bool:
        """Whether the path is dead; `status` of this peer was read at `now`."""
        if self.last is None or status.rx_bytes > self.last.rx_bytes:
            self._since, self._sent = now, status.tx_bytes
        self.last = status
        if self.wanted is None:
            return False
        if now >= self._free_at:
            self._free_at = -math.inf
        elif self.urgent and status.endpoint != self.wanted:
            self._is_set = False
        patience = SILENCE if status.last_handshake else FIRST_SILENCE
        if status.tx_bytes == self._sent or now < self._since + patience:
            return False
        self._since, self._sent = now, status.tx_bytes
        return True
