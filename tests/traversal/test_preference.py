"""Which of two paths is the better one, and that equal ones never take turns."""

from random import Random

import pytest

from tests.support.nat_model import DualHost, Filtering, Internet
from tests.support.two_parties import meet, run_for
from traversal.candidate import Address, Kind, candidate
from traversal.pairs import RECENT, Pair
from traversal.preference import Preference, is_clearly_quicker

RELAY = candidate(Kind.RELAY, Address("198.51.100.1", 5000))
FORWARDER = candidate(Kind.RELAY, Address("127.0.0.1", 5000))
LAN = candidate(Kind.HOST, Address("192.168.1.2", 5000))
PUBLIC = candidate(Kind.HOST, Address("198.51.100.2", 5000))
SIX = candidate(Kind.HOST, Address("2001:db8::2", 5000))


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ((LAN, 0.3), (PUBLIC, 0.001)),
        ((PUBLIC, 0.3), (RELAY, 0.001)),
        ((RELAY, 0.3), (FORWARDER, 0.001)),
        ((PUBLIC, 0.010), (PUBLIC, 0.020)),
        ((SIX, 0.012), (PUBLIC, 0.020)),
    ],
)
def test_the_better_one_is_left_for_nothing_and_the_worse_one_for_it(better, worse) -> None:
    good, bad = proven(*better), proven(*worse)
    assert good.is_better_than(bad)
    assert not bad.is_better_than(good)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((PUBLIC, 0.100), (PUBLIC, 0.081)),  # within a fifth
        ((PUBLIC, 0.010), (PUBLIC, 0.006)),  # within 5 ms
        ((SIX, 0.012), (PUBLIC, 0.006)),  # IPv6 may be 3 ms slower and counts as equal
        ((RELAY, 0.050), (RELAY, 0.050)),
    ],
)
def test_nobody_moves_for_a_difference_that_does_not_matter(first, second) -> None:
    one, other = proven(*first), proven(*second)
    assert not one.is_better_than(other)
    assert not other.is_better_than(one)


def test_one_quick_measurement_is_no_reason_and_one_slow_one_is_a_doubt() -> None:
    assert is_clearly_quicker([0.01] * 8, [0.05] * 8)
    assert not is_clearly_quicker([0.01] * 7, [0.05] * 8)
    assert not is_clearly_quicker([0.01] * 8, [0.05] * 7)
    assert not is_clearly_quicker([0.01] * 7 + [0.05], [0.05] * 8)
    assert not is_clearly_quicker([0.01] * 8, [0.05] * 7 + [0.01])


def test_the_record_sorts_the_best_first() -> None:
    best_first = [
        Preference(False, False, False, 0.3),
        Preference(False, False, True, 0.1),
        Preference(False, False, True, 0.2),
        Preference(False, True, True, 0.1),
        Preference(True, True, True, 0.0),
    ]
    mixed = [best_first[i] for i in (4, 1, 3, 0, 2)]
    assert sorted(mixed) == best_first


@pytest.mark.parametrize("seed", range(5))
def test_two_equal_paths_never_take_turns(seed: int) -> None:
    """IPv4 and IPv6, both with as much jitter as delay, for an hour."""
    internet = Internet(Random(seed), delay=0.02, jitter=0.04)
    hosts = tuple(
        DualHost(internet.host(), internet.six.host(firewall=Filtering.ADDRESS_AND_PORT))
        for _ in range(2)
    )
    parties = meet(internet, hosts)
    run_for(internet, 10.0)
    changes = [len(party.paths) for party in parties]
    run_for(internet, 3600.0)
    assert [len(party.paths) for party in parties] == changes


def test_the_relay_with_the_smaller_rtt_is_used_in_the_end() -> None:
    internet = Internet(Random(1), delay=0.02)
    hosts = (internet.host(), internet.host())
    near, far = internet.relay(), internet.relay()
    slow_down(internet, far)
    parties = meet(internet, hosts, relays=(far, near))
    relays = (near.address, far.address)
    for party in parties:
        send = party.host.send
        party.host.send = lambda data, to, send=send: to in relays and send(data, to)
    run_for(internet, 20.0)
    assert [party.endpoint for party in parties] == [near.address] * 2
    assert all(party.settled for party in parties)


def proven(remote, rtt: float) -> Pair:
    pair = Pair(remote, 0.0, 0.0)
    for i in range(RECENT):
        kind = Kind.HOST if remote.kind is Kind.HOST else Kind.PEER_REFLEXIVE
        pair.prove(kind, rtt, float(i))
    return pair


def slow_down(internet: Internet, relay) -> None:
    inward = relay.inward
    relay.inward = lambda *args: internet.at(internet.now + 0.05, lambda: inward(*args))
