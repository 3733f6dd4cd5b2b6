"""The transcripts on the disk say with whom we computed last."""

import json
import os
from pathlib import Path

import pytest

from agent.errors import UsageMistake
from agent.session.records import last_others

ME, BOB, CAROL = "did:example:me", "did:example:bob", "did:example:carol"


def test_the_last_session_of_ours_names_the_others_in_their_order(tmp_path: Path) -> None:
    keep(tmp_path, "a", 1, [ME, CAROL])
    keep(tmp_path, "b", 3, [BOB, ME, CAROL])
    keep(tmp_path, "c", 2, [BOB, ME])
    keep(tmp_path, "d", 4, [BOB, CAROL])
    assert last_others(tmp_path, ME) == (BOB, CAROL)


def test_what_is_no_transcript_is_passed_over(tmp_path: Path) -> None:
    keep(tmp_path, "a", 1, [ME, CAROL])
    for number, text in enumerate(("", "[]", '{"descriptor": 1}', '{"descriptor": {}}')):
        path = tmp_path / "transcripts" / f"x{number}.json"
        path.write_text(text)
    assert last_others(tmp_path, ME) == (CAROL,)


def test_without_a_session_there_is_nothing_to_repeat(tmp_path: Path) -> None:
    with pytest.raises(UsageMistake, match="nobody yet"):
        last_others(tmp_path, ME)


def keep(folder: Path, name: str, at: int, parties: list[str]) -> None:
    path = folder / "transcripts" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"descriptor": {"parties": parties}}))
    os.utime(path, (at, at))
