"""WireGuard as far as paths see it: an endpoint that follows the last authenticated packet.

Beside it the rules of whoever drives a PathFinder: point the endpoint at what is found; until both
ends have settled, send what WireGuard would still send to the relay along the direct path
(`redirect`), and put the endpoint back whenever it went elsewhere (`reassert`); then let the relay
go, and look after the endpoint a little longer.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.nat_model import Internet, Relay
from tests.support.two_parties import Party
from traversal.agreement import Event, PathFound, PathSettled
from traversal.candidate import Address

AFTERCARE = 1.0  # seconds of re-asserting once the relay is gone
MARK = b"\x04\x00\x00\x00"  # a WireGuard data packet


@dataclass
class Tunnel:
    internet: Internet
    party: Party
    relay: Relay
    poll: float  # seconds between looks at the endpoint
    redirect: bool = True
    reassert: bool = True
    endpoint: Address | None = None
    sent: int = 0
    received: set[bytes] = field(default_factory=set)
    _handled: int = 0
    _reassert_until: float = 0.0

    def start(self) -> None:
        below = self.party.host.on_datagram
        self.party.host.on_datagram = lambda *args: self._receive(below, *args)
        self._look()

    def ping(self, interval: float, until: float) -> None:
        if self.internet.now >= until:
            return
        if self.endpoint is not None:
            self.sent += 1
            self.party.host.send(
                MARK + self.sent.to_bytes(4, "big"), self._destination(self.endpoint)
            )
        self.internet.at(self.internet.now + interval, lambda: self.ping(interval, until))

    def _receive(
        self, below: Callable[..., None], data: bytes, source: Address, now: float
    ) -> None:
        if data.startswith(MARK):
            self.received.add(data)
            self.endpoint = source
        else:
            below(data, source, now)
            self._handle_events()

    def _destination(self, endpoint: Address) -> Address:
        path = self.party.finder.path
        is_late = endpoint == self.relay.address and path is not None and not path.relayed
        return path.endpoint if self.redirect and is_late else endpoint

    def _look(self) -> None:
        self._handle_events()
        path = self.party.finder.path
        if self.reassert and path is not None and self.internet.now < self._reassert_until:
            self.endpoint = path.endpoint
        self.internet.at(self.internet.now + self.poll, self._look)

    def _handle_events(self) -> None:
        while self._handled < len(self.party.events):
            self._handle(self.party.events[self._handled])
            self._handled += 1

    def _handle(self, event: Event) -> None:
        if isinstance(event, PathFound):
            self.endpoint, self._reassert_until = event.path.endpoint, math.inf
        elif isinstance(event, PathSettled):
            self._reassert_until = self.internet.now + AFTERCARE
            if not event.path.relayed:
                self.relay.up = False
