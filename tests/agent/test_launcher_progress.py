"""The lines of a launcher, for people and for the agent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.launchers.progress import Event, Progress, parse_progress


@pytest.mark.parametrize(
    ("line", "progress"),
    [
        ("didmesh: started", Progress(Event.STARTED)),
        ("didmesh: connected 2/2 party=1", Progress(Event.CONNECTED, (2, 2), {"party": "1"})),
        (
            "didmesh: failed code=11; the connection to party 1 ended too early",
            Progress(
                Event.FAILED,
                fields={"code": "11"},
                sentence="the connection to party 1 ended too early",
            ),
        ),
    ],
)
def test_a_line_says_what_is_documented(line: str, progress: Progress) -> None:
    assert progress.serialize() == line
    assert parse_progress(line + "\n") == progress


@pytest.mark.parametrize(
    "line",
    ["", "started", "didmesh: ", "didmesh: exploded", " didmesh: started", "didmesh: started x"],
)
def test_other_lines_are_the_programs_own(line: str) -> None:
    assert parse_progress(line) is None


@given(st.text() | st.text().map("didmesh: failed {}".format))
def test_no_line_crashes_the_parser(line: str) -> None:
    progress = parse_progress(line)
    assert progress is None or progress.event in list(Event)
