"""What a mediator, or whoever has taken it over, can ask of the privileged helper."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediator.relay_helper.requests import (
    MAX_CHANGES,
    MAX_REQUEST,
    Change,
    Counts,
    Flow,
    Order,
    RequestRefused,
    Start,
    parse,
)

START = {"request": "start", "first_port": 41000, "last_port": 41255, "rate": 100_000_000}
FORTH = {
    "source": "203.0.113.1",
    "source_port": 4001,
    "destination": "203.0.113.2",
    "destination_port": 4002,
    "own": "198.51.100.10",
}
BACK = {
    "source": "203.0.113.2",
    "source_port": 4002,
    "destination": "203.0.113.1",
    "destination_port": 4001,
    "own": "198.51.100.10",
}
PAIR = {"port": 41007, "flows": [FORTH, BACK]}
OPEN = {"request": "change", "open": [PAIR], "close": []}
CLOSE = {"request": "change", "open": [], "close": [41007]}


def test_what_is_asked_properly_is_understood() -> None:
    assert parse(words(START)) == Start(41000, 41255, 100_000_000)
    forth = Flow("203.0.113.1", 4001, "203.0.113.2", 4002, "198.51.100.10")
    request = parse(words(OPEN))
    assert isinstance(request, Change)
    assert request.opened[0].flows[0] == forth
    assert parse(words(CLOSE)) == Change((), (41007,))
    both = parse(words({**OPEN, "close": [41009, 41008]}))
    assert isinstance(both, Change)
    assert both.ports == [41007, 41009, 41008]
    assert parse(words({"request": "counts"})) == Counts()


def pair(**forth: Any) -> dict[str, Any]:
    return {**OPEN, "open": [{**PAIR, "flows": [{**FORTH, **forth}, BACK]}]}


REFUSED: dict[str, Any] = {
    "no object": [],
    "an unknown request": {"request": "run"},
    "a word too many": {**START, "table": "filter"},
    "a word too few": {"request": "start", "first_port": 41000, "last_port": 41255},
    "a port of the system": {**START, "first_port": 22},
    "a range backwards": {**START, "last_port": 40999},
    "all ports": {**START, "first_port": 1024, "last_port": 65535},
    "no rate": {**START, "rate": 0},
    "a rate of text": {**START, "rate": "1; flush ruleset"},
    "a rate that is true": {**START, "rate": True},
    "no change": {**OPEN, "open": []},
    "too many changes": {**CLOSE, "close": list(range(41000, 41000 + MAX_CHANGES + 1))},
    "a port twice": {**OPEN, "open": [PAIR, PAIR]},
    "a port that is opened and closed": {**OPEN, "close": [41007]},
    "a port in place of pairs": {**OPEN, "open": 41007},
    "one port that is no list": {**CLOSE, "close": 41007},
    "a pair with a word too many": {**OPEN, "open": [{**PAIR, "table": "filter"}]},
    "one flow": {**OPEN, "open": [{**PAIR, "flows": [FORTH]}]},
    "two flows the same way": {**OPEN, "open": [{**PAIR, "flows": [FORTH, FORTH]}]},
    "a flow elsewhere": pair(destination="203.0.113.3"),
    "a rule in place of an address": pair(source="0.0.0.0/0 accept"),
    "a name": pair(source="localhost"),
    "a number for an address": pair(source=1),
    "loopback": pair(source="127.0.0.1"),
    "an address of this network": pair(own="0.0.0.0"),
    "multicast": pair(source="224.0.0.1"),
    "broadcast": pair(source="255.255.255.255"),
    "link-local": pair(source="169.254.169.254"),
    "IPv6 with a scope": pair(source="fe80::1%eth0"),
    "IPv4 in IPv6": pair(source="::ffff:203.0.113.1"),
    "IPv6 to IPv4": pair(source="2001:db8::1"),
    "port 0": pair(source_port=0),
    "a port of text": pair(source_port="4001"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_everything_else_is_refused(name: str) -> None:
    with pytest.raises(RequestRefused):
        parse(words(REFUSED[name]))


def test_a_pair_from_an_address_to_itself_is_refused() -> None:
    flow = {**FORTH, "destination": "203.0.113.1", "destination_port": 4001}
    with pytest.raises(RequestRefused):
        parse(words({**OPEN, "open": [{**PAIR, "flows": [flow, flow]}]}))


def test_as_many_changes_as_are_allowed_fit_into_a_request() -> None:
    far = "2001:db8:1111:2222:3333:4444:5555:6666"
    forth = {
        "source": far,
        "source_port": 65535,
        "destination": far,
        "destination_port": 65534,
        "own": far,
    }
    back = {**forth, "source_port": 65534, "destination_port": 65535}
    ports = range(41000, 41000 + MAX_CHANGES)
    pairs = [{"port": port, "flows": [forth, back]} for port in ports]
    data = words({**OPEN, "open": pairs})
    assert len(data) <= MAX_REQUEST
    assert isinstance(parse(data), Change)


@given(st.binary(max_size=200) | st.text(max_size=5000).map(str.encode))
def test_no_bytes_crash_it(data: bytes) -> None:
    with pytest.raises(RequestRefused):
        parse(data)


def test_pairs_come_after_one_start_and_within_its_range() -> None:
    order = Order()
    with pytest.raises(RequestRefused):
        order.admit(parse(words(OPEN)))
    order.admit(parse(words(START)))
    order.admit(parse(words(OPEN)))
    elsewhere = ({**OPEN, "open": [PAIR, {**PAIR, "port": 40999}]}, {**CLOSE, "close": [41007, 53]})
    for again in (START, *elsewhere):
        with pytest.raises(RequestRefused):
            order.admit(parse(words(again)))


def words(request: object) -> bytes:
    return json.dumps(request).encode()
