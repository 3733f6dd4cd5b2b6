"""What path finding costs a network, in datagrams a minute, over a long session."""

from random import Random

import pytest

from tests.support.meshes import complete, mesh
from tests.support.nat_model import Filtering, Internet, Mapping
from tests.support.two_parties import distress, meet, run_for
from traversal import stun
from traversal.agreement import State
from traversal.candidate import Address, Kind, LocalSide, RemoteSide, candidate
from traversal.paths import PathFinder
from traversal.stun import Class, Message

PORT_RESTRICTED = (Mapping.INDEPENDENT, Filtering.ADDRESS_AND_PORT)
SYMMETRIC = (Mapping.ADDRESS_AND_PORT, Filtering.ADDRESS_AND_PORT)
IN_USE = 14  # checks and answers a minute and side, on the path in use
STANDBY = 6  # on a pair that works and is not in use
HOPELESS = 3  # checks of an address that never answers


@pytest.fixture
def internet() -> Internet:
    return Internet(Random(1), delay=0.03)


def test_a_settled_pair_costs_little(internet: Internet) -> None:
    relay = internet.relay()
    hosts = tuple(internet.nat(*PORT_RESTRICTED).host() for _ in range(2))
    parties = meet(internet, hosts, relays=(relay,))
    run_for(internet, 300.0)
    for party in parties:
        party.by_destination.clear()
    run_for(internet, 3600.0)
    for party in parties:
        for address, count in party.by_destination.items():
            limit = {party.endpoint: IN_USE, relay.address: STANDBY}.get(address, HOPELESS)
            assert count / 60 <= limit, address


def test_beside_a_direct_path_little_is_asked_from_the_first_second_on(internet: Internet) -> None:
    relays = (internet.relay(), internet.relay())
    hosts = tuple(internet.nat(*PORT_RESTRICTED).host() for _ in range(2))
    parties = meet(internet, hosts, relays=relays)
    run_for(internet, 1.0)
    assert all(party.finder.state is State.SETTLED for party in parties)
    for party in parties:
        party.by_destination.clear()
    run_for(internet, 9.0)
    for party in parties:
        assert party.sent <= 8, party.by_destination


def test_a_relayed_pair_goes_on_looking_at_two_checks_a_minute(internet: Internet) -> None:
    relay = internet.relay()
    hosts = tuple(internet.nat(*SYMMETRIC).host() for _ in range(2))
    parties = meet(internet, hosts, relays=(relay,))
    run_for(internet, 300.0)
    for party in parties:
        party.by_destination.clear()
    run_for(internet, 3600.0)
    for party in parties:
        hopeless = [n for at, n in party.by_destination.items() if at != relay.address]
        assert len(hopeless) == 3
        assert all(60 <= count <= HOPELESS * 60 for count in hopeless)


def test_whoever_lost_the_other_side_falls_quiet(internet: Internet) -> None:
    parties = meet(internet, (internet.host(), internet.host()))
    run_for(internet, 0.07)  # the nomination is on its way
    internet.loss = 1.0
    run_for(internet, 600.0)
    for party in parties:
        party.by_destination.clear()
    run_for(internet, 600.0)
    assert all(party.sent <= 10 * IN_USE for party in parties)


@pytest.mark.parametrize("who", [0, 1])
def test_a_storm_of_distress_stays_bounded(internet: Internet, who: int) -> None:
    relay = internet.relay()
    hosts = tuple(internet.nat(*PORT_RESTRICTED).host() for _ in range(2))
    parties = meet(internet, hosts, relays=(relay,))
    run_for(internet, 10.0)
    for party in parties:
        party.by_destination.clear()
    for _ in range(600):
        run_for(internet, 0.1)
        distress(internet, parties[who])
    assert all(party.sent <= 60 * 60 for party in parties)
    run_for(internet, 600.0)
    assert all(party.settled and not party.finder.path.relayed for party in parties)


def test_a_pair_that_answers_and_never_confirms_costs_less_and_less() -> None:
    ours = LocalSide("us-ufrag", "p" * 24, (candidate(Kind.HOST, Address("192.0.2.1", 1000)),))
    there = Address("192.0.2.2", 2000)
    theirs = RemoteSide("they-ufrag", "q" * 24, (candidate(Kind.HOST, there),))
    finder = PathFinder(ours, theirs, controlling=True, now=0.0)
    sent: list[float] = []
    now = 0.0
    while now < 1800.0:
        for check in finder.datagrams_to_send(now):
            sent.append(now)
            finder.handle_datagram(answer_to(check.data), there, now + 0.01)
        now = max(now + 0.01, finder.next_timer())
    assert len([at for at in sent if at > 1200.0]) <= 10 * 60


def test_checks_to_all_are_paced_however_many_parties_there_are(internet: Internet) -> None:
    hosts = [internet.nat(*PORT_RESTRICTED).host() for _ in range(3)]
    members = mesh(internet, hosts)
    run_for(internet, 10.0)
    assert complete(members)
    for member in members:
        assert max(member.sent.values()) <= 2 * 60
        assert sum(member.sent.values()) <= 2 * 100


@pytest.mark.slow
def test_many_that_begin_one_after_the_other_send_few_checks_to_each(internet: Internet) -> None:
    """Answers are counted, too, and what goes to the relay."""
    hosts = [internet.nat(*PORT_RESTRICTED).host() for _ in range(20)]
    members = mesh(internet, hosts, apart=0.1)
    run_for(internet, 2.5)
    assert complete(members)
    assert sum(sum(member.sent.values()) for member in members) <= 20 * 19 * 17


@pytest.mark.slow
def test_a_mesh_of_twenty_is_direct_in_two_seconds_and_then_quiet(internet: Internet) -> None:
    hosts = [internet.nat(*PORT_RESTRICTED).host() for _ in range(20)]
    members = mesh(internet, hosts)
    run_for(internet, 4.0)
    assert complete(members)
    run_for(internet, 400.0)
    for member in members:
        assert max(member.sent.values()) <= 19 * 60
        assert sum(n for at, n in member.sent.items() if at >= 340) <= 19 * (IN_USE + STANDBY + 9)


def answer_to(check: bytes) -> bytes:
    seen = {"XOR-MAPPED-ADDRESS": Address("192.0.2.1", 1000)}
    return stun.serialize(Message(Class.SUCCESS, check[8:20], seen), b"q" * 24)
