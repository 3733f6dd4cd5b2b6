"""`agent verify`: one verdict from one or several parties' transcripts, without a network."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agent.cli import group
from agent.errors import AgentError
from tests.support.sessions import transcripts


def verify(folder: Path, *transcripts: dict[str, Any], words: tuple[str, ...] = ()) -> Result:
    names = []
    for number, transcript in enumerate(transcripts):
        path = folder / f"{number}.json"
        path.write_text(json.dumps(transcript))
        names.append(str(path))
    return CliRunner().invoke(group, ["verify", *names, *words])


def test_equal_transcripts_of_a_complete_session_are_told_as_that(tmp_path: Path) -> None:
    done = verify(tmp_path, *transcripts())
    assert done.exit_code == 0
    assert "all 3 transcripts are equal" in done.output
    assert done.output.splitlines()[-1].startswith("complete: every party agreed")


def test_what_one_lacks_is_named_and_the_others_make_up_for_it(tmp_path: Path) -> None:
    one, two, _ = transcripts()
    one["statements"] = one["statements"][:-1]
    done = verify(tmp_path, one, two, words=("--json",))
    told = json.loads(done.output)
    assert done.exit_code == 1
    assert told["complete"]
    assert told["differences"] == [f"{tmp_path / '0.json'} lacks the result of party2"]


def test_a_forged_statement_in_any_of_them_is_exit_code_5(tmp_path: Path) -> None:
    one, two, three = transcripts()
    header, content, _ = two["statements"][0].split(".")
    two["statements"][0] = f"{header}.{content}.{three['statements'][1].split('.')[2]}"
    done = verify(tmp_path, one, two, three)
    assert done.exit_code == 5
    assert f"{tmp_path / '1.json'} holds statements that do not verify" in done.output
    assert done.output.splitlines()[-1].startswith("forged: 1 ")
    told = json.loads(verify(tmp_path, one, two, words=("--json",)).output)
    assert (told["complete"], told["false_statements"]) == (False, 1)
    assert verify(tmp_path, two).exit_code == 5


def test_transcripts_of_two_sessions_are_not_compared(tmp_path: Path) -> None:
    done = verify(tmp_path, transcripts()[0], transcripts()[0])
    assert isinstance(done.exception, AgentError)
    assert "1.json is of another session than" in str(done.exception)


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '{"didmesh_transcript": 1}'])
def test_what_is_no_transcript_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    done = CliRunner().invoke(group, ["verify", str(path)])
    assert isinstance(done.exception, AgentError)
    assert "x.json is not a transcript" in str(done.exception)
