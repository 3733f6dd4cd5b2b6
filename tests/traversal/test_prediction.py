"""Ports that a NAT with a regular step will use next."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.nat_model import Filtering, Internet, Mapping, Ports
from tests.support.two_parties import agree, meet, run, run_for
from traversal.candidate import MAX_CANDIDATES, Address, Kind, candidate
from traversal.prediction import MAX_PREDICTED, predict, predicted_candidates

PORT_RESTRICTED = (Mapping.INDEPENDENT, Filtering.ADDRESS_AND_PORT)
SYMMETRIC = (Mapping.ADDRESS_AND_PORT, Filtering.ADDRESS_AND_PORT)


@pytest.mark.parametrize(
    ("seen", "first_three"),
    [
        ([5000, 5001, 5002, 5003], [5004, 5005, 5006]),
        ([5000, 5002, 5004, 5006], [5008, 5010, 5012]),
        ([5000, 4999, 4998], [4997, 4996, 4995]),
        ([5000, 5001, 5003, 5004], [5005, 5006, 5007]),  # somebody else got 5002
        ([65533, 65534, 65535], [1024, 1025, 1026]),
        ([1025, 1024, 65535], [65534, 65533, 65532]),
    ],
)
def test_a_regular_step_is_carried_on(seen: list[int], first_three: list[int]) -> None:
    assert [address.port for address in predict(at(seen))][:3] == first_three


@pytest.mark.parametrize(
    "seen",
    [
        [],
        [5000],
        [5000, 5001],  # one difference is no regularity
        [5000, 5000, 5000],  # the mapping does not vary
        [5000, 5000, 5001],
        [5000, 5001, 5000],
        [5000, 31234, 1777, 60000],
        [5000, 5040, 5080],  # a step so wide is as likely chance
        [5000, 5001, 5002, 5090],
    ],
)
def test_nothing_is_predicted_from_what_is_not_regular(seen: list[int]) -> None:
    assert predict(at(seen)) == ()


def test_several_outside_addresses_are_not_mixed_up() -> None:
    seen = [*at([5000, 5001]), Address("198.51.100.8", 5002)]
    assert predict(seen) == ()


@given(st.lists(st.integers(1, 65535), max_size=8))
def test_predictions_are_few_distinct_and_ports_that_exist(ports: list[int]) -> None:
    predicted = predict(at(ports))
    assert len(set(predicted)) == len(predicted) <= MAX_PREDICTED < MAX_CANDIDATES
    assert all(1024 <= address.port <= 65535 for address in predicted)


@given(st.integers(1024, 65535), st.integers(-16, 16).filter(bool), st.integers(3, 8))
def test_every_step_up_to_sixteen_is_seen_in_either_direction(
    start: int, step: int, count: int
) -> None:
    ports = [1024 + (start - 1024 + step * i) % 64512 for i in range(count + 1)]
    assert predict(at(ports[:-1]))[0].port == ports[-1]


def test_random_ports_are_hardly_ever_taken_for_regular() -> None:
    random = Random(1)
    taken = sum(
        bool(predict(at([random.randint(1024, 65535) for _ in range(4)]))) for _ in range(10000)
    )
    assert taken <= 1


def test_predicted_candidates_can_be_offered() -> None:
    home = Address("192.168.1.10", 40000)
    made = predicted_candidates(at([5000, 5001, 5002]), home)
    seen = candidate(Kind.SERVER_REFLEXIVE, at([5002])[0], home)
    read = [type(seen).from_json(offered.to_json()) for offered in made]
    assert tuple(read) == made
    assert all(offered.priority < seen.priority for offered in made)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(-3, 3).filter(bool),
    st.integers(0, 2),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_a_symmetric_nat_with_regular_ports_is_met_by_a_port_restricted_one(
    step: int, strangers: int, controlling: bool, random: Random
) -> None:
    """Even if others behind the same NAT, and our checks elsewhere, open mappings meanwhile."""
    internet = Internet(Random(random.random()), delay=0.02)
    regular = internet.nat(*SYMMETRIC, ports=Ports.SEQUENTIAL, step=step)
    hosts = [regular.host(), internet.nat(*PORT_RESTRICTED).host()]
    neighbours = [regular.host() for _ in range(strangers)]
    servers = [internet.host(3478 + i) for i in range(4)]
    seen = [hosts[0].seen_from(server) for server in servers]
    for neighbour in neighbours:
        neighbour.seen_from(servers[0])
    relay = internet.relay()
    parties = meet(internet, tuple(hosts if controlling else hosts[::-1]), relays=(relay,))
    other = parties[1] if controlling else parties[0]
    other.finder.add_remote(predicted_candidates(seen, hosts[0].address), 0.0)
    run(internet, parties, until=10.0)
    assert not any(party.finder.path.relayed for party in parties)
    assert agree(*parties)


def test_without_prediction_such_a_pair_finds_no_path() -> None:
    internet = Internet(Random(1))
    hosts = (
        internet.nat(*SYMMETRIC, ports=Ports.SEQUENTIAL).host(),
        internet.nat(*PORT_RESTRICTED).host(),
    )
    parties = meet(internet, hosts)
    run_for(internet, 20.0)
    assert all(party.finder.path is None for party in parties)


def at(ports: list[int]) -> list[Address]:
    return [Address("198.51.100.7", port) for port in ports]
