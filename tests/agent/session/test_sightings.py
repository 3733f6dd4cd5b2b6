"""What others tell of where a party is: few addresses, none of which can be ours or nowhere."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.session.seeing import Seeing
from agent.session.sightings import (
    ANSWER_EVERY,
    HEARD_FOR,
    MAX_ANSWER,
    MAX_PARTIES,
    MOST_HEARD,
    Sightings,
    answer,
    is_public,
    parse,
)
from traversal.candidate import Address, Candidate, Kind

HERE, SIX = Address("203.0.113.7", 40000), Address("2001:db8::7", 40000)


def test_an_answer_is_as_its_form_says() -> None:
    data = answer({2: HERE, 0: SIX})
    first = bytes([3, 2, 4, 203, 0, 113, 7]) + bytes(12) + (40000).to_bytes(2, "big")
    assert data[: len(first)] == first
    assert parse(data) == {2: HERE, 0: SIX}


def test_everybody_fits_into_a_datagram_of_the_mesh() -> None:
    everybody = dict.fromkeys(range(MAX_PARTIES - 2), SIX)
    assert len(answer(everybody)) == MAX_ANSWER
    assert parse(answer(everybody)) == everybody
    assert parse(answer(everybody | {62: SIX})) == {}


@pytest.mark.parametrize(
    "host", ["192.168.1.7", "10.0.0.1", "127.0.0.1", "fe80::1", "fd00::1", "::1"]
)
def test_what_is_not_seen_from_everywhere_is_not_told(host: str) -> None:
    assert parse(answer({1: Address(host, 5000), 2: HERE})) == {2: HERE}


HOSTILE = {
    "nothing": b"",
    "a question": b"\x02",
    "half an entry": answer({1: HERE})[:-1],
    "no such version": b"\x03\x01\x05" + bytes(16) + b"\x13\x88",
    "port 0": b"\x03\x01\x04\xcb\x00\x71\x07" + bytes(14),
    "ourselves": b"\x03\x01\x04\x7f\x00\x00\x01" + bytes(12) + b"\x13\x88",
    "everybody": b"\x03\x01\x04\xff\xff\xff\xff" + bytes(12) + b"\x13\x88",
    "a group": b"\x03\x01\x04\xe0\x00\x00\x01" + bytes(12) + b"\x13\x88",
    "a home": b"\x03\x01\x04\xc0\xa8\x01\x01" + bytes(12) + b"\x13\x88",
    "IPv4 in IPv6": b"\x03\x01\x06" + bytes(10) + b"\xff\xff\xcb\x00\x71\x07\x13\x88",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_nobody_could_mean_is_passed_over(what: str) -> None:
    assert parse(HOSTILE[what]) == {}


@given(st.binary(max_size=1400))
def test_no_bytes_upset_the_reader(data: bytes) -> None:
    assert all(is_public(address) for address in parse(data).values())
    assert all(is_public(address) for address in parse(b"\x03" + data).values())


def test_one_party_is_answered_once_a_second() -> None:
    kept = Sightings()
    assert kept.may_answer("ben", 10.0)
    assert kept.may_answer("carl", 10.0)
    assert not kept.may_answer("ben", 10.0 + ANSWER_EVERY / 2)
    assert kept.may_answer("ben", 10.0 + ANSWER_EVERY)


def test_what_many_tell_is_news_once() -> None:
    kept = Sightings()
    assert kept.is_news("ben", HERE, 10.0)
    assert not kept.is_news("ben", HERE, 11.0)
    assert kept.is_news("carl", HERE, 11.0)
    assert kept.is_news("ben", HERE, 10.0 + HEARD_FOR)


def test_ever_other_addresses_are_no_news_for_a_while() -> None:
    kept = Sightings()
    told = [kept.is_news("ben", HERE._replace(port=5000 + n), 10.0) for n in range(100)]
    assert sum(told) == MOST_HEARD


ANN, BEN, CLEO, DORA = PARTIES = ("ann", "ben", "cleo", "dora")


def test_we_tell_where_wireguard_reaches_whom_we_reach_directly() -> None:
    seeing, _ = seen_by_ann({BEN: True, CLEO: False, DORA: False})
    assert seeing.seen(CLEO) == {1: HERE}
    assert seeing.seen(BEN) == {}


def test_we_try_what_is_told_of_whom_we_do_not_reach_directly() -> None:
    seeing, tried = seen_by_ann({BEN: True, CLEO: False, DORA: False})
    told = dict.fromkeys(range(9), HERE)
    seeing.hear(told)
    seeing.hear(told)
    assert [(did, one.kind, one.address) for did, one in tried] == [
        (CLEO, Kind.PEER_REFLEXIVE, HERE),
        (DORA, Kind.PEER_REFLEXIVE, HERE),
    ]


def seen_by_ann(direct: dict[str, bool]) -> tuple[Seeing, list[tuple[str, Candidate]]]:
    tried: list[tuple[str, Candidate]] = []
    connectivity: Any = SimpleNamespace(
        is_direct=direct.__getitem__, add_remote=lambda did, found: tried.append((did, *found))
    )
    status = SimpleNamespace(endpoint=(HERE.host, HERE.port))
    steering: Any = SimpleNamespace(status=lambda _: status)
    return Seeing(ANN, PARTIES, connectivity, steering), tried
