"""A port is asked for by PCP and NAT-PMP until one grants it; nothing else is believed."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traversal import nat_pmp, pcp
from traversal.candidate import Address
from traversal.port_mapping import (
    LONGEST_LIFETIME,
    SHORTEST_LIFETIME,
    Gateway,
    Mapped,
    PortRequest,
    Protocol,
    release_datagrams,
)

GATEWAY = Gateway("192.168.1.1", "192.168.1.11")
NONCE = bytes(range(12))
PORT = 51820
EXTERNAL = Address("203.0.113.7", 40000)
ADDRESS_ANSWER = bytes.fromhex("00800000 00001234 cb007107")
MAPPING_ANSWER = bytes.fromhex("00810000 00001234 ca6c9c40 00000e10")


def test_pcp_is_asked_first_and_its_grant_is_taken() -> None:
    request = _request()
    [asked] = request.datagrams_to_send(0.0)
    assert asked[:2] == b"\x02\x01"
    request.handle_datagram(_granted(), 0.02)
    assert request.mapped == Mapped(Protocol.PCP, GATEWAY, PORT, EXTERNAL, 3600, NONCE)
    assert request.next_timer() is None
    assert request.datagrams_to_send(9.0) == []


def test_a_gateway_that_knows_nat_pmp_alone_is_asked_in_it_at_once() -> None:
    request = _request()
    request.datagrams_to_send(0.0)
    request.handle_datagram(bytes.fromhex("00810001 00001234"), 0.01)
    assert request.next_timer() == 0.01
    assert request.datagrams_to_send(0.01) == [
        nat_pmp.EXTERNAL_REQUEST,
        nat_pmp.map_request(PORT, PORT, 1800),
    ]
    request.handle_datagram(MAPPING_ANSWER, 0.02)
    assert request.mapped is None  # of which address, it has not said yet
    request.handle_datagram(ADDRESS_ANSWER, 0.02)
    assert request.mapped == Mapped(Protocol.NAT_PMP, GATEWAY, PORT, EXTERNAL, 3600, NONCE)


def test_a_silent_gateway_is_asked_in_both_ever_more_slowly() -> None:
    request, times = _request(), []
    while (timer := request.next_timer()) is not None and timer < 10:
        times.append(timer)
        request.datagrams_to_send(timer)
    assert times == [0.0, 0.25, 0.75, 1.75, 3.75, 5.75, 7.75, 9.75]
    kinds = {data[0] for data in request.datagrams_to_send(20.0)}
    assert kinds == {pcp.VERSION, nat_pmp.VERSION}


def test_who_refuses_in_every_protocol_is_not_asked_again() -> None:
    request = _request()
    request.datagrams_to_send(0.0)
    request.handle_datagram(_granted(result=2), 0.01)
    request.handle_datagram(bytes.fromhex("00810002 00001234"), 0.02)
    assert request.over
    assert request.mapped is None
    assert request.datagrams_to_send(9.0) == []


@pytest.mark.parametrize(
    "answer",
    {
        "another nonce": lambda: _granted(nonce=bytes(12)),
        "another port": lambda: _granted(port=PORT + 1),
        "a request of our own": lambda: _request().datagrams_to_send(0.0)[0],
        "noise": lambda: b"\x02" * 60,
    }.items(),
    ids=lambda case: case[0],
)
def test_an_answer_to_somebody_else_changes_nothing(answer: tuple[str, object]) -> None:
    request = _request()
    request.datagrams_to_send(0.0)
    assert callable(answer[1])
    request.handle_datagram(answer[1](), 0.01)
    assert not request.over
    request.handle_datagram(_granted(), 0.02)
    assert request.mapped is not None


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::"])
def test_an_address_that_nobody_can_send_to_is_not_taken(host: str) -> None:
    request = _request()
    request.handle_datagram(_granted(host=host), 0.01)
    assert request.mapped is None


def test_a_second_nat_behind_the_gateway_is_noticed() -> None:
    for host, double in (("100.64.0.11", True), ("10.0.0.2", True), ("203.0.113.7", False)):
        request = _request()
        request.handle_datagram(_granted(host=host), 0.01)
        assert request.mapped is not None
        assert request.mapped.double_nat is double


@pytest.mark.parametrize(
    ("said", "taken"), [(1, SHORTEST_LIFETIME), (3600, 3600), (2**32 - 1, LONGEST_LIFETIME)]
)
def test_a_lifetime_is_believed_within_reason(said: int, taken: int) -> None:
    request = _request()
    request.handle_datagram(_granted(lifetime=said), 0.01)
    assert request.mapped is not None
    assert request.mapped.lifetime == taken
    assert request.mapped.renew_after() == taken / 2


def test_a_mapping_is_renewed_in_its_own_protocol_with_the_same_wish() -> None:
    before = Mapped(Protocol.NAT_PMP, GATEWAY, PORT, EXTERNAL, 3600, NONCE)
    request = PortRequest(GATEWAY, PORT, NONCE, 0.0, before)
    assert request.datagrams_to_send(0.0)[1] == nat_pmp.map_request(PORT, EXTERNAL.port, 1800)
    before = Mapped(Protocol.PCP, GATEWAY, PORT, EXTERNAL, 3600, NONCE)
    [asked] = PortRequest(GATEWAY, PORT, NONCE, 0.0, before).datagrams_to_send(0.0)
    wish = pcp.MapRequest(GATEWAY.client, PORT, 1800, NONCE, EXTERNAL)
    assert asked == pcp.serialize_request(wish)


def test_a_mapping_is_deleted_by_a_lifetime_of_nothing() -> None:
    mapped = Mapped(Protocol.PCP, GATEWAY, PORT, EXTERNAL, 3600, NONCE)
    by_pcp, by_nat_pmp = release_datagrams(mapped)
    assert by_pcp[4:8] == bytes(4)
    assert by_pcp[24:36] == NONCE
    assert by_nat_pmp == nat_pmp.map_request(PORT, 0, 0)


def test_no_nonce_is_shown() -> None:
    assert "nonce" not in repr(Mapped(Protocol.PCP, GATEWAY, PORT, EXTERNAL, 3600, NONCE))
    assert "nonce" not in repr(pcp.MapRequest("192.168.1.11", PORT, 0, NONCE))


@given(st.lists(st.binary(max_size=80)))
def test_no_input_crashes_a_request_or_makes_it_send_more(datagrams: list[bytes]) -> None:
    request = _request()
    sent = 0
    for number, data in enumerate(datagrams):
        request.handle_datagram(data, number / 1000)
        sent += len(request.datagrams_to_send(number / 1000))
    assert sent <= 8


def _request() -> PortRequest:
    return PortRequest(GATEWAY, PORT, NONCE, 0.0)


def _granted(
    result: int = 0,
    lifetime: int = 3600,
    nonce: bytes = NONCE,
    port: int = PORT,
    host: str = EXTERNAL.host,
) -> bytes:
    request = pcp.MapRequest("192.168.1.11", port, 0, nonce, Address(host, EXTERNAL.port))
    tail = pcp.serialize_request(request)[24:]
    return struct.pack("!BBBBII12x", 2, 0x81, 0, result, lifetime, 7) + tail
