"""The relay first, a better path as soon as both ends have proven it, and back only in distress."""

from random import Random

import pytest

from tests.support.nat_model import Filtering, Internet, Mapping, Ports, Relay
from tests.support.two_parties import Party, agree, distress, flush, meet, run, run_for
from traversal import stun
from traversal.agreement import PathFound, PathSettled, State
from traversal.candidate import Address, Kind, LocalSide, candidate
from traversal.pairs import PROOF_LIFE, STANDBY_WAIT
from traversal.paths import PathFinder
from traversal.stun import Class, Message

DELAY = 0.05  # seconds one way
RTT = 2 * DELAY
RELAYED_RTT = 4 * DELAY
PORT_RESTRICTED = (Mapping.INDEPENDENT, Filtering.ADDRESS_AND_PORT)
SYMMETRIC = (Mapping.ADDRESS_AND_PORT, Filtering.ADDRESS_AND_PORT)


@pytest.fixture
def internet() -> Internet:
    return Internet(Random(1), delay=DELAY)


def test_a_relay_is_usable_within_four_of_its_round_trips(internet: Internet) -> None:
    parties, relay = relayed_meeting(internet, SYMMETRIC, SYMMETRIC)
    run_for(internet, 60.0)
    for party in parties:
        ((found_at, path),) = party.paths
        assert found_at <= 1.5 * RELAYED_RTT + 0.01  # without waiting for a better one
        assert path.endpoint == relay.address
        assert party.settled


def test_where_there_is_no_path_the_first_that_answers_is_used_at_once(internet: Internet) -> None:
    """Though an address of their LAN is offered, too, and might have been better."""
    hosts = tuple(internet.nat(*PORT_RESTRICTED).host() for _ in range(2))
    controlling, controlled = meet(internet, hosts)
    run_for(internet, 1.0)
    assert controlling.paths[0][0] <= RTT + 0.02
    assert controlled.paths[0][0] <= 1.5 * RTT + 0.02


def test_direct_follows_the_relay_within_a_second_and_six_round_trips(internet: Internet) -> None:
    parties, _ = relayed_meeting(internet, PORT_RESTRICTED, PORT_RESTRICTED)
    run_for(internet, 60.0)
    for party in parties:
        assert not party.finder.path.relayed
        assert party.found_at() <= 1.0 + 6 * RTT
        assert party.settled


def test_both_ends_are_promoted_from_the_relay_when_direct_comes_to_work(
    internet: Internet,
) -> None:
    parties, relay = relayed_meeting(internet, PORT_RESTRICTED, PORT_RESTRICTED)
    unblock = block_direct(internet, parties)
    run_for(internet, 60.0)
    assert [party.endpoint for party in parties] == [relay.address] * 2
    unblock()
    run(internet, parties, until=internet.now + 60.0)
    assert all(party.settled and not party.finder.path.relayed for party in parties)
    assert agree(*parties)


def test_distress_falls_back_to_the_relay_at_once_and_direct_is_promoted_anew(
    internet: Internet,
) -> None:
    parties, relay = relayed_meeting(internet, PORT_RESTRICTED, PORT_RESTRICTED)
    run_for(internet, 30.0)
    direct = [party.endpoint for party in parties]
    for fallen in (0, 1, 0, 1):
        unblock = block_direct(internet, parties)
        distress(internet, parties[fallen])
        assert parties[fallen].endpoint == relay.address
        run_for(internet, 10.0)
        assert all(party.settled and party.endpoint == relay.address for party in parties)
        unblock()
        run_for(internet, 60.0)
        assert [party.endpoint for party in parties] == direct
        assert all(party.settled for party in parties)


def test_silence_of_checks_alone_never_demotes_a_path(internet: Internet) -> None:
    parties, _ = relayed_meeting(internet, PORT_RESTRICTED, PORT_RESTRICTED)
    run_for(internet, 30.0)
    before = [(party.endpoint, len(party.paths)) for party in parties]
    block_direct(internet, parties)
    run_for(internet, 600.0)
    assert [(party.endpoint, len(party.paths)) for party in parties] == before


def test_a_relay_that_went_away_is_no_way_out_of_distress(internet: Internet) -> None:
    parties, relay = relayed_meeting(internet, PORT_RESTRICTED, PORT_RESTRICTED)
    run_for(internet, 30.0)
    relay.up = False
    run_for(internet, PROOF_LIFE + STANDBY_WAIT)
    direct = parties[0].endpoint
    distress(internet, parties[0])
    assert parties[0].endpoint == direct
    assert parties[0].finder.state is State.CHECKING


