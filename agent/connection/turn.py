"""A TURN server as one more relay: each of its peers is a local UDP port that leads there.

    relay = await TurnRelay.start(server, deliver_to=session_port)
    relay.relayed                        # what others are offered
    relay.reach(hosts, peers, offer)     # who may send, and to whom there is a way; for a party
    await relay.close()

WireGuard knows nothing of TURN's framing, so every datagram passes through here, both ways.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self

from agent.errors import UsageMistake
from traversal.candidate import Address
from traversal.turn import MAX_PEERS, TIMED_OUT, Credentials, TurnClient

READ_AT_ONCE = 64  # datagrams taken from the kernel in one turn of the loop
MAX_DATAGRAM = 65_535
BUFFER = 4 * 1024 * 1024  # bytes asked of the kernel
LOOPBACK = "127.0.0.1"
PORT = 3478  # RFC 8656, section 5
GOODBYE = 0.5  # seconds for the server to confirm that it has forgotten us
USER, PASSWORD = "DIDMESH_TURN_USER", "DIDMESH_TURN_PASSWORD"
_URL = re.compile(
    r"turn:(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9.-]+))(?::(?P<port>\d{1,5}))?"
    r"(?:\?transport=(?P<transport>[a-z]+))?"
)


class TurnUnusable(Exception):
    """The server gives us no address, in the words of a person."""


@dataclass(frozen=True)
class TurnServer:
    host: str
    port: int
    credentials: Credentials

    @classmethod
    def from_settings(cls, url: str | None, file: Path) -> Self | None:
        """The server that `url` names, else the profile's; None where there is none.

        The profile's file has three lines: URL, user, password. The variables DIDMESH_TURN_USER
        and DIDMESH_TURN_PASSWORD come before its user and password.

        Raises: UsageMistake.
        """
        lines = file.read_text().splitlines() if file.is_file() else []
        url = url or (lines[0] if lines else None)
        if url is None:
            return None
        host, port = parse_url(url)
        user, password = os.environ.get(USER), os.environ.get(PASSWORD)
        if user is None or password is None:
            if len(lines) < 3:
                words = f"set {USER} and {PASSWORD}, or write URL, user and password to {file}"
                raise UsageMistake("the TURN server wants a user and a password", words)
            user, password = lines[1], lines[2]
        return cls(host, port, Credentials(user, password))


def parse_url(url: str) -> tuple[str, int]:
    """Host and port. Source: RFC 7065. Raises: UsageMistake."""
    match = _URL.fullmatch(url)
    if match is None or not 0 < int(match["port"] or PORT) < 65536:
        raise UsageMistake(f"{url} is not the URL of a TURN server", "like turn:turn.example:3478")
    if match["transport"] not in (None, "udp"):
        raise UsageMistake("TURN is spoken over UDP here", "leave ?transport= out")
    return match["six"] or match["host"], int(match["port"] or PORT)


@dataclass
class _Way:
    """A local port, and whom to tell of it: those whose address this is."""

    local: socket.socket
    told: list[Callable[[Address], None]] = field(default_factory=list)


class TurnRelay:
    def __init__(self, client: TurnClient, outside: socket.socket, deliver_to: int) -> None:
        self._client = client
        self._outside = outside
        self._wireguard = (LOOPBACK, deliver_to)
        self._ways: dict[Address, _Way] = {}
        self._offers: dict[str, list[Callable[[Address], None]]] = {}
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._loop.add_reader(outside, self._read_outside)
        self._running = asyncio.create_task(self._run())

    @classmethod
    async def start(cls, server: TurnServer, deliver_to: int, timeout: float) -> Self:
        """With an address of ours on the server. Raises: TurnUnusable."""
        try:
            address = await _look_up(server)
            outside = _udp(address)
        except OSError as error:
            raise TurnUnusable(f"{server.host}: {error.strerror or error}") from error
        relay = cls(TurnClient(address, server.credentials, time.monotonic()), outside, deliver_to)
        try:
            async with asyncio.timeout(timeout):
                while relay.relayed is None and relay._client.refusal is None:
                    await relay._next_news()
        except TimeoutError:
            pass
        if relay.relayed is None:
            code, reason = relay._client.refusal or (TIMED_OUT, "no answer")
            await relay.close()
            raise TurnUnusable(f"{server.host}: {reason or 'refused'} ({code})")
        return relay

    @property
    def relayed(self) -> Address | None:
        return self._client.relayed

    def reach(
        self, hosts: Iterable[str], peers: Iterable[Address], offer: Callable[[Address], None]
    ) -> None:
        """Let a party's hosts send to us, and open a way to each of its peers.

        `offer` is told of each local address that leads to this party, now and later.
        """
        now = time.monotonic()
        for host in hosts:
            self._offers.setdefault(host, []).append(offer)
            self._client.permit(host, now)
            for peer, way in self._ways.items():
                if peer.host == host:
                    self._tell(way)
        for peer in peers:
            self._open(peer)
        self._news.set()

    async def close(self) -> None:
        self._client.release(time.monotonic())
        self._news.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE):
                while self._client.next_timer() is not None and self._client.relayed is not None:
                    await self._next_news()
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        for made in (self._outside, *(way.local for way in self._ways.values())):
            self._loop.remove_reader(made)
            made.close()
        self._ways.clear()

    async def _next_news(self) -> None:
        await asyncio.sleep(0.02)

    async def _run(self) -> None:
        while (at := self._client.next_timer()) is not None:
            now = time.monotonic()
            for datagram in self._client.datagrams_to_send(now):
                self._send(datagram.data)
            self._news.clear()
            at = self._client.next_timer() or now
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.01, at - time.monotonic())):
                    await self._news.wait()

    def _open(self, peer: Address) -> _Way | None:
        way = self._ways.get(peer)
        if way is None and len(self._ways) < MAX_PEERS:
            way = self._ways[peer] = _Way(_udp(None))
            self._loop.add_reader(way.local, partial(self._read_inside, way.local, peer))
            self._client.connect(peer, time.monotonic())
            self._news.set()
            for offer in self._offers.get(peer.host, ()):
                way.told.append(offer)
                offer(Address(*way.local.getsockname()))
        return way

    def _tell(self, way: _Way) -> None:
        peer = next(peer for peer, known in self._ways.items() if known is way)
        for offer in self._offers.get(peer.host, ()):
            if offer not in way.told:
                way.told.append(offer)
                offer(Address(*way.local.getsockname()))

    def _read_inside(self, local: socket.socket, peer: Address) -> None:
        receive, wrap, send = local.recvfrom, self._client.wrap, self._send
        for _ in range(READ_AT_ONCE):
            try:
                data, source = receive(MAX_DATAGRAM)
            except OSError:  # nothing more, or an ICMP error for something we sent
                return
            if source == self._wireguard and (wrapped := wrap(peer, data)) is not None:
                send(wrapped)

    def _read_outside(self) -> None:
        receive, handle, now = self._outside.recv, self._client.handle_datagram, time.monotonic()
        for _ in range(READ_AT_ONCE):
            try:
                data = receive(MAX_DATAGRAM)
            except BlockingIOError:
                break
            except OSError:  # an ICMP error for something we sent
                continue
            came = handle(data, now)
            if came is None:
                self._news.set()
            elif (way := self._open(came[0])) is not None:
                with contextlib.suppress(OSError):
                    way.local.sendto(came[1], self._wireguard)

    def _send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # a full queue loses datagrams like any other
            self._outside.send(data)


def _udp(towards: Address | None) -> socket.socket:
    """Connected to a server, so that nobody else is heard; or on loopback."""
    family = socket.AF_INET6 if towards is not None and towards.version == 6 else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            made.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        if towards is None:
            made.bind((LOOPBACK, 0))
        else:
            made.connect(tuple(towards))
    except OSError:
        made.close()
        raise
    return made


async def _look_up(server: TurnServer) -> Address:
    """IPv4 first, as for relays. Raises: OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(server.host, server.port, type=socket.SOCK_DGRAM)
    addresses = [Address(str(place[0]), server.port) for *_, place in found]
    return min(addresses, key=lambda address: address.version)
