"""PCP's MAP as the bytes that RFC 6887 draws."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traversal import pcp
from traversal.candidate import Address

NONCE = bytes.fromhex("000102030405060708090a0b")

# RFC 6887, 7.1 and 11.1: version 2, opcode 1, lifetime 7200, client ::ffff:192.168.1.11, nonce,
# protocol 17, internal port 51820, no suggestion.
REQUEST = bytes.fromhex(
    "02010000 00001c20 00000000000000000000ffffc0a8010b"
    "000102030405060708090a0b 11000000 ca6c0000 00000000000000000000ffff00000000"
)
# RFC 6887, 7.2 and 11.1: success, lifetime 3600, epoch 4660, external port 40000 of 203.0.113.7.
RESPONSE = bytes.fromhex(
    "02810000 00000e10 00001234 000000000000000000000000"
    "000102030405060708090a0b 11000000 ca6c9c40 00000000000000000000ffffcb007107"
)


def test_a_request_is_the_bytes_of_the_standard() -> None:
    request = pcp.MapRequest("192.168.1.11", 51820, 7200, NONCE)
    assert pcp.serialize_request(request) == REQUEST
    assert len(REQUEST) == 60


def test_a_renewal_suggests_what_was_granted() -> None:
    suggested = Address("203.0.113.7", 40000)
    data = pcp.serialize_request(pcp.MapRequest("192.168.1.11", 51820, 7200, NONCE, suggested))
    assert data[42:] == bytes.fromhex("9c40 00000000000000000000ffffcb007107")


def test_an_answer_is_read_from_the_bytes_of_the_standard() -> None:
    assert pcp.parse_response(RESPONSE) == pcp.MapResponse(
        0, 3600, 0x1234, NONCE, 51820, Address("203.0.113.7", 40000)
    )


def test_an_answer_may_be_followed_by_options() -> None:
    assert pcp.parse_response(RESPONSE + bytes(8)) == pcp.parse_response(RESPONSE)


@pytest.mark.parametrize(
    "data",
    {
        "nothing": b"",
        "a header alone": RESPONSE[:24],
        "one byte too few": RESPONSE[:-1],
        "more than any answer": RESPONSE + bytes(pcp.MAX_SIZE),
        "a request": REQUEST,
        "another version": b"\x01" + RESPONSE[1:],
        "another opcode": RESPONSE[:1] + b"\x82" + RESPONSE[2:],
        "another protocol": RESPONSE[:36] + b"\x06" + RESPONSE[37:],
    }.items(),
    ids=lambda case: case[0],
)
def test_what_is_no_answer_is_malformed(data: tuple[str, bytes]) -> None:
    with pytest.raises(pcp.MalformedPcp):
        pcp.parse_response(data[1])


@given(st.binary(max_size=1200))
def test_no_input_crashes_parse(data: bytes) -> None:
    for start in (b"", RESPONSE[:36]):
        with contextlib.suppress(pcp.MalformedPcp):
            pcp.parse_response(start + data)
