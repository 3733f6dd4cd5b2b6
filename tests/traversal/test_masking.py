"""Masks: RFC 6455, section 5.7 has one in literal bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traversal.masking import Mask, by_numbers, mask_in_place

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
