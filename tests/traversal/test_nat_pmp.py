"""NAT-PMP as the bytes that RFC 6886 draws."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traversal import nat_pmp
from traversal.nat_pmp import ExternalAddress, MalformedNatPmp, Mapping, Refused, parse_response

# RFC 6886, 3.2: result 0, epoch 4660, 203.0.113.7.
ADDRESS = bytes.fromhex("00800000 00001234 cb007107")
# RFC 6886, 3.3: opcode 129, internal port 51820, external port 40000, lifetime 3600.
MAPPING = bytes.fromhex("00810000 00001234 ca6c9c40 00000e10")


def test_requests_are_the_bytes_of_the_standard() -> None:
    assert bytes.fromhex("0000") == nat_pmp.EXTERNAL_REQUEST
    assert nat_pmp.map_request(51820, 40000, 7200) == bytes.fromhex("00010000 ca6c9c40 00001c20")


def test_answers_are_read_from_the_bytes_of_the_standard() -> None:
    assert parse_response(ADDRESS) == ExternalAddress("203.0.113.7")
    assert parse_response(MAPPING) == Mapping(51820, 40000, 3600)


def test_a_refusal_is_told_whatever_follows_it() -> None:
    """RFC 6886, 3.5: the rest of a refusal is undefined, and may be missing."""
    assert parse_response(bytes.fromhex("00810002 00001234")) == Refused(2)
    assert parse_response(bytes.fromhex("00810001 00001234 00")) == Refused(
        nat_pmp.Result.UNSUPPORTED_VERSION
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        ADDRESS[:7],
        ADDRESS[:-1],
        ADDRESS + b"x",
        MAPPING[:-1],
        MAPPING + b"x",
        MAPPING[:8],
        b"\x02" + MAPPING[1:],
        b"\x00\x01" + MAPPING[2:],
        b"\x00\x82" + MAPPING[2:],
    ],
)
def test_what_is_no_answer_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedNatPmp):
        parse_response(data)


@given(st.binary(max_size=64))
def test_no_input_crashes_parse(data: bytes) -> None:
    for start in (b"", ADDRESS[:8], MAPPING[:8]):
        with contextlib.suppress(MalformedNatPmp):
            parse_response(start + data)
