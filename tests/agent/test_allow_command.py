"""`agent allow`: what may run without asking, and how it is taken back."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from agent.cli import run
from agent.launch.consents import Consents
from tests.support.launched import AUCTION

BOB = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
CAROL = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"
OLD = "ab" * 32


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIDMESH_HOME", str(tmp_path))
    assert run(["create-did", "--unencrypted"]) == 0
    assert run(["contacts", "name", BOB, "bob"]) == 0
    return tmp_path


def listed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    capsys.readouterr()
    assert run(["allow", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert isinstance(told, list)
    return told


def test_what_is_allowed_is_listed_by_its_name_with_its_people(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["allow", "auction", "--with", "bob", "--days", "2"]) == 0
    [one] = listed(capsys)
    assert (one["program"], one["sha256"]) == (AUCTION.name, AUCTION.sha256)
    assert BOB in one["parties"]  # type: ignore[operator]
    assert len(one["parties"]) == 2  # type: ignore[arg-type]
    assert abs(float(one["until"]) - time.time() - 2 * 86_400) < 60  # type: ignore[arg-type]
    assert run(["allow"]) == 0
    assert "bob (not verified)" in capsys.readouterr().out


def test_it_is_taken_back_for_these_parties_or_for_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["allow", "auction", "--with", "bob"]) == 0
    assert run(["allow", "auction", "--with", CAROL]) == 0
    assert run(["allow", "auction", "--with", "bob", "--revoke"]) == 0
    [left] = listed(capsys)
    assert CAROL in left["parties"]  # type: ignore[operator]
    assert run(["allow", "auction", "--revoke"]) == 0
    assert listed(capsys) == []


def test_what_was_not_allowed_cannot_be_taken_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["allow", "auction", "--revoke"]) == 2
    assert "you have not allowed this" in capsys.readouterr().err


def test_a_program_that_is_gone_is_taken_back_by_its_hash(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = time.time()
    Consents(home).allow(OLD, [BOB], now + 60, now)
    assert listed(capsys)[0]["program"] == "(gone)"
    assert run(["allow", OLD[:16], "--revoke"]) == 0
    assert listed(capsys) == []


@pytest.mark.parametrize("words", [["--with", "bob"], ["--revoke"], ["auction"]], ids=str)
def test_a_half_wish_is_no_wish(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["allow", *words]) == 2
    assert listed(capsys) == []
