"""Steering: WireGuard goes where the finders say, and says when a path is dead."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NoReturn

from agent.network_helper.client import HelperFailed, HelperRefused, NetworkHelper
from agent.wireguard.config import LEAST_MTU, MAX_LATE, Endpoint, PeerMtu, PeerStatus
from agent.wireguard.watch import PeerWatch
from traversal.candidate import Address

log = logging.getLogger(__name__)

KEEPALIVE = 20  # seconds; NATs may forget an idle mapping after 30
FOLLOW = 1.5  # seconds that the side that follows waits for the other's handshake
LOOK = 0.5  # seconds between two looks at WireGuard's status
LOOK_URGENTLY = 0.1  # the same while the two sides may use different paths
REST = 9  # times what the last look took, at least: many parties on one machine all look
LONGEST_REST = 1.0  # seconds


class Steering:
    """`keys` are WireGuard's public ones by party; `run` is to be running.

    Only one side of a pair, the one that `leads`, sends first: of two handshakes that meet on the
    way, WireGuard drops both, and repeats them after five seconds.

    `on_aimed` is called when WireGuard has got an endpoint and may send, `on_distress` when a path
    is dead.
    """

    def __init__(
        self,
        helper: NetworkHelper,
        keys: Mapping[str, bytes],
        leads: Collection[str],
        on_aimed: Callable[[str], None],
        on_distress: Callable[[str], None],
    ) -> None:
        self._helper = helper
        self._keys = keys
        self._waiting = {party: math.inf for party in keys if party not in leads}
        self._on_aimed = on_aimed
        self._on_distress = on_distress
        self._watches = {party: PeerWatch() for party in keys}
        self._mtus: dict[str, int] = {}
        self._set: dict[str, int] = {}  # MTUs as the helper has them
        self._sources: dict[str, int] = {}  # ports that paths lead from
        self._to_hold: list[tuple[socket.socket, Address, Callable[[], None]]] = []
        self._news = asyncio.Event()
        self._look_took = 0.0

    def aim(
        self,
        party: str,
        endpoint: Address,
        late: Sequence[Address] = (),
        source_port: int | None = None,
    ) -> None:
        """A path was found; WireGuard sends there within milliseconds.

        What it still sends to a relay in `late` goes there too, until the path has settled. With a
        `source_port` that is held, its packets to this party leave from there.
        """
        self._sources.pop(party, None)
        if source_port is not None:
            self._sources[party] = source_port
        now = time.monotonic()
        relays = [(relay.host, relay.port) for relay in late[:MAX_LATE]]
        self._watches[party].aim((endpoint.host, endpoint.port), now, relays)
        if self._waiting.get(party) == math.inf:
            self._waiting[party] = now + FOLLOW
        self._news.set()

    def set_mtu(self, party: str, mtu: int) -> None:
        """Packets to this party have at most so many bytes; before what is aimed afterwards.

        More bytes wait for the next look, so that those of many parties are one request.
        """
        before, self._mtus[party] = self._mtus.get(party, LEAST_MTU), mtu
        if mtu < before:
            self._news.set()

    def let_in(self, source: socket.socket, address: Address, then: Callable[[], None]) -> None:
        """WireGuard's packets may come from this address to this socket's port, and go back.

        Calls `then` when it is so: a path may lead there. Where the helper refuses, it never does.
        """
        self._to_hold.append((source, address, then))
        self._news.set()

    def settle(self, party: str) -> None:
        """The end of a redirection is in no hurry: it waits for the next look, with others."""
        self._watches[party].settle(time.monotonic())

    def status(self, party: str) -> PeerStatus | None:
        """What WireGuard said of this party at the last look."""
        return self._watches[party].last

    async def run(self) -> NoReturn:
        """Until cancelled. Raises: HelperFailed."""
        while True:
            await self._hold_ports()
            await self._set_mtus()
            await self._set_endpoints()
            await self._wait()
            if not self._news.is_set():
                await self._look()
            self._news.clear()

    async def _set_mtus(self) -> None:
        due = {
            party: mtu
            for party, mtu in self._mtus.items()
            if self._set.get(party, LEAST_MTU) != mtu
        }
        if due:
            await self._helper.set_mtus(
                [PeerMtu(self._keys[party], mtu) for party, mtu in due.items()]
            )
            self._set |= due

    async def _set_endpoints(self) -> None:
        due = {party: watch for party, watch in self._watches.items() if watch.due}
        endpoints = []
        for party, watch in due.items():
            if watch.wanted is not None:
                keepalive = 0 if party in self._waiting else KEEPALIVE
                key = self._keys[party]
                source = self._sources.get(party)
                endpoints.append(Endpoint(key, watch.wanted, keepalive, watch.late, source))
                watch.done()
        if endpoints:
            await self._helper.set_endpoints(endpoints)
            for party in due.keys() - self._waiting.keys():
                self._on_aimed(party)

    async def _hold_ports(self) -> None:
        """Before a path is chosen that leads from there: the other side may send at once."""
        while self._to_hold:
            source, address, then = self._to_hold.pop()
            if source.fileno() < 0:  # given back meanwhile
                continue
            try:
                await self._helper.hold(source, address)
            except (HelperRefused, HelperFailed) as error:  # a kernel that cannot tell whose it is
                log.warning("%s", error)
            else:
                then()

    async def _wait(self) -> None:
        urgent = any(watch.urgent for watch in self._watches.values()) or bool(self._waiting)
        pause = max(LOOK_URGENTLY if urgent else LOOK, min(REST * self._look_took, LONGEST_REST))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._news.wait()

    async def _look(self) -> None:
        began = time.monotonic()
        said = {status.public_key: status for status in await self._helper.status()}
        now = time.monotonic()
        self._look_took = now - began
        for party, watch in self._watches.items():
            status = said.get(self._keys[party])
            if status is not None and watch.observe(status, now):
                self._on_distress(party)
            shaken = status is not None and status.last_handshake > 0
            if party in self._waiting and (shaken or now >= self._waiting[party]):
                del self._waiting[party]
                watch.again()
