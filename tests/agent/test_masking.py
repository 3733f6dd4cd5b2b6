"""Frames of a WebSocket client: RFC 6455, section 5.7 has one in literal bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.connection import masking
from agent.connection.masking import Mask, by_numbers, mask_in_place, masked_frame, unmasked

MASK, SHOWN, HIDDEN = bytes.fromhex("37fa213d"), b"Hello", bytes.fromhex("7f9f4d5158")


@pytest.mark.parametrize("way", [by_numbers, mask_in_place])
def test_the_example_of_the_rfc_is_masked_and_unmasked(way: Mask) -> None:
    content = bytearray(SHOWN)
    way(MASK, content)
    assert content == HIDDEN
    way(MASK, content)
    assert content == SHOWN


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_both_ways_are_one(content: bytes, mask: bytes) -> None:
    one, two = bytearray(content), bytearray(content)
    by_numbers(mask, one)
    mask_in_place(mask, two)
    assert one == two


def test_the_library_brings_the_quick_one() -> None:
    assert mask_in_place is not by_numbers


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_a_frame_is_its_head_a_fresh_mask_and_what_is_hidden_by_it(size: int) -> None:
    content = bytes(size)
    frame = masked_frame(content)
    head = len(frame) - size - masking.MASK_SIZE
    assert frame[0] == 0x82
    assert frame[1] & 0x80
    mask = frame[head : head + 4]
    assert unmasked(frame[head + 4 :], mask) == content
    assert masked_frame(content)[head : head + 4] != mask
