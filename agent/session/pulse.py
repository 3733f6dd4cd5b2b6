"""The parties' heartbeat inside the mesh: who is alive, how far away, and what they last said.

A pulse is one UDP datagram of at most `MAX_PULSE` bytes. WireGuard ties its source address to one
party's key, so it needs no signature of its own; the statement it may carry is signed anyway. What
a party says for the record therefore reaches the others within a pulse even if every mediator is
gone by then.

    0       version, 1
    1       flags: 1 = I have everybody's result
    2..9    my clock, microseconds, big-endian, any epoch
    10..17  the clock of the last pulse I had from you, or 0
    18..25  how long ago I had it, microseconds
    26..    a statement (compact JWS, ASCII), or nothing

Two more datagrams have the same header. They find out how large a packet the path carries
(`agent.session.mtu`), and say nothing of who is alive:

    probe   flag 2, my clock, zeros until the IP packet has one of the sizes that are probed
    answer  flag 4, the probe's clock at 10..17, the size that arrived at 26..27
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.session.mtu import CONFIRM_INTERVAL, SIZES, MtuSearch
from agent.wireguard.config import MOST_MTU
from traversal.candidate import Address

PULSE_INTERVAL = 0.5  # seconds
LOST_AFTER = 15.0  # seconds of silence after which a party counts as lost; a cable may be put back
GONE_AFTER = 2.0  # the same once its machine has said that nobody listens there any more
CARRIED_AFTER = 2.0  # seconds after which a statement that was not heard goes by mail
CARRIED_EACH = 0.25  # for each party, where that is more: many are slow, above all on one machine
CONFIRMATIONS = 10  # a second, at most, of all paths' MTUs together
MAX_PULSE = 1200  # bytes; below the mesh's least MTU with its headers
_IP_AND_UDP = 28  # bytes of headers
MAX_DATAGRAM = MOST_MTU - _IP_AND_UDP
_HEADER = struct.Struct("!BBQQQ")
_SIZE = struct.Struct("!H")
_VERSION = 1
_HAS_ALL_RESULTS, _PROBE, _ANSWER = 1, 2, 4


@dataclass
class _Peer:
    """What we know of one party's pulses."""

    address: Address
    search: MtuSearch
    limit: int = MOST_MTU  # bytes of a packet that leaves this machine in one piece
    owed: dict[int, int] = field(default_factory=dict)  # probes to answer: their clocks by size
    reachable: bool = False
    heard: float | None = None
    refused: float | None = None
    clock: int = 0
    rtt: float | None = None
    last: tuple[float, float] | None = None  # when it answered a pulse of ours, and after how long
    echoed: int = 0  # the newest of our clocks that it had
    finished: bool = False


