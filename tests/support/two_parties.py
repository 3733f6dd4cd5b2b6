"""Two path finders on the internet in memory, the offers already exchanged."""

from collections import Counter
from dataclasses import dataclass, field

from tests.support.nat_model import DualHost, Host, Internet, Relay
from traversal.agreement import Event, PairFailed, PathFound, PathSettled, State
from traversal.candidate import Address, Candidate, Kind, LocalSide, RemoteSide, candidate
from traversal.pairs import Path
from traversal.paths import PathFinder

LETTING_IN = 0.25  # seconds from a check answered at another port to its letting everything in


@dataclass
class Party:
    host: Host | DualHost
    finder: PathFinder
    by_destination: Counter[Address] = field(default_factory=Counter)
    events: list[Event] = field(default_factory=list)
    paths: list[tuple[float, Path]] = field(default_factory=list)  # when found, which
    let_in: dict[int, float] = field(default_factory=dict)  # other ports, and since when

    @property
    def settled(self) -> bool:
        """Whether it has told that both sides use the path it found last."""
        told = [event for event in self.events if not isinstance(event, PairFailed)]
        return self.finder.state is State.SETTLED and isinstance(told[-1], PathSettled)

    @property
    def endpoint(self) -> Address | None:
        return self.finder.path.endpoint if self.finder.path else None

    @property
    def sent(self) -> int:
        """How many datagrams, in all."""
        return self.by_destination.total()

    def found_at(self) -> float:
        """When it found the path it has now."""
        return self.paths[-1][0]


def candidates_of(host: Host | DualHost, stun_servers: list[Host]) -> list[Candidate]:
    made = [candidate(Kind.HOST, stack.address) for stack in host.stacks]
    for server in stun_servers:
        if all(stack.address.version != server.address.version for stack in host.stacks):
            continue
        seen = host.seen_from(server)
        if all(seen != other.address for other in made):
            made.append(candidate(Kind.SERVER_REFLEXIVE, seen, host.address))
    return made


def meet(
    internet: Internet,
    hosts: tuple[Host | DualHost, Host | DualHost],
    *,
    starts: tuple[float, float] = (0.0, 0.0),
    relays: tuple[Relay, ...] = (),
    known: bool = True,
) -> tuple[Party, Party]:
    """Gather, exchange offers, and start each side's checks at its time.

    Unless `known`, neither side is told an address of the other.
    """
    servers = [internet.host(3478), internet.host(3479)]
    for relay in relays:
        relay.bind(*hosts)
    relayed = [candidate(Kind.RELAY, relay.address) for relay in relays]
    offers = [LocalSide.fresh(candidates_of(host, servers) + relayed) for host in hosts]
    read = [RemoteSide.from_json(offer.to_json()) for offer in offers]
    if not known:
        read = [RemoteSide(side.ufrag, side.password, ()) for side in read]
    parties = tuple(
        Party(
            hosts[i],
            PathFinder(
                offers[i],
                read[1 - i],
                controlling=i == 0,
                now=starts[i],
                token=internet.random.randbytes,
            ),
        )
        for i in (0, 1)
    )
    for party, start in zip(parties, starts, strict=True):
        internet.at(start, lambda party=party: _start(internet, party))
    return parties


def run(internet: Internet, parties: tuple[Party, Party], until: float) -> None:
    """Until both are settled on a direct path, or until then."""
    while not all(party.settled and not party.finder.path.relayed for party in parties):
        if not internet.step(until):
            return


def run_for(internet: Internet, seconds: float) -> None:
    until = internet.now + seconds
    while internet.step(until):
        pass
    internet.now = until


def distress(internet: Internet, party: Party) -> None:
    """WireGuard of this party says that its path is dead."""
    party.finder.distress(internet.now)
    flush(internet, party)


def agree(first: Party, second: Party) -> bool:
    """Whether datagrams to each one's endpoint arrive at the other, from its endpoint."""
    return _arrives(first, second) and _arrives(second, first)


def _start(internet: Internet, party: Party) -> None:
    for stack in party.host.stacks:
        stack.on_port = lambda data, source, now, port: _received(
            internet, party, data, source, port
        )
    party.host.on_datagram = lambda data, source, now: _received(internet, party, data, source)
    flush(internet, party)


def _received(internet: Internet, party: Party, data: bytes, source, port=None) -> None:
    party.finder.handle_datagram(data, source, internet.now, port)
    flush(internet, party)


def flush(internet: Internet, party: Party) -> None:
    for datagram in party.finder.datagrams_to_send(internet.now):
        party.by_destination[datagram.destination] += 1
        if datagram.source_port is None:
            party.host.send(datagram.data, datagram.destination)
        else:
            party.host.send_from(datagram.source_port, datagram.data, datagram.destination)
    while (event := party.finder.next_event()) is not None:
        party.events.append(event)
        if isinstance(event, PathFound):
            party.paths.append((internet.now, event.path))
    for port in party.finder.answered_ports().keys() - party.let_in.keys():
        party.let_in[port] = internet.now + LETTING_IN
        internet.at(party.let_in[port], lambda port=port: _let_in(internet, party, port))
    timer = party.finder.next_timer()
    if timer is not None:
        internet.at(max(timer, internet.now), lambda: _wake(internet, party, timer))


def _let_in(internet: Internet, party: Party, port: int) -> None:
    party.finder.let_in(port, internet.now)
    flush(internet, party)


def _wake(internet: Internet, party: Party, planned: float) -> None:
    if party.finder.next_timer() == planned:
        flush(internet, party)


def _arrives(sender: Party, receiver: Party) -> bool:
    internet = sender.host.network.internet
    internet.loss = 0.0
    assert sender.finder.path is not None
    assert receiver.finder.path is not None
    heard = []
    receiver.host.on_datagram = lambda data, source, now: heard.append((data, source))
    sender.host.send(b"probe", sender.finder.path.endpoint)
    deadline = internet.now + 5
    while not _probe(heard) and internet.step(deadline):
        pass
    return _probe(heard) == receiver.finder.path.endpoint


def _probe(heard: list):
    return next((source for data, source in heard if data == b"probe"), None)