def test_distress_with_no_other_path_keeps_the_old_one_until_it_is_proven_again(
    internet: Internet,
) -> None:
    parties = meet(internet, (internet.host(), internet.host()))
    run_for(internet, 10.0)
    endpoints = [party.endpoint for party in parties]
    unblock = block_direct(internet, parties)
    for party in parties:
        distress(internet, party)
        assert party.finder.state is State.CHECKING
    run_for(internet, 20.0)
    assert [party.endpoint for party in parties] == endpoints
    unblock()
    run_for(internet, 10.0)
    assert all(party.settled for party in parties)
    assert all(isinstance(party.events[-2], PathFound) for party in parties)


def test_a_path_that_lets_us_down_again_and_again_is_tried_less_and_less(
    internet: Internet,
) -> None:
    parties, relay = relayed_meeting(internet, PORT_RESTRICTED, PORT_RESTRICTED)
    promotions = []
    for _ in range(6):
        since = internet.now
        while parties[0].endpoint in (None, relay.address):
            assert internet.step(since + 1000)
        promotions.append(internet.now - since)
        run_for(internet, 5.0)
        distress(internet, parties[0])
    assert promotions[-1] > 10 * RTT
    assert promotions[2:] == sorted(promotions[2:])


def test_an_upgrade_is_told_as_settled_when_nothing_is_left_on_the_old_path(
    internet: Internet,
) -> None:
    parties, relay = relayed_meeting(internet, PORT_RESTRICTED, PORT_RESTRICTED)
    unblock = block_direct(internet, parties)
    run_for(internet, 10.0)
    unblock()
    forwarded_at: list[float] = []
    watch(relay, forwarded_at, internet)
    run(internet, parties, until=60.0)
    settled_at = internet.now
    upgraded_at = max(party.found_at() for party in parties)
    assert settled_at >= upgraded_at + 1.0
    assert all(isinstance(party.events[-1], PathSettled) for party in parties)


def test_an_address_that_trickles_in_is_tried_at_once(internet: Internet) -> None:
    hosts = (internet.host(), internet.host())
    parties = meet(internet, hosts, known=False)
    run_for(internet, 5.0)
    assert all(party.finder.path is None for party in parties)
    now = internet.now
    parties[0].finder.add_remote([candidate(Kind.HOST, hosts[1].address)], now)
    flush(internet, parties[0])
    run_for(internet, 3 * RTT)
    assert all(party.finder.path for party in parties)


def test_offers_without_end_are_tried_in_bounded_number() -> None:
    finder = lone_finder()
    for i in range(1000):
        address = Address(f"192.0.{i // 200}.{i % 200 + 1}", 2000)
        finder.add_remote([candidate(Kind.HOST, address)], float(i))
    assert len(finder.tried()) <= 64
    assert Address("192.0.4.200", 2000) in {tried.address for tried in finder.tried()}


def test_addresses_of_a_family_that_we_get_later_are_tried_then() -> None:
    finder = lone_finder()
    six = candidate(Kind.HOST, Address("2001:db8::2", 2000))
    finder.add_remote([six], 0.0)
    assert not finder.tried()
    ours = [candidate(Kind.HOST, Address("2001:db8::1", 1000))]
    finder.set_local(ours, 1.0)
    assert [d.destination for d in finder.datagrams_to_send(1.0)] == [six.address]


def test_a_changed_network_moves_both_ends_without_waiting_for_wireguard(
    internet: Internet,
) -> None:
    parties, relay = relayed_meeting(internet, PORT_RESTRICTED, PORT_RESTRICTED)
    run_for(internet, 30.0)
    for moving in (0, 1, 0):
        move(internet, parties[moving], relay, parties)
        run_for(internet, 10.0)
        assert all(party.settled and not party.finder.path.relayed for party in parties)
        assert arrive(internet, parties)


@pytest.mark.parametrize("restarted", [0, 1])
def test_a_nat_that_forgets_its_mapping_is_followed_without_distress(
    internet: Internet, restarted: int
) -> None:
    home = internet.nat(*PORT_RESTRICTED, ports=Ports.RANDOM)
    hosts = [internet.host(), internet.host()]
    hosts[restarted] = home.host()
    parties = meet(internet, (hosts[0], hosts[1]))
    run_for(internet, 30.0)
    before = parties[1 - restarted].endpoint
    home.gateway.forget()
    run_for(internet, 60.0)
    assert parties[1 - restarted].endpoint != before
    assert all(party.settled for party in parties)
    assert agree(*parties)


