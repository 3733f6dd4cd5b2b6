"""The matrix lets real agents meet, and tells what came of it and whether that is as expected."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lab.matrix import Matrix, Pair
from lab.picture import heat_map, table

CHECKOUT = Path(__file__).resolve().parents[2]

PATH = Pair("public", "public", True, "direct", True, "direct", None, 123.4, None, (), None)
NO_PATH = replace(
    PATH, b="symmetric", connected=False, path=None, expected="relay", ms_to_direct=None
)
WRONG = replace(NO_PATH, a="symmetric", expected="direct", as_expected=False, reason="no answer")
PLAYED = Matrix(("public", "symmetric"), (PATH, NO_PATH, WRONG), (replace(PATH, a="one LAN"),))


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")
def test_two_kinds_of_nat_are_tried_with_real_agents(tmp_path: Path) -> None:
    words = ["matrix", "--kinds", "address-restricted,symmetric", "--json", "--out", "found"]
    done = subprocess.run(
        [sys.executable, "-m", "lab", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    pairs = {(pair["a"], pair["b"]): pair for pair in told["pairs"]}
    for a, b in (("address-restricted", "address-restricted"), ("address-restricted", "symmetric")):
        pair = pairs[a, b]
        assert (pair["connected"], pair["path"], pair["as_expected"]) == (True, "direct", True)
        assert pair["ms_to_direct"] > 0
        assert pair["ms_to_relay"] is pair["lost_packets"] is None
    pair = pairs["symmetric", "symmetric"]
    assert (pair["connected"], pair["path"], pair["as_expected"]) == (False, None, True)
    assert "no direct path" in pair["reason"]
    assert told["summary"]["as_expected"] == 3
    assert "address-restricted" in (tmp_path / "found.txt").read_text()
    ElementTree.fromstring((tmp_path / "found.svg").read_text())


def test_the_table_has_a_letter_for_each_pair_and_words_for_surprises() -> None:
    lines = table(PLAYED).splitlines()
    assert lines[1].split() == ["public", "D", ".", "1"]
    assert lines[2].split() == ["symmetric", ".", "!", "2"]
    assert "NOT EXPECTED: direct; no answer" in table(PLAYED).partition("Not as expected:")[2]
    assert "one LAN" in table(PLAYED)


def test_the_picture_has_a_square_for_each_pair_in_both_orders() -> None:
    picture = ElementTree.fromstring(heat_map(PLAYED))
    squares = picture.findall(".//{*}rect/{*}title/..")
    assert len(squares) == 4
    fills = [square.get("fill") for square in squares]
    assert fills[1] == fills[2]  # the same pair
    assert len(set(fills)) == 3
    assert "123" in [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]


def test_the_summary_counts_what_was_found_and_what_could_be() -> None:
    told = PLAYED.to_json()
    assert told["summary"] == {
        "pairs": 4,
        "connected": 2,
        "direct": 2,
        "direct_expected": 3,
        "as_expected": 3,
        "ms_to_direct_median": 123.4,
        "ms_to_direct_worst": 123.4,
    }
    assert len(told["pairs"]) == 4


def test_a_kind_that_does_not_exist_is_told_before_anything_is_built() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lab", "matrix", "--kinds", "public,nat64"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("lab: no kind 'nat64'\nlab: hint: there are public,")
