"""How large a packet of the mesh leaves this machine in one piece, by what the kernel knows."""

import pytest

from agent.connection import outer_mtu
from agent.connection.outer_mtu import room_for_packets, route_mtu
from agent.wireguard.config import LEAST_MTU, MOST_MTU
from traversal.candidate import Address, Kind
from traversal.pairs import Path

FOUR, SIX = Address("203.0.113.7", 4500), Address("2001:db8::7", 4500)


def path(endpoint: Address, *, turn: bool = False) -> Path:
    return Path(endpoint, 0.01, Kind.HOST, Kind.HOST, same_lan=False, turn=turn)


@pytest.mark.parametrize(
    ("endpoint", "route", "room"),
    [(FOUR, 1500, 1440), (SIX, 1500, MOST_MTU), (FOUR, 1492, 1432), (FOUR, 1400, 1340)],
)
def test_wireguard_and_the_headers_around_it_take_their_part(
    endpoint: Address, route: int, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outer_mtu, "route_mtu", lambda _: route)
    assert room_for_packets(path(endpoint)) == room


def test_where_no_route_leads_only_the_least_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outer_mtu, "route_mtu", lambda _: None)
    assert room_for_packets(path(FOUR)) == LEAST_MTU


def test_a_turn_servers_framing_needs_room_too() -> None:
    assert room_for_packets(path(Address("127.0.0.1", 4500), turn=True)) + 84 <= 1500


def test_the_kernel_is_asked() -> None:
    assert route_mtu(Address("127.0.0.1", 4500)) == 65_535  # what IPv4 can carry at most
    assert room_for_packets(path(Address("127.0.0.1", 4500))) > MOST_MTU


def test_an_address_that_cannot_be_sent_to_is_no_error() -> None:
    assert route_mtu(Address("255.255.255.255", 4500)) is None
