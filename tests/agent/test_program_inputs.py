"""Private inputs as a person gives them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.launch.inputs import InputError, parse_inputs, read_inputs
from tests.support.launched import AUCTION

MANIFEST = AUCTION.manifest


def test_an_input_is_read_from_the_argument() -> None:
    assert read_inputs(MANIFEST, ["bid=120"]) == {"bid": 120}


def test_an_input_is_read_from_a_file_with_comments(tmp_path: Path) -> None:
    file = tmp_path / "inputs"
    file.write_text("# what I would pay\n\n  bid = 120 \n")
    assert read_inputs(MANIFEST, [f"@{file}"]) == {"bid": 120}


@pytest.mark.parametrize("value", ["1", "1000000000", "+7", "007"])
def test_the_ends_of_the_range_belong_to_it(value: str) -> None:
    assert read_inputs(MANIFEST, [f"bid={value}"]) == {"bid": int(value)}


@pytest.mark.parametrize(
    "value", ["0", "-1", "1000000001", "", "1.5", "1e3", "1_0", "१", "0x1f", "9" * 5000]
)
def test_what_is_out_of_range_is_refused_with_the_range_and_without_the_value(value: str) -> None:
    with pytest.raises(InputError) as caught:
        read_inputs(MANIFEST, [f"bid={value}"])
    assert str(caught.value) == 'input "bid" must be a whole number from 1 to 1000000000'


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], 'input "bid" is missing; it must be a whole number from 1 to 1000000000'),
        (["bidd=5"], '"bidd" is not an input of second_price_auction; it takes: bid'),
        (["bid=5", "bid=5"], 'input "bid" is given twice'),
        (["5"], "an input is given as name=value or as @file"),
        (["@/nowhere/inputs"], "cannot read the input file /nowhere/inputs: No such file"),
        (["@/"], "cannot read the input file /: Is a directory"),
    ],
)
def test_every_mistake_has_its_sentence(arguments: list[str], wanted: str) -> None:
    with pytest.raises(InputError) as caught:
        read_inputs(MANIFEST, arguments)
    assert wanted in str(caught.value)


def test_a_file_that_is_not_text_or_too_large_is_refused(tmp_path: Path) -> None:
    for content, wanted in ((b"\xff\xfe", "is not text"), (b"#" * 70_000, "is larger than")):
        file = tmp_path / "inputs"
        file.write_bytes(content)
        with pytest.raises(InputError, match=wanted):
            read_inputs(MANIFEST, [f"@{file}"])


@given(st.lists(st.text(max_size=40) | st.text(max_size=30).map("bid={}".format), max_size=3))
def test_no_text_crashes_the_parser(pairs: list[str]) -> None:
    try:
        values = parse_inputs(MANIFEST, pairs)
    except InputError:
        return
    assert 1 <= values["bid"] <= 1_000_000_000
