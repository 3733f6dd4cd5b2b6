"""What every command prints with --json: the members and their kinds, which programs rely on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from agent.cli import COMMANDS, group, run
from agent.contacts import Contacts
from tests.support.launched import write_program
from tests.support.sessions import transcripts

ROOT = Path(__file__).parents[2]
BOB = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
CARD = {"profile": "str", "did": "str", "mediator": "NoneType", "registered": "bool"}
PROGRAM = {"name": "str", "sha256": "str"}
VERDICT = {
    "session": "str",
    "epoch": "int",
    "program": PROGRAM,
    "complete": "bool",
    "verdict": "str",
    "false_statements": "int",
    "parties": [
        {
            "party": "str",
            "did": "str",
            "agreed": "bool",
            "ready": "bool",
            "result_sha256": "str",
            "aborted": "NoneType",
        }
    ],
    "earlier": [],
}
DESCRIBED = {
    **PROGRAM,
    "title": "str",
    "approved": "bool",
    "adapter": "str",
    "entry": "str",
    "parties": {"min": "int", "max": "int"},
    "roles": [{"name": "str", "seats": "int", "inputs": ["str"]}],
    "inputs": [{"name": "str", "title": "str", "min": "int", "max": "int"}],
    "opens": [{"what": "str", "to": ["str"]}],
    "files": [{"name": "str", "size": "int"}],
    "changes": "NoneType",
}
ROW = {**PROGRAM, "title": "str", "comes_along": "bool", "approved": "bool"}

# In this order: what is added by one is there for the next.
FACTS: list[tuple[list[str], Any]] = [
    (["create-did", "--unencrypted"], {**CARD, "created": "bool"}),
    (["show"], CARD),
    (
        ["status"],
        {
            "version": "int",
            "profile": "str",
            "did": "str",
            "mediator": "NoneType",
            "sessions": [],
        },
    ),
    (
        ["contacts", "list"],
        {
            "contacts": [{"name": "str", "did": "str", "verified": "bool", "former": []}],
            "met": [{"did": "str", "called": "str"}],
        },
    ),
    (["contacts", "verify", "bob"], {"name": "str", "words": "str", "verified": "bool"}),
    (
        ["vouch", "bob"],
        {"vouch": "str", "issuer": "str", "subject": "str", "name": "str", "until": "int"},
    ),
    (["program", "add", "p"], {**PROGRAM, "new": "bool"}),
    (["program", "approve", "probe"], {**PROGRAM, "approved": "bool"}),
    (["program", "list"], [ROW]),
    (["program", "show", "private_match"], DESCRIBED),
    (
        ["allow", "probe", "--with", "bob"],
        [{"program": "str", "sha256": "str", "parties": ["str"], "until": "int"}],
    ),
    (["program", "rm", "probe"], {**PROGRAM, "removed": "bool"}),
    (["verify", "0.json"], {**VERDICT, "differences": []}),
]
ELSEWHERE = {
    ("bundle",): "tests/agent/test_bundle.py",
    ("doctor",): "tests/agent/test_doctor.py",
    ("host",): "tests/lab/test_lobby.py",
    ("join",): "tests/lab/test_lobby.py",
    ("netcheck",): "tests/lab/test_netcheck.py",
    ("ping",): "tests/agent/test_watching.py",
    ("resolve",): "tests/agent/test_cli.py",
    ("run",): "tests/support/internet.py",
    ("ui",): "tests/agent/page/test_opening.py",
    ("wait",): "tests/agent/test_watching.py",
}


def test_the_members_of_what_is_printed_stay_what_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DIDMESH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    write_program(tmp_path / "p", "pass")
    (tmp_path / "0.json").write_text(json.dumps(transcripts()[0]))
    contacts = Contacts(tmp_path / "home")
    contacts.name(BOB, "bob")
    contacts.meet({"did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp": "carol"})
    for words, expected in FACTS:
        run([*words, "--json"])
        [line] = capsys.readouterr().out.splitlines()
        assert shape(json.loads(line)) == expected, words


def test_no_command_prints_facts_that_no_test_knows() -> None:
    known = {tuple(words[: 2 if words[0] in ("contacts", "program") else 1]) for words, _ in FACTS}
    assert known | {*ELSEWHERE} == {*with_json(group, ())}
    for words, test in ELSEWHERE.items():
        text = (ROOT / test).read_text()
        assert "--json" in text, test
        assert f'"{words[0]}"' in text, test


def with_json(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(command, click.Group):
        for name in COMMANDS if command is group else command.list_commands(None):  # type: ignore[arg-type]
            found = command.get_command(None, name)  # type: ignore[arg-type]
            assert found is not None
            yield from with_json(found, (*words, name))
    elif any(option.name == "as_json" for option in command.params):
        yield words


def shape(value: Any) -> Any:
    """The kinds of a JSON value's members; a list is as its first member is."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    if isinstance(value, list):
        return [shape(member) for member in value[:1]]
    return type(value).__name__
