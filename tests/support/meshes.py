"""Many parties on the internet in memory, each with one port and a finder for every other."""

import math
from collections import Counter
from dataclasses import dataclass, field

from tests.support.nat_model import Host, Internet
from tests.support.two_parties import candidates_of
from traversal import stun
from traversal.agreement import State
from traversal.candidate import Address, Kind, LocalSide, RemoteSide, candidate
from traversal.paths import PathFinder
from traversal.stun import Class
from traversal.turns import Pacer, Turns


@dataclass
class Member:
    """`queue` datagrams wait at most to leave, `rate` a second do; what finds no room is lost."""

    internet: Internet
    host: Host
    finders: dict[str, PathFinder] = field(default_factory=dict)
    sent: Counter[int] = field(default_factory=Counter)  # by second
    pacer: Pacer = field(default_factory=Pacer.shared)
    turns: Turns = field(default_factory=Turns)
    queue: float = math.inf
    rate: float = math.inf
    _waiting: float = 0.0
    _left_at: float = 0.0

    def start_at(self, when: float) -> None:
        """What arrives before is lost."""
        if when <= self.internet.now:
            self.start()
        else:
            self.host.on_datagram = lambda *_: None
            self.internet.at(when, self.start)

    def start(self) -> None:
        self.host.on_datagram = self._receive
        for other in self.finders:
            self.turns.wake(other)
        self._turn()

    def _receive(self, data: bytes, source: Address, now: float) -> None:
        message = stun.parse(data)
        for other, finder in self.finders.items():
            if message.cls is Class.REQUEST:
                ours = message.attributes["USERNAME"] == finder.username
            else:
                ours = finder.awaits(message.transaction)
            if ours:
                finder.handle_datagram(data, source, now)
                self.turns.wake(other)
                self._turn()
                return

    def _turn(self) -> None:
        now = self.internet.now
        for other in self.turns.due(now):
            finder, slot = self.finders[other], self.pacer.next_slot
            for datagram in finder.datagrams_to_send(now):
                self._send(datagram.data, datagram.destination)
            timer = finder.next_timer()
            got_slot = self.pacer.next_slot != slot
            self.turns.served(other, math.inf if timer is None else timer, got_slot=got_slot)
        timer = self.turns.next_timer()
        self.internet.at(max(timer, now), lambda: self._wake(timer))

    def _wake(self, planned: float) -> None:
        if self.turns.next_timer() == planned:
            self._turn()

    def _send(self, data: bytes, destination: Address) -> None:
        now = self.internet.now
        self.sent[int(now)] += 1
        if self.rate < math.inf:
            self._waiting = max(0.0, self._waiting - (now - self._left_at) * self.rate)
            self._left_at = now
            if self._waiting + 1 > self.queue:
                return
            self._waiting += 1
        self.host.send(data, destination)


def mesh(internet: Internet, hosts: list[Host], apart: float = 0.0) -> list[Member]:
    """Every pair has a relay; they begin so many seconds one after the other."""
    servers = [internet.host(3478), internet.host(3479)]
    members = [Member(internet, host) for host in hosts]
    seen = [candidates_of(host, servers) for host in hosts]
    for i in range(len(hosts)):
        for j in range(i):
            relay = internet.relay()
            relay.bind(hosts[j], hosts[i])
            relayed = candidate(Kind.RELAY, relay.address)
            offers = {k: LocalSide.fresh([*seen[k], relayed]) for k in (i, j)}
            for me, other in ((i, j), (j, i)):
                remote = RemoteSide.from_json(offers[other].to_json())
                members[me].finders[str(other)] = PathFinder(
                    offers[me],
                    remote,
                    controlling=me < other,
                    now=internet.now,
                    pacer=members[me].pacer,
                )
    for number, member in enumerate(members):
        member.start_at(internet.now + number * apart)
    return members


def complete(members: list[Member]) -> bool:
    """Whether all pairs have settled on direct paths."""
    return all(
        finder.state is State.SETTLED and finder.path and not finder.path.relayed
        for member in members
        for finder in member.finders.values()
    )
