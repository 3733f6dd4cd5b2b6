"""What is checked at once, and what can wait."""

from random import Random

import pytest

from tests.support.nat_model import Filtering, Internet, Mapping, Relay
from tests.support.two_parties import Party, flush, meet, run_for
from traversal.candidate import Kind, candidate

PORT_RESTRICTED = (Mapping.INDEPENDENT, Filtering.ADDRESS_AND_PORT)
SYMMETRIC = (Mapping.ADDRESS_AND_PORT, Filtering.ADDRESS_AND_PORT)


@pytest.fixture
def internet() -> Internet:
    return Internet(Random(1), delay=0.03)


@pytest.mark.parametrize("kind", [PORT_RESTRICTED, SYMMETRIC])
def test_a_relay_is_checked_as_it_comes_so_that_it_stands_by(
    internet: Internet, kind: tuple[Mapping, Filtering]
) -> None:
    parties = meet_behind(internet, kind)
    relay = offered(internet, parties)
    assert all(party.by_destination[relay.address] == 1 for party in parties)


def test_without_a_direct_path_a_relay_is_checked_as_it_comes(internet: Internet) -> None:
    parties = meet_behind(internet, SYMMETRIC)
    relay = offered(internet, parties)
    assert all(party.by_destination[relay.address] == 1 for party in parties)
    run_for(internet, 0.2)
    assert all(party.endpoint == relay.address for party in parties)


def test_a_private_address_in_another_network_is_checked_ever_more_rarely(
    internet: Internet,
) -> None:
    parties = meet_behind(internet, SYMMETRIC)
    run_for(internet, 12.0)  # after 0, 2 and 6 s, and next after 14
    for i, party in enumerate(parties):
        assert party.by_destination[parties[1 - i].host.address] == 3


def test_a_private_address_is_tried_hard_by_who_is_seen_at_the_same_place(
    internet: Internet,
) -> None:
    nat = internet.nat(*SYMMETRIC)
    parties = meet(internet, (nat.host(), nat.host()))
    internet.loss = 1.0
    run_for(internet, 0.9)
    for i, party in enumerate(parties):
        assert party.by_destination[parties[1 - i].host.address] >= 5


def meet_behind(internet: Internet, kind: tuple[Mapping, Filtering]) -> tuple[Party, Party]:
    hosts = tuple(internet.nat(*kind).host() for _ in range(2))
    parties = meet(internet, hosts)
    run_for(internet, 1.0)
    return parties


def offered(internet: Internet, parties: tuple[Party, Party]) -> Relay:
    """At which both are bound now."""
    relay = internet.relay()
    relay.bind(*(party.host for party in parties))
    for party in parties:
        party.finder.add_remote([candidate(Kind.RELAY, relay.address)], internet.now)
        flush(internet, party)
    return relay
