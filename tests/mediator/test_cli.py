"""The command line: what it teaches, what it refuses, and in which words."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mediator.cli import cli
from mediator.config import DEFAULT_STUN_PORTS, Config, Limits, load
from mediator.errors import ConfigError


@pytest.mark.parametrize("command", [(), ("run",), ("show",)])
def test_help_teaches_with_examples_and_exit_codes(command: tuple[str, ...]) -> None:
    text = call(*command, "--help").output
    assert "Examples:" in text
    assert "Exit codes:" in text


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
def test_a_wrong_setting_is_named_in_one_sentence(arguments: tuple[str, ...], words: str) -> None:
    outcome = call("run", *arguments)
    assert outcome.exit_code == 2
    [sentence, *hint] = outcome.stderr.splitlines()
    assert sentence.startswith("mediator: ")
    assert words in sentence
    assert all(line.startswith("mediator: hint: ") for line in hint)


def test_show_without_a_mediator_says_so(tmp_path: Path) -> None:
    outcome = call("show", "--data", str(tmp_path / "none.db"))
    assert (outcome.exit_code, outcome.stdout) == (1, "")
    assert "there is no such file" in outcome.stderr
    assert not (tmp_path / "none.db").exists()


def test_show_of_something_else_says_so(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("not a data file" * 100)
    outcome = call("show", "--data", str(other))
    assert outcome.exit_code == 1
    assert "not a database" in outcome.stderr


def test_flags_go_before_the_file_and_the_file_before_defaults(tmp_path: Path) -> None:
    file = tmp_path / "mediator.toml"
    file.write_text(
        'listen = "127.0.0.1:1"\ndata = "here.db"\nstun_ports = [5]\n'
        'public_url = "https://x/"\n[limits]\ninbox_messages = 7\n'
    )
    config = load(file, {"listen": "[::1]:2", "data": None})
    assert config == Config(Path("here.db"), "::1", 2, "https://x", (5,), Limits(inbox_messages=7))
    assert load(None, {"data": "x"}) == Config(
        Path("x"), "127.0.0.1", 8080, None, DEFAULT_STUN_PORTS, Limits()
    )


@pytest.mark.parametrize(
    "text",
    [
        "lisen = 'x'",
        "listen = ",
        "[limits]\nnonsense = 1",
        "[limits]\nenvelope = 0",
        "limits = 3",
        "[limits]\nenvelope = 2000000",
        "stun_ports = 3",
        "data = 3",
    ],
)
def test_a_mistake_in_the_file_is_an_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mediator.toml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        load(file, {})


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)
