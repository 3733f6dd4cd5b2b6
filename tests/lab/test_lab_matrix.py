"""The matrix lets real agents meet, and tells what came of it and whether that is as expected."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import pytest

from lab.boxes import port_mapping_daemon
from lab.crew import Member
from lab.matrix import Matrix
from lab.pair import Cell, Pair, judge
from lab.picture import heat_map, table

CHECKOUT = Path(__file__).resolve().parents[2]

PATH = Pair("public", "public", True, "direct", True, "direct", None, 123.4, 0, 600)
RELAYED = replace(
    PATH, b="symmetric", path="relay", expected="relay", ms_to_relay=456.7, ms_to_direct=None
)
WRONG = Pair("symmetric", "symmetric", False, None, False, "direct", reason="no answer")
PLAYED = Matrix(("public", "symmetric"), (PATH, RELAYED, WRONG), (replace(PATH, a="one LAN"),))


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")
@pytest.mark.skipif(port_mapping_daemon() is None, reason="needs Debian's miniupnpd-nftables")
def test_two_kinds_of_nat_are_tried_with_real_agents(tmp_path: Path) -> None:
    told = _matrix("--kinds", "symmetric-mapping,symmetric", "--out", str(tmp_path / "found"))
    pairs = {(pair["a"], pair["b"]): pair for pair in told["pairs"]}
    for a, b in (("symmetric-mapping", "symmetric-mapping"), ("symmetric-mapping", "symmetric")):
        pair = pairs[a, b]
        assert (pair["connected"], pair["path"], pair["as_expected"]) == (True, "direct", True)
        assert pair["ms_to_direct"] > 0
        assert (pair["lost_packets"], pair["sent_packets"]) == (0, 600)
    pair = pairs["symmetric", "symmetric"]
    assert (pair["connected"], pair["path"], pair["as_expected"]) == (True, "relay", True)
    assert pair["ms_to_relay"] > 0
    assert pair["ms_to_direct"] is None
    assert pair["lost_packets"] == 0
    assert told["summary"]["as_expected"] == told["summary"]["connected"] == 3
    assert "symmetric-mapping" in (tmp_path / "found.txt").read_text()
    ElementTree.fromstring((tmp_path / "found.svg").read_text())


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")
def test_a_direct_way_that_opens_late_is_taken_without_losing_a_packet(tmp_path: Path) -> None:
    words = ("--late", "--kinds", "port-restricted", "--out", str(tmp_path / "late"))
    [pair] = _matrix(*words)["pairs"]
    assert pair["as_expected"]
    assert pair["path"] == "direct"
    assert pair["ms_to_relay"] > 0
    assert pair["counted_upgrade"]
    assert (pair["lost_packets"], pair["sent_packets"]) == (0, 600)


def _matrix(*words: str) -> dict[str, Any]:
    """What a matrix tells as JSON; it has to be as expected."""
    done = subprocess.run(
        [sys.executable, "-m", "lab", "matrix", "--json", *words],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def test_the_table_has_a_letter_for_each_pair_and_words_for_surprises() -> None:
    lines = table(PLAYED).splitlines()
    assert lines[1].split() == ["public", "D", "R", "1"]
    assert lines[2].split() == ["symmetric", "R", "!", "2"]
    assert "NOT EXPECTED: direct; no answer" in table(PLAYED).partition("Not as expected:")[2]
    assert "one LAN" in table(PLAYED)


def test_the_picture_has_a_square_for_each_pair_in_both_orders() -> None:
    picture = ElementTree.fromstring(heat_map(PLAYED))
    squares = picture.findall(".//{*}rect/{*}title/..")
    assert len(squares) == 4
    fills = [square.get("fill") for square in squares]
    assert fills[1] == fills[2]  # the same pair
    assert len(set(fills)) == 3
    assert {"123", "457"} <= {
        text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")
    }


def test_the_summary_counts_what_was_found_and_what_could_be() -> None:
    told = PLAYED.to_json()
    assert told["summary"] == {
        "pairs": 4,
        "connected": 3,
        "direct": 2,
        "direct_expected": 3,
        "as_expected": 3,
        "sent_packets": 1800,
        "lost_packets": 0,
        "counted_upgrades": 0,
        "ms_to_relay_median": 456.7,
        "ms_to_relay_worst": 456.7,
        "ms_to_direct_median": 123.4,
        "ms_to_direct_worst": 123.4,
    }
    assert len(told["pairs"]) == 4


DID_NOT_MATTER = {"endpoint": "203.0.113.11:5000"}
BEGAN = 1000.0


def _told(*paths: tuple[float, str], lost: int = 0) -> list[dict[str, Any]]:
    """What one party tells of a session: mesh after 0.4 s, counting from 1 to 4 s."""
    counted = f"lost={lost} sent=600 from={BEGAN + 1:.3f} to={BEGAN + 4:.3f}\n"
    return [
        {"event": "mesh", "t": BEGAN + 0.4, "seconds": 0.4},
        *({"event": "path", "t": BEGAN + t, "kind": kind, **DID_NOT_MATTER} for t, kind in paths),
        {"event": "result", "t": BEGAN + 4, "output": counted},
    ]


RELAY, UPGRADE, DIRECT = (0.4, "relay"), (1.5, "direct"), (0.4, "direct")


@pytest.mark.parametrize(
    ("told", "expected", "found"),
    [
        ([_told(DIRECT)] * 2, "direct", ("direct", True, None, 400.0, 0, False)),
        ([_told(RELAY)] * 2, "relay", ("relay", True, 400.0, None, 0, False)),
        ([_told(RELAY)] * 2, "direct", ("relay", False, 400.0, None, 0, False)),
        (
            [_told(RELAY, UPGRADE, lost=2), _told(DIRECT, lost=2)],
            "direct",
            ("direct", True, 400.0, 1500.0, 2, True),
        ),
        ([_told(DIRECT), _told(RELAY)], "direct", ("relay", False, 400.0, None, 0, False)),
        (
            [_told(DIRECT, lost=1), _told(DIRECT)],
            "direct",
            ("direct", False, None, 400.0, None, False),
        ),
        (
            [_told(DIRECT), _told(DIRECT)[:-1]],
            "direct",
            ("direct", False, None, 400.0, None, False),
        ),
        ([_told(DIRECT), _told()], "direct", (None, False, None, None, None, False)),
        ([[], []], "relay", (None, False, None, None, None, False)),
    ],
    ids=[
        *("direct at once", "relay", "stays on the relay", "upgraded while counting"),
        *("one end relayed", "counts differ", "no result", "one end without a path", "silence"),
    ],
)
def test_what_two_agents_tell_is_judged_together(
    told: list[list[dict[str, Any]]], expected: str, found: tuple[object, ...]
) -> None:
    members = tuple(cast(Member, object()) for _ in range(2))
    pair = judge(Cell("a", "b", (members[0], members[1]), expected), told, ["last words"])
    seen = (pair.path, pair.as_expected, pair.ms_to_relay, pair.ms_to_direct)
    assert (*seen, pair.lost_packets, pair.counted_upgrade) == found


def test_the_time_to_a_way_that_opened_late_is_from_its_opening() -> None:
    member = cast(Member, object())
    told = [_told(RELAY, UPGRADE)] * 2
    pair = judge(Cell("a", "b", (member, member), "direct"), told, [], BEGAN + 1.25)
    assert (pair.ms_to_relay, pair.ms_to_direct) == (400.0, 250.0)


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
