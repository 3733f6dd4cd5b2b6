"""NAT behaviour, judged from literal observations, and what it means for paths."""

import itertools

import pytest

from lab.nat import Dependence as LabDependence
from lab.nat import Nat
from lab.nat import Ports as LabPorts
from lab.places import Place, meet
from traversal.behaviour import (
    WORDS,
    Behaviour,
    Came,
    Dependence,
    Ports,
    Verdict,
    filtering_of,
    mapping_of,
    ports_of,
    verdict_of,
)
from traversal.candidate import Address

A1, A2 = Address("203.0.113.2", 3478), Address("203.0.113.2", 3479)
B1, B2 = Address("192.0.2.2", 3478), Address("192.0.2.2", 3479)
P, Q, R, S = (Address("198.51.100.7", 40000 + n) for n in range(4))
YES, NO, NOT_SENT = Came.YES, Came.NO, Came.NOT_SENT

MAPPINGS = {
    "the same for two hosts": ({A1: P, B1: P}, "endpoint-independent"),
    "the same for all four": ({A1: P, A2: P, B1: P, B2: P}, "endpoint-independent"),
    "one for each host": ({A1: P, A2: P, B1: Q, B2: Q}, "address-dependent"),
    "one for each": ({A1: P, A2: Q, B1: R, B2: S}, "address-and-port-dependent"),
    "one host, two ports, the same": (
        {A1: P, A2: P},
        "endpoint-independent or address-dependent",
    ),
    "one host, two ports, varying": ({A1: P, A2: Q}, "address-and-port-dependent"),
    "two hosts, a port each, varying": ({A1: P, B1: Q}, "unknown"),
    "two hosts, different ports, varying": ({A1: P, B2: Q}, "unknown"),
    "one answer": ({A1: P}, "unknown"),
    "none": ({}, "unknown"),
}


@pytest.mark.parametrize("name", MAPPINGS)
def test_mapping_is_what_the_servers_saw_together(name: str) -> None:
    views, words = MAPPINGS[name]
    assert mapping_of(views) == words


@pytest.mark.parametrize(
    ("port", "both", "words"),
    [
        (YES, YES, "endpoint-independent"),
        (YES, NO, "address-dependent"),
        (NO, NO, "address-and-port-dependent"),
        (NO, NOT_SENT, "address-and-port-dependent"),
        (YES, NOT_SENT, "endpoint-independent or address-dependent"),
        (NOT_SENT, NOT_SENT, "unknown"),
        (NOT_SENT, YES, "endpoint-independent"),
    ],
)
def test_filtering_is_what_came_through(port: Came, both: Came, words: str) -> None:
    assert filtering_of(port, both) == words


@pytest.mark.parametrize(
    ("own", "seen", "words"),
    [
        ([5000, 5001, 5002], [5000, 5000, 5001, 5002], Ports.PRESERVED),
        ([5000, 5001, 5002], [40000, 40001, 40004], Ports.SEQUENTIAL),
        ([5000, 5001, 5002], [40000, 23000, 51234], Ports.RANDOM),
        ([5000, 5001, 5002], [40000, 40020], Ports.RANDOM),
    ],
)
def test_the_rule_of_ports_is_read_from_their_order(
    own: list[int], seen: list[int], words: Ports
) -> None:
    assert ports_of(own, seen) is words


KINDS = [
    Nat(mapping, filtering, LabPorts.RANDOM)
    for mapping, filtering in itertools.product(LabDependence, LabDependence)
]


@pytest.mark.parametrize("nat", KINDS, ids=lambda nat: f"{nat.mapping}, {nat.filtering}")
def test_the_verdict_promises_what_rfc_4787_allows(nat: Nat) -> None:
    """Against every other kind, by the lab's own rule of who meets whom."""
    seen = Behaviour(
        Dependence(nat.mapping), Dependence(nat.filtering), True, Ports.RANDOM, hairpin=False
    )
    me = Place("me", nat)
    met = {other: meet(me, Place("other", other)) for other in KINDS}
    steady = [other for other in KINDS if other.mapping is LabDependence.EIM]
    match verdict_of(seen):
        case Verdict.DIRECT:
            assert all(met.values())
        case Verdict.DIRECT_UNLESS_VARYING:
            assert all(met[other] for other in steady)
            assert not all(met.values())
        case Verdict.OFTEN_RELAYED:
            assert [other for other in KINDS if met[other]] == [
                other
                for other in KINDS
                if other.filtering is LabDependence.EIM
                or (other in steady and other.filtering is LabDependence.AD)
            ]
        case other:
            pytest.fail(str(other))


@pytest.mark.parametrize("filtering", list(Dependence)[1:])
def test_ports_that_are_counted_up_are_met_where_they_will_be(filtering: Dependence) -> None:
    counting = Behaviour(Dependence.PORT, filtering, True, Ports.SEQUENTIAL, hairpin=False)
    assert verdict_of(counting) is Verdict.DIRECT_IF_FORESEEN


def test_a_mapped_port_opens_every_nat_and_nothing_opens_a_wall() -> None:
    symmetric = Behaviour(Dependence.PORT, Dependence.PORT, True, Ports.RANDOM, hairpin=False)
    assert verdict_of(symmetric, mapped=True) is Verdict.DIRECT
    assert verdict_of(None, mapped=True) is Verdict.NO_UDP


def test_every_verdict_has_words() -> None:
    assert set(WORDS) == set(Verdict)
    assert all(len(words) > 20 for words in WORDS.values())
