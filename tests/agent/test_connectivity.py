"""Paths between real sockets of this machine; what NATs do is tested in memory."""

import asyncio
import contextlib
import itertools
import secrets
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import uvloop

from agent.connection.connectivity import Connectivity
from agent.connection.port import MAX_WAITING
from agent.connection.udp import UdpPort
from traversal import stun
from traversal.agreement import PathFound, PathSettled
from traversal.candidate import Address, Kind, LocalSide, RemoteSide, candidate
from traversal.checks import Checks
from traversal.datagram import Datagram
from traversal.pairs import Path
from traversal.paths import PathFinder
from traversal.relay import RelayTicket
from traversal.stun import BIND, Class, Message

LOOPBACK = "127.0.0.1"
CONTROLLED = {"controlling": False, "token": secrets.token_bytes}


@pytest.fixture
async def ports():
    opened = [await UdpPort.bind() for _ in range(3)]
    yield opened
    for port in opened:
        port.close()


async def test_three_parties_find_each_other_in_well_under_a_second(ports: list[UdpPort]) -> None:
    started = asyncio.get_running_loop().time()
    results = await mesh(ports)
    assert asyncio.get_running_loop().time() - started < 1.0
    for mine, theirs in itertools.permutations(range(3), 2):
        found = results[mine][str(theirs)]
        assert isinstance(found, Path)
        assert found.endpoint == Address(LOOPBACK, ports[theirs].port)
        assert (found.local_kind, found.remote_kind) == (Kind.HOST, Kind.HOST)
        assert 0 < found.rtt < 0.5


def test_it_works_on_uvloop() -> None:
    async def connect() -> None:
        opened = [await UdpPort.bind() for _ in range(3)]
        results = await mesh(opened)
        for port in opened:
            port.close()
        assert all(isinstance(found, Path) for result in results for found in result.values())

    uvloop.run(connect())


async def test_the_port_can_be_taken_over_at_once(ports: list[UdpPort]) -> None:
    await mesh(ports)
    ports[0].close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wireguard:
        wireguard.bind(("0.0.0.0", ports[0].port))


async def test_a_party_that_comes_late_is_found(ports: list[UdpPort]) -> None:
    offers = offers_of(ports[:2])
    early = asyncio.create_task(establish(ports, offers, 0, timeout=5.0))
    await asyncio.sleep(0.3)
    late = await establish(ports, offers, 1, timeout=5.0)
    assert isinstance(late["0"], Path)
    assert isinstance((await early)["1"], Path)


async def test_events_tell_of_each_party(ports: list[UdpPort]) -> None:
    seen: list[tuple[str, type]] = []
    offers = offers_of(ports[:2])
    await asyncio.gather(
        establish(
            ports, offers, 0, on_event=lambda party, event: seen.append((party, type(event)))
        ),
        establish(ports, offers, 1),
    )
    assert seen == [("1", PathFound), ("1", PathSettled)]


async def test_a_party_that_never_answers_is_explained(ports: list[UdpPort]) -> None:
    offers = offers_of(ports)
    started = asyncio.get_running_loop().time()
    result, _ = await asyncio.gather(
        establish(ports, offers, 0, timeout=0.5), establish(ports, without(offers, 2), 1)
    )
    assert asyncio.get_running_loop().time() - started < 1.5
    assert isinstance(result["1"], Path)
    assert "none of 1 addresses answered" in str(result["2"])


async def test_where_there_is_no_path_it_is_said_what_relays_there_are(
    ports: list[UdpPort],
) -> None:
    connectivity = Connectivity(ports[0], ignore)
    far = remote_of(LocalSide.fresh(varying_nat("203.0.113.2")))
    local = LocalSide.fresh(varying_nat("203.0.113.1"))
    connectivity.add_party("far", local, far, controlling=True)
    assert connectivity.explain_relays("far") == "neither side has a relay"


