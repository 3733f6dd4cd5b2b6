import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traversal import stun
from traversal.candidate import Address
from traversal.stun import Class, MalformedStun, Message

KEY = b"a password of twenty-two or more characters"
ID = bytes(range(12))
ADDRESSES = st.one_of(
    st.builds(Address, st.ip_addresses(v=4).map(str), st.integers(0, 65535)),
    st.builds(Address, st.ip_addresses(v=6).map(str), st.integers(0, 65535)),
)
TEXTS = st.text(max_size=100)
ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        "USERNAME": TEXTS,
        "SOFTWARE": TEXTS,
        "PRIORITY": st.integers(0, 2**32 - 1),
        "USE-CANDIDATE": st.just(True),
        "ICE-CONTROLLING": st.integers(0, 2**64 - 1),
        "ICE-CONTROLLED": st.integers(0, 2**64 - 1),
        "XOR-MAPPED-ADDRESS": ADDRESSES,
        "MAPPED-ADDRESS": ADDRESSES,
        "OTHER-ADDRESS": ADDRESSES,
        "ERROR-CODE": st.tuples(st.integers(300, 699), TEXTS),
        "UNKNOWN-ATTRIBUTES": st.lists(st.integers(0, 65535), max_size=5).map(tuple),
    },
)
MESSAGES = st.builds(
    Message,
    st.sampled_from(Class),
    st.binary(min_size=12, max_size=12),
    ATTRIBUTES,
    st.integers(0, 0xFFF),
)


@given(MESSAGES)
def test_what_is_serialized_is_parsed_again(message: Message) -> None:
    parsed = stun.parse(stun.serialize(message, fingerprint=False))
    assert parsed == message


@given(MESSAGES)
def test_a_protected_message_proves_its_key_and_no_other(message: Message) -> None:
    data = stun.serialize(message, KEY)
    assert stun.parse(data).cls is message.cls
    assert stun.verify_integrity(data, KEY)
    assert not stun.verify_integrity(data, KEY[:-1])


@given(MESSAGES, st.data())
def test_no_flipped_bit_before_the_fingerprint_is_believed(
    message: Message, draw: st.DataObject
) -> None:
    data = bytearray(stun.serialize(message, KEY))
    covered = len(data) - stun.FINGERPRINT_SIZE
    bit = draw.draw(st.integers(0, covered * 8 - 1))
    data[bit // 8] ^= 1 << bit % 8
    try:
        stun.parse(bytes(data))
    except MalformedStun:
        return
    assert not stun.verify_integrity(bytes(data), KEY)


@given(st.binary(max_size=200))
def test_no_input_crashes_parse(data: bytes) -> None:
    parse_or_refuse(data)


@given(st.binary(max_size=300), st.integers(0, 0x3FFF))
def test_no_attributes_crash_parse(body: bytes, kind: int) -> None:
    body = body[: len(body) & ~3]
    parse_or_refuse(struct.pack("!HHI12s", kind, len(body), stun.MAGIC_COOKIE, ID) + body)


@given(st.sampled_from(stun.ATTRIBUTES), st.binary(max_size=40))
def test_no_attribute_value_crashes_parse(entry: stun._Attribute, value: bytes) -> None:
    parse_or_refuse(raw_message(attribute(entry.number, value)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(19),
        stun.serialize(Message(Class.REQUEST, ID), fingerprint=False) + bytes(4),
        stun.serialize(Message(Class.REQUEST, ID))[:-1],
        b"\x01\x00\x00\x00" + bytes(144),
        stun.serialize(Message(Class.REQUEST, ID, {"SOFTWARE": "x" * 760, "USERNAME": "y" * 513})),
    ],
    ids=["empty", "short", "longer than it says", "cut off", "wireguard", "too large"],
)
def test_what_is_not_stun_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedStun):
        stun.parse(data)


@pytest.mark.parametrize(
    "body",
    [
        struct.pack("!HH", 0x0024, 8) + bytes(4),
        struct.pack("!HH4s", 0x0024, 3, bytes(3)),
        struct.pack("!HH", 0x0025, 4) + bytes(4),
        struct.pack("!HHxBH4s", 0x0020, 8, 3, 1, bytes(4)),
        struct.pack("!HHxBH4s", 0x0020, 8, 2, 1, bytes(4)),
        struct.pack("!HHxxBB", 0x0009, 4, 2, 99),
        struct.pack("!HHxxBB", 0x0009, 4, 4, 100),
        struct.pack("!HH4s", 0x0006, 2, b"\xff\xfe"),
        struct.pack("!HH4s", 0x001C, 4, bytes(4)),
        struct.pack("!HH4s", 0x8028, 4, bytes(4)),
    ],
    ids=[
        "ends behind the message",
        "short number",
        "flag with a value",
        "unknown address family",
        "wrong address size",
        "error class 2",
        "error number 100",
        "text not UTF-8",
        "short integrity",
        "wrong fingerprint",
    ],
)
def test_a_damaged_attribute_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedStun):
        stun.parse(raw_message(body))


def test_unknown_attributes_are_named_if_required_and_skipped_if_optional() -> None:
    data = raw_message(attribute(0x7FFF, b"what") + attribute(0xFFFF, b"ever"))
    assert stun.parse(data) == Message(Class.REQUEST, ID, {}, unknown=(0x7FFF,))


def test_an_attribute_behind_the_integrity_is_not_believed() -> None:
    honest = stun.serialize(Message(Class.REQUEST, ID, {"PRIORITY": 1}), KEY, fingerprint=False)
    forged = raw_message(honest[20:] + attribute(0x0025, b""))
    assert stun.verify_integrity(forged, KEY)
    assert "USE-CANDIDATE" not in stun.parse(forged).attributes


def test_an_attribute_behind_the_fingerprint_is_refused() -> None:
    honest = stun.serialize(Message(Class.REQUEST, ID))
    with pytest.raises(MalformedStun):
        stun.parse(raw_message(honest[20:] + attribute(0x0025, b"")))


def test_the_first_of_equal_attributes_counts() -> None:
    data = raw_message(attribute(0x0006, b"first") + attribute(0x0006, b"second"))
    assert stun.parse(data).attributes["USERNAME"] == "first"


def test_an_unprotected_message_proves_nothing() -> None:
    assert not stun.verify_integrity(stun.serialize(Message(Class.REQUEST, ID)), KEY)


def parse_or_refuse(data: bytes) -> None:
    try:
        stun.parse(data)
    except MalformedStun:
        return


def raw_message(body: bytes) -> bytes:
    return struct.pack("!HHI12s", 0x0001, len(body), stun.MAGIC_COOKIE, ID) + body


def attribute(number: int, value: bytes) -> bytes:
    return struct.pack("!HH", number, len(value)) + value + bytes(-len(value) % 4)
