"""The command line: what it teaches, what it refuses, and in which words."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mediator.cli import COMMANDS, group, run


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Call = Callable[..., Outcome]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def run_it(*arguments: str) -> Outcome:
        code = run(arguments)
        return Outcome(code, *capsys.readouterr())

    return run_it


def test_help_names_every_command_and_every_one_is_there(call: Call) -> None:
    shown = call("--help").out
    for name, words in COMMANDS.items():
        assert f"  {name} " in shown
        assert words in shown
        assert group.get_command(None, name) is not None  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_help_teaches_with_examples_and_exit_codes(call: Call, name: str | None) -> None:
    text = call(*([name] if name else []), "--help").out
    assert f"mediator {name or 'run'}" in text.split("Examples:")[1]
    assert "Exit codes:" in text


def test_help_imports_no_command_and_nothing_heavy() -> None:
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mediator", "--help"],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    for name in ("mediator.commands", "mediator.app", "aiohttp", "cryptography"):
        assert name not in loaded


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--listen", "nonsense"), "listen is HOST:PORT"),
        (("--listen", "127.0.0.1:99999"), "99999 is not a port"),
        (("--listen", "0.0.0.0:8080"), "clients cannot reach 0.0.0.0"),
        (("--public-url", "ftp://x"), "public_url is http"),
        (("--public-url", "http://x/?a"), "scheme, host and path only"),
        (("--stun-port", "-1"), "-1 is not a port"),
        (("--config", "/nowhere.toml"), "cannot read /nowhere.toml"),
    ],
)
def test_a_wrong_setting_is_named_in_one_sentence(
    call: Call, arguments: tuple[str, ...], words: str
) -> None:
    outcome = call("run", *arguments)
    assert outcome.code == 2
    [sentence, *hint] = outcome.err.splitlines()
    assert sentence.startswith("mediator: ")
    assert words in sentence
    assert all(line.startswith("mediator: hint: ") for line in hint)


def test_show_without_a_mediator_says_so(call: Call, tmp_path: Path) -> None:
    outcome = call("show", "--data", str(tmp_path / "none.db"))
    assert (outcome.code, outcome.out) == (1, "")
    assert "there is no such file" in outcome.err
    assert not (tmp_path / "none.db").exists()


def test_what_went_wrong_is_json_where_json_is_asked_for(call: Call, tmp_path: Path) -> None:
    told = json.loads(call("show", "--json", "--data", str(tmp_path / "none.db")).out)
    assert told.keys() == {"error", "hint", "exit_code"}
    assert told["exit_code"] == 1


def test_show_of_something_else_says_so(call: Call, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("not a data file" * 100)
    outcome = call("show", "--data", str(other))
    assert outcome.code == 1
    assert "not a database" in outcome.err
