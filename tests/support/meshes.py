"""Many parties on the internet in memory, each with one port and a finder for every other."""

from collections import Counter
from dataclasses import dataclass, field

from tests.support.nat_model import Host, Internet
from tests.support.two_parties import candidates_of
from traversal import stun
from traversal.candidate import Address, Kind, LocalSide, RemoteSide, candidate
from traversal.paths import PathFinder, State
from traversal.stun import Class


@dataclass
class Member:
    internet: Internet
    host: Host
    finders: dict[int, PathFinder] = field(default_factory=dict)
    sent: Counter[int] = field(default_factory=Counter)  # by second

    def start(self) -> None:
        self.host.on_datagram = self._receive
        for finder in self.finders.values():
            self._flush(finder)

    def _receive(self, data: bytes, source: Address, now: float) -> None:
        message = stun.parse(data)
        for finder in self.finders.values():
            if message.cls is Class.REQUEST:
                ours = message.attributes["USERNAME"] == finder.username
            else:
                ours = finder.awaits(message.transaction)
            if ours:
                finder.handle_datagram(data, source, now)
                self._flush(finder)
                return

    def _flush(self, finder: PathFinder) -> None:
        now = self.internet.now
        for datagram in finder.datagrams_to_send(now):
            self.sent[int(now)] += 1
            self.host.send(datagram.data, datagram.destination)
        timer = finder.next_timer()
        if timer is not None:
            self.internet.at(max(timer, now), lambda: self._wake(finder, timer))

    def _wake(self, finder: PathFinder, planned: float) -> None:
        if finder.next_timer() == planned:
            self._flush(finder)


def mesh(internet: Internet, hosts: list[Host]) -> list[Member]:
    """Every pair has a relay."""
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
                members[me].finders[other] = PathFinder(
                    offers[me], remote, controlling=me < other, now=internet.now
                )
    for member in members:
        member.start()
    return members


def complete(members: list[Member]) -> bool:
    """Whether all pairs have settled on direct paths."""
    return all(
        finder.state is State.SETTLED and finder.path and not finder.path.relayed
        for member in members
        for finder in member.finders.values()
    )