async def test_a_relay_of_ours_that_does_not_answer_is_missed_until_there_is_another(
    ports: list[UdpPort], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("traversal.relay.FAILED_AFTER", 0.2)
    silent, other = (ticket(ports[number]) for number in (1, 2))
    connectivity = Connectivity(ports[0], ignore)
    far = remote_of(LocalSide.fresh([]))
    local = LocalSide.fresh([])
    connectivity.add_party("far", local, far, controlling=True, tickets=[silent])
    async with running(connectivity):
        assert not connectivity.lacks_relay("far")
        await asyncio.sleep(0.5)
        assert connectivity.lacks_relay("far")
        connectivity.set_tickets("far", [other], 0)
        assert not connectivity.lacks_relay("far")
        asked = len(ports[1].inbox)
        await asyncio.sleep(0.1)
    assert len(ports[1].inbox) == asked > 0
    assert len(ports[2].inbox) > 0


async def test_a_ticket_of_theirs_leaves_ours_alone(ports: list[UdpPort]) -> None:
    connectivity = Connectivity(ports[0], ignore)
    far = remote_of(LocalSide.fresh([]))
    ours, theirs = ticket(ports[1]), replace(ticket(ports[1]), side=1)
    local = LocalSide.fresh([])
    connectivity.add_party("far", local, far, controlling=True, tickets=[ours, theirs])
    connectivity.set_tickets("far", [replace(ticket(ports[2]), side=1)], 1)
    async with running(connectivity):
        await asyncio.sleep(0.1)
    assert len(ports[1].inbox) > 0
    assert len(ports[2].inbox) > 0


async def test_a_relay_is_missed_where_there_is_none_and_no_direct_path(
    ports: list[UdpPort],
) -> None:
    connectivity = Connectivity(ports[0], ignore)
    far = remote_of(LocalSide.fresh([]))
    connectivity.add_party("far", LocalSide.fresh([]), far, controlling=True)
    assert connectivity.lacks_relay("far")


async def test_a_relay_is_not_checked_before_the_other_side_has_come(
    ports: list[UdpPort], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("traversal.relay.FIRST_ALONE", 0.4)
    ours, theirs = LocalSide.fresh([]), LocalSide.fresh([])
    connectivity = Connectivity(ports[0], ignore)
    at_relay = Relay(ports[1])
    tickets = [at_relay.ticket]
    connectivity.add_party("far", ours, remote_of(theirs), controlling=True, tickets=tickets)
    async with running(connectivity):
        await at_relay.serve(0.3)
        assert at_relay.binds > 0
        assert at_relay.checks == 0
        at_relay.other_bound = True
        await at_relay.serve(0.8)
    assert at_relay.checks > 0


async def test_the_first_check_through_a_relay_shows_that_the_other_side_has_come(
    ports: list[UdpPort],
) -> None:
    ours, theirs = LocalSide.fresh([]), LocalSide.fresh([])
    paths: list[Path] = []
    connectivity = Connectivity(ports[0], lambda _, event: paths.append(event.path))
    at_relay = Relay(ports[1], theirs=Checks(theirs, remote_of(ours), **CONTROLLED))
    tickets = [at_relay.ticket]
    connectivity.add_party("far", ours, remote_of(theirs), controlling=True, tickets=tickets)
    async with running(connectivity):
        await at_relay.serve(0.1)
        at_relay.check(Address(LOOPBACK, ports[0].port))
        await at_relay.serve(0.3)
    assert [path.relayed for path in paths] == [True]


async def test_two_varying_nats_are_named_as_the_likely_reason(ports: list[UdpPort]) -> None:
    local, remote = varying_nat("203.0.113.1"), varying_nat("203.0.113.2")
    connectivity = Connectivity(ports[0], ignore)
    far = remote_of(LocalSide.fresh(remote))
    connectivity.add_party("far", LocalSide.fresh(local), far, controlling=True)
    reason = str(connectivity.explain("far").reason)
    assert reason.count("address-and-port-dependent mapping") == 2
    assert "relay" in reason


async def test_parties_of_the_same_role_are_told_that_offers_do_not_belong_together(
    ports: list[UdpPort],
) -> None:
    offers = offers_of(ports[:2])
    both = [Connectivity(ports[i], ignore) for i in (0, 1)]
    for i in (0, 1):
        theirs = remote_of(offers[1 - i, i])
        both[i].add_party("other", offers[i, 1 - i], theirs, controlling=True)
    async with running(*both):
        await asyncio.sleep(0.3)
    for side in both:
        assert side.path("other") is None
        assert "same role" in str(side.explain("other").reason)


async def test_a_stranger_on_the_port_is_not_answered(ports: list[UdpPort]) -> None:
    offers = offers_of(ports[:2])
    establishing = asyncio.create_task(establish(ports, offers, 0, timeout=0.3))
    for data in (b"", b"hello", bytes(1400), b"\x01\x00\x00\x00" + bytes(144)):
        ports[2].send(data, Address(LOOPBACK, ports[0].port))
    result = await establishing
    assert isinstance(result["1"], str)
    assert not len(ports[2].inbox)


async def test_a_party_cannot_pose_as_another_by_repeating_its_credentials(
    ports: list[UdpPort],
) -> None:
    offers = offers_of(ports)
    ours, theirs = offers[0, 1], remote_of(offers[1, 0])
    connectivity = Connectivity(ports[0], ignore)
    connectivity.add_party("1", ours, theirs, controlling=True)
    with pytest.raises(ValueError, match="credentials of another party"):
        connectivity.add_party("2", ours, theirs, controlling=True)


async def test_an_unreachable_address_is_a_lost_datagram(ports: list[UdpPort]) -> None:
    ports[0].send(b"x", Address("255.255.255.255", 9))
    ports[0].send(b"x", Address("2001:db8::1", 9))
    ports[0].send(b"x", Address(LOOPBACK, ports[1].port))
    (arrival,) = await ports[1].inbox.arrivals(time.monotonic() + 1.0)
    assert (arrival.data, arrival.source.port) == (b"x", ports[0].port)


async def test_what_comes_from_one_of_many_parties_is_no_work_for_the_others(
    ports: list[UdpPort], monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[str] = []
    send = PathFinder.datagrams_to_send

    def counted(finder: PathFinder, now: float) -> list[Datagram]:
        served.append(finder.username)
        return send(finder, now)

    monkeypatch.setattr(PathFinder, "datagrams_to_send", counted)
    connectivity = Connectivity(ports[0], ignore)
    ours = LocalSide.fresh([candidate(Kind.HOST, Address(LOOPBACK, ports[0].port))])
    offers = [LocalSide.fresh([]) for _ in range(19)]
    for number, offer in enumerate(offers):
        connectivity.add_party(str(number), ours, remote_of(offer), controlling=True)
    speaking = Checks(offers[7], remote_of(ours), controlling=False, token=secrets.token_bytes)
    async with running(connectivity):
        await asyncio.sleep(0.05)
        served.clear()
        _, check = speaking.make(ours.candidates[0].address, None, None)
        ports[1].send(check, ours.candidates[0].address)
        answer, *_ = await ports[1].inbox.arrivals(time.monotonic() + 1.0)
        await asyncio.sleep(0.05)
    assert answer.source.port == ports[0].port
    assert served
    assert set(served) == {f"{ours.ufrag}:{offers[7].ufrag}"}


async def test_a_flood_is_dropped_and_not_kept(ports: list[UdpPort]) -> None:
    for _ in range(20):
        for _ in range(100):
            ports[0].send(b"x", Address(LOOPBACK, ports[1].port))
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    assert len(ports[1].inbox) == MAX_WAITING


async def mesh(ports: list[UdpPort]) -> list:
    offers = offers_of(ports)
    return await asyncio.gather(*(establish(ports, offers, i) for i in range(len(ports))))


def offers_of(ports: list[UdpPort]) -> dict[tuple[int, int], LocalSide]:
    """From whom, to whom: a fresh one for every pair."""
    candidates = [candidate(Kind.HOST, Address(LOOPBACK, port.port)) for port in ports]
    pairs = itertools.permutations(range(len(ports)), 2)
    return {(giver, taker): LocalSide.fresh([candidates[giver]]) for giver, taker in pairs}


def without(offers: dict[tuple[int, int], LocalSide], party: int):
    return {pair: offer for pair, offer in offers.items() if party not in pair}


async def establish(ports: list[UdpPort], offers, me: int, *, timeout: float = 5.0, on_event=None):
    """By party its path, or why there is none, once all are settled or the time is over."""
    others = {str(taker) for giver, taker in offers if giver == me}
    all_settled = asyncio.Event()

    def note(party: str, event: object) -> None:
        if isinstance(event, PathSettled):
            others.discard(party)
        if not others:
            all_settled.set()
        if on_event is not None:
            on_event(party, event)

    connectivity = Connectivity(ports[me], note)
    for giver, taker in offers:
        if giver == me:
            remote = remote_of(offers[taker, me])
            connectivity.add_party(str(taker), offers[me, taker], remote, controlling=me < taker)
    async with running(connectivity):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(all_settled.wait(), timeout)
    names = [str(taker) for giver, taker in offers if giver == me]
    return {
        name: connectivity.path(name) or str(connectivity.explain(name).reason) for name in names
    }


@contextlib.asynccontextmanager
async def running(*all_of: Connectivity) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(connectivity.run()) for connectivity in all_of]
    yield
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task


def remote_of(offer: LocalSide) -> RemoteSide:
    """As read from the message; made directly, since loopback addresses are refused there."""
    return RemoteSide(offer.ufrag, offer.password, offer.candidates)


def varying_nat(public: str):
    home = candidate(Kind.HOST, Address("192.168.77.10", 40000))
    seen = [Address(public, port) for port in (50001, 50002)]
    return [home, *(candidate(Kind.SERVER_REFLEXIVE, at, home.address) for at in seen)]


def ignore(party: str, event: object) -> None:
    pass


class Relay:
    """Grants every bind; of checks it knows but the number, unless it plays the other side."""

    def __init__(self, port: UdpPort, theirs: Checks | None = None) -> None:
        self.ticket = ticket(port)
        self.binds = self.checks = 0
        self.other_bound = False
        self._port = port
        self._theirs = theirs

    def check(self, destination: Address) -> None:
        assert self._theirs is not None
        _, data = self._theirs.make(destination, None, None)
        self._port.send(data, destination)

    async def serve(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for arrival in await self._port.inbox.arrivals(until):
                request = stun.parse(arrival.data)
                if request.method == BIND:
                    self.binds += 1
                    self._port.send(self._granted(request), arrival.source)
                elif request.cls is Class.REQUEST:
                    self.checks += 1
                    if self._theirs is not None:
                        self._port.send(
                            self._theirs.answer(request, arrival.source), arrival.source
                        )

    def _granted(self, request: Message) -> bytes:
        said = {"LIFETIME": 120} | ({"OTHER-SIDE-BOUND": b""} if self.other_bound else {})
        answer = Message(Class.SUCCESS, request.transaction, said, BIND)
        return stun.serialize(answer, self.ticket.secret.encode())


def ticket(relay: UdpPort) -> RelayTicket:
    """For our side, at a relay on this port."""
    return RelayTicket((LOOPBACK,), relay.port, "t" * 20 + str(relay.port), 0, "s" * 20, 1, 2)
