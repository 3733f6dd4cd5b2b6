from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traversal.candidate import (
    Address,
    BadCandidate,
    Candidate,
    Kind,
    LocalSide,
    Nat,
    RemoteSide,
    candidate,
    candidates_from_json,
    is_in_another_network,
    nat_of,
    priority,
)

HOME = candidate(Kind.HOST, Address("192.168.1.10", 51820))
OUTSIDE = candidate(Kind.SERVER_REFLEXIVE, Address("203.0.113.7", 40000), HOME.address)
OUTSIDE_ELSEWHERE = candidate(Kind.SERVER_REFLEXIVE, Address("203.0.113.7", 40001), HOME.address)


@pytest.mark.parametrize("made", [HOME, OUTSIDE, candidate(Kind.HOST, Address("2001:db8::1", 1))])
def test_a_candidate_survives_json(made: Candidate) -> None:
    assert Candidate.from_json(made.to_json()) == made


def test_an_offer_survives_json() -> None:
    offer = LocalSide.fresh([HOME, OUTSIDE])
    read = RemoteSide.from_json(offer.to_json())
    assert (read.ufrag, read.password, read.candidates) == (
        offer.ufrag,
        offer.password,
        offer.candidates,
    )


@pytest.mark.parametrize(
    ("said", "meant"), [(True, True), (False, False), (None, False), (1, False), ("true", False)]
)
def test_who_takes_part_in_a_birthday_attempt_says_so_plainly(said: object, meant: bool) -> None:
    assert "birthday" not in LocalSide.fresh([HOME]).to_json()
    offer = LocalSide.fresh([HOME], birthday=True).to_json()
    assert RemoteSide.from_json(offer).birthday
    assert RemoteSide.from_json({**offer, "birthday": said}).birthday is meant


NEIGHBOUR = candidate(Kind.SERVER_REFLEXIVE, Address("203.0.113.7", 40007))
FAR_OFF = candidate(Kind.SERVER_REFLEXIVE, Address("203.0.113.99", 40000))
PUBLIC = candidate(Kind.HOST, Address("198.51.100.5", 51820))
INSIDE_6 = candidate(Kind.HOST, Address("fd00::10", 51820))


@pytest.mark.parametrize(
    ("inside", "theirs", "ours", "elsewhere"),
    [
        (HOME, [OUTSIDE], [FAR_OFF], True),
        (HOME, [OUTSIDE], [NEIGHBOUR], False),
        (HOME, [OUTSIDE, FAR_OFF], [FAR_OFF], False),
        (HOME, [], [FAR_OFF], False),  # nobody saw them from outside
        (HOME, [OUTSIDE], [], False),
        (OUTSIDE, [OUTSIDE], [FAR_OFF], False),
        (PUBLIC, [OUTSIDE], [FAR_OFF], False),
        (INSIDE_6, [OUTSIDE], [FAR_OFF], False),  # IPv4 says nothing of IPv6
    ],
)
def test_a_private_address_is_elsewhere_if_both_are_seen_at_different_places(
    inside: Candidate, theirs: list[Candidate], ours: list[Candidate], elsewhere: bool
) -> None:
    assert is_in_another_network(inside, theirs, ours) is elsewhere


def test_offers_are_fresh_and_do_not_show_their_password() -> None:
    first, second = LocalSide.fresh([]), LocalSide.fresh([])
    assert first.ufrag != second.ufrag
    assert first.password != second.password
    assert first.password not in repr(first)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.8.9.10",
        "::1",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "240.0.0.1",
        "fe80::1%eth0",
        "::ffff:127.0.0.1",
        "localhost",
        "mediator.example",
        "192.168.1.10 ",
        "192.168.001.10",
        "",
        None,
        3232235786,
    ],
)
def test_an_address_that_is_not_unicast_is_refused(host: object) -> None:
    with pytest.raises(BadCandidate):
        Candidate.from_json({**HOME.to_json(), "host": host})


@pytest.mark.parametrize(
    "change",
    [
        {"port": 0},
        {"port": 65536},
        {"port": "51820"},
        {"port": True},
        {"priority": 0},
        {"priority": 1 << 31},
        {"priority": 1.5},
        {"foundation": ""},
        {"foundation": "x" * 33},
        {"foundation": "a b"},
        {"foundation": None},
        {"kind": "magic"},
        {"kind": ["host"]},
        {"related": "192.168.1.1"},
        {"related": {"host": "127.0.0.1", "port": 1}},
    ],
)
def test_a_candidate_outside_the_limits_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadCandidate):
        Candidate.from_json({**HOME.to_json(), **change})


def test_at_most_32_candidates_are_taken() -> None:
    assert len(candidates_from_json([HOME.to_json()] * 32)) == 32
    with pytest.raises(BadCandidate):
        candidates_from_json([HOME.to_json()] * 33)


@pytest.mark.parametrize(
    "change",
    [
        {"ufrag": "abc"},
        {"ufrag": "a:b:c"},
        {"ufrag": "x" * 33},
        {"ufrag": None},
        {"password": "short"},
        {"password": "x" * 129},
        {"candidates": None},
        {"candidates": {}},
        {"candidates": [None]},
    ],
)
def test_an_offer_outside_the_limits_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadCandidate):
        RemoteSide.from_json({**LocalSide.fresh([HOME]).to_json(), **change})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["kind", "host", "port", "candidates", "ufrag"]), inner)
    ),
    max_leaves=10,
)


@given(JSON)
def test_no_json_crashes_the_reader(data: object) -> None:
    with pytest.raises(BadCandidate):
        RemoteSide.from_json(data)
    with pytest.raises(BadCandidate):
        Candidate.from_json(data)


def test_priorities_follow_the_published_formula() -> None:
    assert priority(Kind.HOST, 6) == 2130706431
    assert priority(Kind.HOST, 4) > priority(Kind.PEER_REFLEXIVE, 4)
    assert priority(Kind.PEER_REFLEXIVE, 4) > priority(Kind.SERVER_REFLEXIVE, 4)
    assert priority(Kind.SERVER_REFLEXIVE, 4) > priority(Kind.RELAY, 6)


@pytest.mark.parametrize(
    ("candidates", "nat"),
    [
        ([candidate(Kind.HOST, Address("198.51.100.3", 1))], Nat.NONE),
        ([HOME], Nat.UNKNOWN),
        ([], Nat.UNKNOWN),
        ([HOME, OUTSIDE], Nat.INDEPENDENT),
        ([HOME, OUTSIDE, OUTSIDE_ELSEWHERE], Nat.VARYING),
    ],
    ids=["public", "nothing heard", "nothing", "one mapping", "two mappings"],
)
def test_candidates_tell_the_kind_of_nat(candidates: list[Candidate], nat: Nat) -> None:
    assert nat_of(candidates) is nat


def test_documentation_networks_count_as_public() -> None:
    assert not Address("198.51.100.3", 1).private
    assert Address("100.64.0.1", 1).private
    assert Address("fd00::1", 1).private
