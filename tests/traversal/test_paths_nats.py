"""The promise of the path finder, over the NAT behaviours of RFC 4787 and bad networks."""

from random import Random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.support.nat_model import Filtering, Host, Internet, Mapping
from tests.support.two_parties import agree, meet, run, run_for
from traversal.candidate import Kind

PATIENCE = 30.0
MOST_SENT = 1500  # datagrams of one party, in all this time
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]  # simplifying a failure takes minutes
Nat = tuple[Mapping, Filtering]

FULL_CONE = (Mapping.INDEPENDENT, Filtering.INDEPENDENT)
ADDRESS_RESTRICTED = (Mapping.INDEPENDENT, Filtering.ADDRESS)
PORT_RESTRICTED = (Mapping.INDEPENDENT, Filtering.ADDRESS_AND_PORT)
SYMMETRIC = (Mapping.ADDRESS_AND_PORT, Filtering.ADDRESS_AND_PORT)

NATS = st.tuples(st.sampled_from(Mapping), st.sampled_from(Filtering))
CHAINS = st.lists(
    NATS, max_size=2
)  # from the internet inwards: public, at home, at home behind a carrier
NETWORKS = st.fixed_dictionaries(
    {
        "delay": st.floats(0.0, 0.3),
        "jitter": st.floats(0.0, 0.3),
        "loss": st.floats(0.0, 0.3),
    }
)
STARTS = st.tuples(st.floats(0.0, 12.0), st.floats(0.0, 12.0))


@settings(max_examples=60, deadline=None, phases=PHASES)
@given(CHAINS, CHAINS, NETWORKS, STARTS, st.randoms(use_true_random=False))
def test_a_direct_path_that_exists_is_found_and_agreed_on(
    first: list[Nat],
    second: list[Nat],
    network: dict[str, float],
    starts: tuple[float, float],
    random: Random,
) -> None:
    internet = Internet(Random(random.random()), **network)
    parties = meet(internet, (behind(internet, first), behind(internet, second)), starts=starts)
    run(internet, parties, until=max(starts) + PATIENCE)
    if direct_path_exists(first, second):
        assert all(party.settled for party in parties)
    if all(party.settled for party in parties):
        assert agree(*parties)
    assert max(party.sent for party in parties) < MOST_SENT


@settings(max_examples=50, deadline=None, phases=PHASES)
@given(CHAINS, CHAINS, st.floats(0.0, 0.3), st.randoms(use_true_random=False))
def test_without_loss_it_takes_at_most_six_round_trips_and_a_second(
    first: list[Nat], second: list[Nat], delay: float, random: Random
) -> None:
    internet = Internet(Random(random.random()), delay=delay)
    parties = meet(internet, (behind(internet, first), behind(internet, second)))
    run(internet, parties, until=PATIENCE)
    if direct_path_exists(first, second):
        assert all(party.settled for party in parties)
        assert max(p.found_at() for p in parties) <= 1.0 + 6 * max(
            party.finder.path.rtt for party in parties
        )


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ([], [], True),
        ([], [SYMMETRIC], True),
        ([FULL_CONE], [SYMMETRIC], True),
        ([ADDRESS_RESTRICTED], [SYMMETRIC], True),
        ([PORT_RESTRICTED], [PORT_RESTRICTED], True),
        ([PORT_RESTRICTED, PORT_RESTRICTED], [PORT_RESTRICTED], True),
        ([PORT_RESTRICTED], [SYMMETRIC], False),
        ([SYMMETRIC], [SYMMETRIC], False),
        ([PORT_RESTRICTED, SYMMETRIC], [PORT_RESTRICTED], False),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_pairs_of_nats_connect_as_the_textbook_says(
    first: list[Nat], second: list[Nat], found: bool, swapped: bool
) -> None:
    internet = Internet(Random(1))
    chains = (second, first) if swapped else (first, second)
    parties = meet(internet, (behind(internet, chains[0]), behind(internet, chains[1])))
    run(internet, parties, until=PATIENCE)
    assert [party.settled for party in parties] == [found, found]


@settings(max_examples=20, deadline=None, phases=PHASES)
@given(NATS, st.booleans(), st.floats(0.0, 0.1), st.randoms(use_true_random=False))
def test_parties_in_one_lan_connect_inside_it(
    nat: Nat, hairpin: bool, loss: float, random: Random
) -> None:
    internet = Internet(Random(random.random()), delay=0.002, loss=loss)
    lan = internet.nat(*nat, hairpin=hairpin)
    hosts = (lan.host(), lan.host())
    parties = meet(internet, hosts)
    run_for(internet, PATIENCE)
    paths = [party.finder.path for party in parties]
    assert [path and path.endpoint for path in paths] == [hosts[1].address, hosts[0].address]
    assert all(path and path.same_lan for path in paths)


def test_two_homes_of_one_carrier_meet_by_its_hairpin_and_not_without() -> None:
    for hairpin in (True, False):
        internet = Internet(Random(1))
        carrier = internet.nat(*PORT_RESTRICTED, hairpin=hairpin, prefix="100.64.0")
        homes = tuple(carrier.nat(*PORT_RESTRICTED).host(port) for port in (40000, 40001))
        parties = meet(internet, homes)
        run(internet, parties, until=PATIENCE)
        assert [party.settled for party in parties] == [hairpin, hairpin]


def test_homes_with_the_same_inside_address_are_not_taken_for_each_other() -> None:
    internet = Internet(Random(1))
    parties = meet(internet, (behind(internet, [PORT_RESTRICTED]), behind(internet, [FULL_CONE])))
    assert parties[0].host.address == parties[1].host.address
    run(internet, parties, until=PATIENCE)
    assert all(party.settled for party in parties)
    assert all(party.finder.path.remote_kind is not Kind.HOST for party in parties)


def test_a_changing_port_is_learnt_from_the_check_that_came_through_it() -> None:
    internet = Internet(Random(1))
    parties = meet(internet, (behind(internet, []), behind(internet, [SYMMETRIC])))
    run(internet, parties, until=PATIENCE)
    assert parties[0].finder.path.remote_kind is Kind.PEER_REFLEXIVE
    assert parties[1].finder.path.local_kind is Kind.PEER_REFLEXIVE
    assert agree(*parties)


def behind(internet: Internet, chain: list[Nat]) -> Host:
    network = internet
    for depth, nat in enumerate(chain):
        network = network.nat(*nat, prefix="192.168.1" if depth == len(chain) - 1 else "100.64.0")
    return network.host()


def direct_path_exists(first: list[Nat], second: list[Nat]) -> bool:
    """The textbook, for NATs in a row the strictest of them; two varying ones are left open."""
    mappings = [
        max((nat[0] for nat in chain), key=strictness) if chain else None
        for chain in (first, second)
    ]
    filters = [
        max((nat[1] for nat in chain), key=strictness) if chain else None
        for chain in (first, second)
    ]
    if not first or not second:
        return True
    fixed = [mapping is Mapping.INDEPENDENT for mapping in mappings]
    if all(fixed):
        return True
    return any(fixed[i] and filters[i] is not Filtering.ADDRESS_AND_PORT for i in (0, 1))


def strictness(behaviour: Mapping | Filtering) -> int:
    return list(type(behaviour)).index(behaviour)