def test_a_forwarder_into_a_stream_is_labelled_degraded_and_is_the_last_choice() -> None:
    finder = lone_finder()
    forwarder, relay = Address("127.0.0.1", 7000), Address("192.0.2.50", 7000)
    for number, now, address in ((1, 0.0, forwarder), (2, 1.0, relay)):
        finder.add_remote([candidate(Kind.RELAY, address)], now)
        (check,) = [d for d in finder.datagrams_to_send(now) if d.destination == address]
        finder.handle_datagram(answer_to(check.data), address, now + 0.1)
        finder.handle_datagram(confirmation(number), address, now + 0.2)
    found = [e.path for e in iter(finder.next_event, None) if isinstance(e, PathFound)]
    said = [(path.endpoint, path.degraded) for path in found]
    assert said == [(forwarder, True), (relay, False)]


def lone_finder() -> PathFinder:
    ours = LocalSide("us-ufrag", "p" * 24, (candidate(Kind.HOST, Address("192.0.2.1", 1000)),))
    theirs = LocalSide("they-ufrag", "q" * 24, ())
    return PathFinder(ours, theirs, controlling=True, now=0.0)  # type: ignore[arg-type]


def relayed_meeting(internet: Internet, *nats) -> tuple[tuple[Party, Party], Relay]:
    relay = internet.relay()
    hosts = tuple(internet.nat(*nat).host() for nat in nats)
    return meet(internet, hosts, relays=(relay,), starts=(internet.now, internet.now)), relay


def block_direct(internet: Internet, parties: tuple[Party, Party]):
    """What the parties send to anything but a relay is lost; gives the way back."""
    sends = [party.host.send for party in parties]
    relays = {node.address for node in internet.nodes if isinstance(node, Relay)}

    def only_relays(data: bytes, destination: Address, send) -> None:
        if destination in relays:
            send(data, destination)

    for party, send in zip(parties, sends, strict=True):
        party.host.send = lambda data, to, send=send: only_relays(data, to, send)

    def unblock() -> None:
        for party, send in zip(parties, sends, strict=True):
            party.host.send = send

    return unblock


def move(internet: Internet, party: Party, relay: Relay, parties: tuple[Party, Party]) -> None:
    """Into another home: new addresses; only the relay and what trickles tells the other side."""
    host = internet.nat(*PORT_RESTRICTED, prefix="192.168.7").host()
    host.on_datagram, party.host.on_datagram = party.host.on_datagram, lambda *_: None
    party.host = host
    relay.bind(*(p.host for p in parties))
    server = internet.host(3478)
    seen = host.seen_from(server)
    fresh = [
        candidate(Kind.HOST, host.address),
        candidate(Kind.SERVER_REFLEXIVE, seen, host.address),
    ]
    party.finder.set_local(fresh, internet.now)
    flush(internet, party)
    other = parties[1 - parties.index(party)]
    internet.at(internet.now + RELAYED_RTT, lambda: told(internet, other, fresh))


def told(internet: Internet, party: Party, fresh: list) -> None:
    party.finder.add_remote(fresh, internet.now)
    flush(internet, party)


def arrive(internet: Internet, parties: tuple[Party, Party]) -> bool:
    handlers = [party.host.on_datagram for party in parties]
    result = agree(*parties)
    for party, handler in zip(parties, handlers, strict=True):
        party.host.on_datagram = handler
    return result


def watch(relay: Relay, times: list[float], internet: Internet) -> None:
    inward = relay.inward
    relay.inward = lambda *args: (times.append(internet.now), inward(*args))


def answer_to(check: bytes) -> bytes:
    seen = {"XOR-MAPPED-ADDRESS": Address("192.0.2.1", 1000)}
    return stun.serialize(Message(Class.SUCCESS, check[8:20], seen), b"q" * 24)


def confirmation(number: int) -> bytes:
    said = {"USERNAME": "us-ufrag:they-ufrag", "ICE-CONTROLLED": 1, "NOMINATION": number}
    return stun.serialize(Message(Class.REQUEST, bytes([number] * 12), said), b"p" * 24)