@dataclass
class PulseKeeper:
    """One party's side of everybody's heartbeat; pure, driven by `now` in seconds."""

    addresses: Mapping[str, Address]
    started: float
    _peers: dict[str, _Peer] = field(init=False)
    _next: float = field(init=False)
    _hurried: set[str] = field(default_factory=set)  # who gets one before all others
    _statement: str | None = None
    _said_at: int = 0  # our clock at the first pulse with this statement

    def __post_init__(self) -> None:
        interval = max(CONFIRM_INTERVAL, len(self.addresses) / CONFIRMATIONS)
        self._peers = {
            did: _Peer(address, MtuSearch(interval)) for did, address in self.addresses.items()
        }
        self._next = self.started

    def reach(self, did: str) -> None:
        """There is a way to this party: from now on it gets pulses, the first one at once.

        A datagram before would make WireGuard try in vain, and wait five seconds to try again.
        """
        if not self._peers[did].reachable:
            self._peers[did].reachable = True
            self._hurried.add(did)

    def handle_datagram(self, data: bytes, source: Address, now: float) -> tuple[str, str] | None:
        """Take in a pulse: (party, statement text) if it carries one; strange bytes are dropped."""
        found = [(did, peer) for did, peer in self._peers.items() if peer.address == source]
        if not found or len(data) < _HEADER.size or data[0] != _VERSION:
            return None
        did, peer = found[0]
        if data[1] & (_PROBE | _ANSWER):
            _handle_probe(peer, data)
            return None
        if len(data) > MAX_PULSE:
            return None
        if peer.heard is None:
            self._hurried.add(did)  # a quick answer, to the first only, gives both a round trip
        _, flags, clock, echo, held = _HEADER.unpack_from(data)
        peer.heard, peer.refused, peer.clock, peer.reachable = now, None, clock, True
        peer.finished = bool(flags & _HAS_ALL_RESULTS)
        peer.echoed = max(peer.echoed, echo)
        peer.search.handle_echo(echo)
        if echo:
            sample = now - (echo + held) / 1e6
            if 0 <= sample < LOST_AFTER:
                peer.rtt = sample if peer.rtt is None else min(sample, peer.rtt)
                peer.last = now, sample
        text = data[_HEADER.size :]
        return (did, text.decode("ascii", "replace")) if text else None

    def refuse(self, destination: Address, now: float) -> None:
        """A pulse came back: the party's machine is there, and its agent is not.

        What it said before it ended may still be on its way.
        """
        for peer in self._peers.values():
            if peer.address == destination and peer.refused is None:
                peer.refused = now

    def datagrams_to_send(
        self, now: float, statement: str | None, *, finished: bool
    ) -> list[tuple[bytes, Address]]:
        """Answers at once; a pulse for every party in reach if the time has come.

        `hurry` makes it come. Before that only for those who have just come into reach, so that the
        first pulses of many parties do not grow with the square of their number. Probes go before
        the pulse, so that one that arrived tells of them.
        """
        out = [(answer, peer.address) for peer in self._peers.values() for answer in _answers(peer)]
        beats = now >= self._next
        due = self._peers.keys() if beats else self._hurried
        if not due:
            return out
        if beats:
            self._next = now + PULSE_INTERVAL
        if statement != self._statement:
            self._statement, self._said_at = statement, int(now * 1e6)
        text = (statement or "").encode("ascii")
        if _HEADER.size + len(text) > MAX_PULSE:
            text = b""
        for did, peer in self._peers.items():
            if did in due and peer.reachable:
                probes = _probes(peer, now) if beats else []
                pulse = _pulse(peer, now, finished) + text
                out += [(data, peer.address) for data in (*probes, pulse)]
        self._hurried.clear()
        return out

    def in_reach(self) -> list[Address]:
        """Who gets pulses."""
        return [peer.address for peer in self._peers.values() if peer.reachable]

    def hurry(self) -> None:
        """There is news: the next pulse is due at once, for everybody."""
        self._next = 0.0

    def next_timer(self) -> float:
        return 0.0 if self._hurried else self._next

    def hold_mtu(self, did: str) -> None:
        """WireGuard goes another way to this party, of which nothing is known."""
        self._peers[did].search.hold()

    def search_mtu(self, did: str, now: float) -> None:
        """Both sides use the same path: see how large its packets may be."""
        self._peers[did].search.begin(now)

    def searched(self, now: float) -> list[str]:
        """The parties whose `limit` counts for what is sent now."""
        if now < self._next:
            return []
        return [did for did, peer in self._peers.items() if peer.search.active]

    def limit(self, did: str, size: int) -> None:
        """How large a packet to this party leaves the machine in one piece."""
        self._peers[did].limit = size

    def mtu(self, did: str) -> int:
        """Bytes of a packet that this party's answers have shown to arrive."""
        return self._peers[did].search.mtu

    def lost(self, now: float) -> list[str]:
        """The parties that have been silent for too long, counted from the start at first."""
        return [did for did, peer in self._peers.items() if self._is_lost(peer, now)]

    def _is_lost(self, peer: _Peer, now: float) -> bool:
        if peer.refused is not None and now - peer.refused > GONE_AFTER:
            return True
        return now - (peer.heard if peer.heard is not None else self.started) > LOST_AFTER

    def missed(self, now: float) -> list[str]:
        """Who has not heard our statement, though we have said it for `CARRIED_AFTER` seconds."""
        patience = max(CARRIED_AFTER, CARRIED_EACH * len(self._peers))
        if self._statement is None or now * 1e6 - self._said_at < patience * 1e6:
            return []
        return [did for did, peer in self._peers.items() if peer.echoed < self._said_at]

    def all_heard(self) -> bool:
        """Whether every party has answered one of our pulses, so that both directions work."""
        return all(peer.rtt is not None for peer in self._peers.values())

    def unfinished(self) -> list[str]:
        """The parties that have not said that they have everybody's result."""
        return [did for did, peer in self._peers.items() if not peer.finished]

    def rtt(self, did: str) -> float | None:
        """Smallest round trip seen, in seconds."""
        return self._peers[did].rtt

    def last_answer(self, did: str) -> tuple[float, float] | None:
        """When a party last answered a pulse of ours, and that round trip in seconds."""
        return self._peers[did].last


def _pulse(peer: _Peer, now: float, finished: bool) -> bytes:
    held = int((now - peer.heard) * 1e6) if peer.heard is not None else 0
    flags = _HAS_ALL_RESULTS if finished else 0
    return _HEADER.pack(_VERSION, flags, int(now * 1e6), peer.clock, held)


def _probes(peer: _Peer, now: float) -> list[bytes]:
    clock = int(now * 1e6)
    header = _HEADER.pack(_VERSION, _PROBE, clock, 0, 0)
    sizes = peer.search.sizes_to_probe(clock, now, peer.limit)
    return [header.ljust(size - _IP_AND_UDP, b"\0") for size in sizes]


def _handle_probe(peer: _Peer, data: bytes) -> None:
    """A probe is remembered until it is answered, one of each size; others' sizes are dropped."""
    _, flags, clock, echo, _ = _HEADER.unpack_from(data)
    if flags & _PROBE and len(data) + _IP_AND_UDP in SIZES:
        peer.owed[len(data) + _IP_AND_UDP] = clock
    elif flags & _ANSWER and len(data) == _HEADER.size + _SIZE.size:
        (size,) = _SIZE.unpack_from(data, _HEADER.size)
        peer.search.handle_answer(echo, size)


def _answers(peer: _Peer) -> list[bytes]:
    if not peer.owed:
        return []
    owed, peer.owed = peer.owed, {}
    return [
        _HEADER.pack(_VERSION, _ANSWER, 0, clock, 0) + _SIZE.pack(size)
        for size, clock in owed.items()
    ]
