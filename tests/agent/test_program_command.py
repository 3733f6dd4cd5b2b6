"""`agent program`, and what `agent run` does with a program that nobody has approved."""

import json
from pathlib import Path

import pytest

from agent.cli import run
from tests.support.launched import AUCTION, write_program

DID = "did:peer:2.Ez6LSms555YhFthn1WV8ciDBpZm86hK9tp83WojJUmxPGk1hZ"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIDMESH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("agent.commands.run.ordinary_user", lambda _environment: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_program_is_added_listed_shown_approved_and_removed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sha256 = write_program(home / "p", "pass").sha256
    assert run(["program", "add", "p"]) == 0
    assert capsys.readouterr().out == sha256 + "\n"
    assert run(["program", "list", "--json"]) == 0
    listed = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert listed["probe"]["approved"] is False
    assert listed["second_price_auction"]["approved"] is True
    assert run(["program", "show", "probe", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["sha256"], shown["approved"], shown["changes"]) == (sha256, False, None)
    assert run(["program", "approve", sha256[:8]]) == 0
    assert run(["program", "show", "probe"]) == 0
    assert f"sha256 {sha256}, approved" in capsys.readouterr().out
    assert run(["program", "rm", "probe"]) == 0
    assert run(["program", "show", "probe"]) == 2


def test_a_new_version_is_shown_with_what_changed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_program(home / "old", "print('sum')\n")
    write_program(home / "new", "print('sum')\nsend(inputs)\n")
    (home / "new" / "extra.py").write_text("x = 1\n")
    assert run(["program", "approve", "./old"]) == 0
    capsys.readouterr()
    assert run(["program", "show", "./new"]) == 0
    shown = capsys.readouterr().out
    assert "  new: extra.py\n  changed: main.py\n" in shown
    assert "  +send(inputs)\n" in shown
    assert "  +x = 1\n" in shown


def test_a_stranger_s_words_do_not_move_the_cursor(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_program(home / "old", "pass\n")
    write_program(home / "new", "\x1b[2Jpass\n")
    run(["program", "approve", "./old"])
    assert run(["program", "show", "./new"]) == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("word", ["./p", "probe", "HASH"])
def test_a_program_that_nobody_approved_does_not_run(
    home: Path, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    sha256 = write_program(home / "p", "pass").sha256
    assert run(["program", "add", "p"]) == 0
    word = sha256[:12] if word == "HASH" else word
    capsys.readouterr()
    assert run(["run", word, "--with", DID, "--input", "bid=1"]) == 6
    told = capsys.readouterr().err
    assert told == (
        f"agent: probe {sha256[:16]} is not approved to run here\n"
        f"agent: hint: agent program show {word}; then agent program approve {word}\n"
    )


def test_a_script_wants_approval_too_and_is_kept_to_be_shown(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "demo.py").write_text("print(1)\n")
    words = ["run", "--adapter", "mpyc", "--with", DID, "--", "python", "demo.py", "-x", "8"]
    assert run(words) == 6
    told = capsys.readouterr().err
    sha256 = told.partition("agent program approve ")[2].strip()
    assert run(["program", "show", sha256]) == 0
    assert "its words: -x 8\n" in capsys.readouterr().out
    assert run(["program", "approve", sha256]) == 0
    assert run(words) != 6
    assert run(["run", "auction", "second", "--with", DID]) == 2
    assert "one program at a time" in capsys.readouterr().err


def test_what_is_no_program_is_told_with_the_file(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "p.tar").write_bytes(b"nothing")
    assert run(["program", "add", "p.tar"]) == 2
    assert "p.tar: this is not a tar archive" in capsys.readouterr().err
    assert run(["program", "rm", "auction"]) == 2
    assert "programs that come along cannot be removed" in capsys.readouterr().err


def test_help_and_listing_name_what_comes_along(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["program", "list"]) == 0
    assert f"{AUCTION.sha256[:16]}  comes along  second_price_auction" in capsys.readouterr().out
