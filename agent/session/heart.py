"""The shell around `PulseKeeper`: one UDP socket inside the mesh, and a task that beats.

Through the same socket go `sightings`: where others see a party that we have no direct path to.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import sys
import time
from collections.abc import Callable, Mapping

from agent.network_helper.client import NetworkHelper
from agent.session.descriptor import Descriptor
from agent.session.machine import SessionMachine
from agent.session.pulse import MAX_DATAGRAM, PulseKeeper
from agent.session.sightings import ANSWER, ASK, Sightings, answer, parse
from agent.wireguard.config import LEAST_MTU
from traversal.candidate import Address

IP_RECVERR = 11  # <linux/in.h>
# Probes may be as large as the interface allows, whatever the route's MTU, and in one piece.
IP_MTU_DISCOVER, IP_PMTUDISC_PROBE = 10, 3
ERRORS = 512  # bytes, for one refusal and what belongs to it
READ_AT_ONCE = 64  # datagrams; a party that floods us gets no more of the loop at a time


class Heart:
    """Beats until it is closed; tells what others said, and who has fallen silent.

    `seen` is to say to a party at which addresses we reach the others directly, by rank, and
    `on_seen` is given what others answer.
    """

    def __init__(
        self,
        keeper: PulseKeeper,
        sock: socket.socket,
        on_said: Callable[[str, str], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._keeper = keeper
        self._socket = sock
        self._on_said = on_said
        self._on_lost = on_lost
        self.seen: Callable[[str], Mapping[int, Address]] = lambda _: {}
        self.on_seen: Callable[[Mapping[int, Address]], None] = lambda _: None
        self._sightings = Sightings()
        self._names = {address: did for did, address in keeper.addresses.items()}
        self._statement: str | None = None
        self._finished = False
        self._heard_all = asyncio.Event()
        self._finished_all = asyncio.Event()
        self._wake = asyncio.Event()
        self._limit: Callable[[str], int] = lambda _: LEAST_MTU
        self._on_mtu: Callable[[str, int], None] = lambda *_: None
        self._mtus: dict[str, int] = {}
        self._settled: set[str] = set()  # whose MTU is searched once everybody is heard
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)
        asyncio.get_running_loop().add_reader(sock, self._read)
        self._beating = asyncio.create_task(self._beat())

    @classmethod
    async def start(
        cls,
        helper: NetworkHelper,
        descriptor: Descriptor,
        me: str,
        on_said: Callable[[str, str], None],
        on_lost: Callable[[str], None],
    ) -> Heart:
        port = descriptor.pulse_port
        places = dict(zip(descriptor.parties, descriptor.addresses, strict=True))
        sock = await helper.socket("udp")
        sock.setblocking(False)
        sock.bind((places.pop(me), port))
        keeper = PulseKeeper(
            {did: Address(host, port) for did, host in places.items()}, time.monotonic()
        )
        return cls(keeper, sock, on_said, on_lost)

    def reach(self, did: str) -> None:
        """WireGuard knows where this party is."""
        self._keeper.reach(did)
        self._wake.set()

    def watch_mtus(self, limit: Callable[[str], int], on_mtu: Callable[[str, int], None]) -> None:
        """`limit` says how large a packet leaves this machine in one piece towards a party.

        `on_mtu` is told what has turned out to arrive there, whenever that changes.
        """
        self._limit, self._on_mtu = limit, on_mtu

    def hold_mtu(self, did: str) -> None:
        """WireGuard goes another way to this party; the caller knows that, and is not told."""
        self._settled.discard(did)
        self._keeper.hold_mtu(did)
        self._mtus.pop(did, None)

    def search_mtu(self, did: str) -> None:
        """Both sides use the same path.

        A mesh that is not there yet has nothing large to carry, and its parties have enough to do.
        """
        self._settled.add(did)
        if self._heard_all.is_set():
            self._search_mtus()

    def mtu(self, did: str) -> int:
        """Bytes of a packet that is known to arrive at this party."""
        return self._keeper.mtu(did)

    async def all_heard(self) -> None:
        """Until every party has answered a pulse of ours: every tunnel works both ways."""
        await self._heard_all.wait()

    def unheard(self) -> list[str]:
        """The parties that have not answered a pulse of ours yet."""
        return [did for did in self._keeper.addresses if self._keeper.rtt(did) is None]

    def rtt(self, did: str) -> float | None:
        return self._keeper.rtt(did)

    def last_answer(self, did: str) -> tuple[float, float] | None:
        """Monotonic seconds when a party last answered through the mesh, and the round trip."""
        return self._keeper.last_answer(did)

    def ask(self) -> None:
        """Have everybody in reach say where they see the others."""
        for address in self._keeper.in_reach():
            self._send(ASK, address)

    def news(self, machine: SessionMachine) -> None:
        """Let the next pulse carry what the machine last said; at once if that is new."""
        statement = machine.own_statement()
        text = statement.text if statement else None
        finished = machine.has_all_results()
        if (text, finished) != (self._statement, self._finished):
            self._statement, self._finished = text, finished
            self._keeper.hurry()
            self._wake.set()

    def missed(self) -> list[str]:
        """The parties to which the mesh has not carried our last statement in time."""
        return self._keeper.missed(time.monotonic())

    async def farewell(self, timeout: float) -> list[str]:
        """Who has not said that it has all results too, after this many seconds at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._finished_all.wait()
        return self._keeper.unfinished()

    def close(self) -> None:
        self._beating.cancel()
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    async def _beat(self) -> None:
        while True:
            now = time.monotonic()
            self._set_limits(now)
            datagrams = self._keeper.datagrams_to_send(
                now, self._statement, finished=self._finished
            )
            for data, address in datagrams:
                self._send(data, address)
            self._tell_mtus()
            if self._heard_all.is_set():
                for did in self._keeper.lost(now):
                    self._on_lost(did)
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._keeper.next_timer() - now)):
                    await self._wake.wait()

    def _set_limits(self, now: float) -> None:
        for did in self._keeper.searched(now):
            self._keeper.limit(did, self._limit(did))

    def _search_mtus(self) -> None:
        while self._settled:
            self._keeper.search_mtu(self._settled.pop(), time.monotonic())

    def _tell_mtus(self) -> None:
        """Also after what arrived, since that wakes the beat."""
        for did in self._keeper.addresses:
            mtu = self._keeper.mtu(did)
            if mtu != self._mtus.get(did, LEAST_MTU):
                self._mtus[did] = mtu
                self._on_mtu(did, mtu)

    def _send(self, data: bytes, address: Address) -> None:
        with contextlib.suppress(OSError):  # the tunnel may not be there yet
            try:
                self._socket.sendto(data, address)
            except ConnectionRefusedError:  # that was another pulse; this one has not left
                self._socket.sendto(data, address)

    def _read(self) -> None:
        self._read_refusals()
        with contextlib.suppress(BlockingIOError, ConnectionError):
            for _ in range(READ_AT_ONCE):
                data, sender = self._socket.recvfrom(MAX_DATAGRAM + 1)
                source = Address(*sender[:2])
                if data[:1] in (ASK, ANSWER):
                    self._hear_of_sightings(data, source)
                    continue
                said = self._keeper.handle_datagram(data, source, time.monotonic())
                if said is not None:
                    self._on_said(*said)
                self._wake.set()
                if self._keeper.all_heard() and not self._heard_all.is_set():
                    self._heard_all.set()
                    self._search_mtus()
                if not self._keeper.unfinished():
                    self._finished_all.set()

    def _hear_of_sightings(self, data: bytes, source: Address) -> None:
        sender = self._names.get(source)
        if sender is None:
            return
        if data != ASK:
            self.on_seen(parse(data))
        elif self._sightings.may_answer(sender, time.monotonic()):
            self._send(answer(self.seen(sender)), source)

    def _read_refusals(self) -> None:
        """Pulses that came back through the tunnel, so that nobody else can make them up."""
        with contextlib.suppress(OSError):
            for _ in range(READ_AT_ONCE):
                _, words, _, to = self._socket.recvmsg(1, ERRORS, socket.MSG_ERRQUEUE)
                if any(map(_is_refusal, words)):
                    self._keeper.refuse(Address(*to[:2]), time.monotonic())
                    self._wake.set()


def _is_refusal(word: tuple[int, int, bytes]) -> bool:
    """Source: ip(7), IP_RECVERR: a word of the kernel's, whose first number is an error's."""
    _, kind, error = word
    return kind == IP_RECVERR and int.from_bytes(error[:4], sys.byteorder) == errno.ECONNREFUSED
