"""A transcript proves what its parties signed, and nothing that they did not."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.session.statements import Kind
from agent.session.transcript import (
    NotATranscript,
    Record,
    Verdict,
    check,
    roster_of,
    to_json,
)
from tests.support.sessions import finish, make_parties, running

PARTIES = make_parties(3)
DOCUMENTS = {party.did: party.document for party in PARTIES}


def complete() -> dict[str, Any]:
    found = running(PARTIES)
    finish(found, "aa", "aa", "aa")
    machine = found.machine(0)
    return json.loads(
        json.dumps(to_json([Record(machine.descriptor.content, machine.statements())]))
    )


def verdict(record: dict[str, Any]) -> Verdict:
    return check(record, DOCUMENTS)


COMPLETE = complete()


def changed(**fields: Any) -> dict[str, Any]:
    return {**copy.deepcopy(COMPLETE), **fields}


def test_a_session_that_went_well_verifies() -> None:
    found = verdict(COMPLETE)
    assert found.complete
    assert [party.result for party in found.parties] == ["aa"] * 3


def test_every_party_keeps_the_same_record() -> None:
    found = running(PARTIES)
    finish(found, "aa", "aa", "aa")
    records = [
        to_json([Record(machine.descriptor.content, machine.statements())])
        for machine in found.machines.values()
    ]
    assert records[0] == records[1] == records[2]


def test_a_missing_statement_makes_it_incomplete() -> None:
    assert not verdict(changed(statements=COMPLETE["statements"][:-1])).complete


def test_a_foreign_statement_is_counted_as_false() -> None:
    other = complete()["statements"][0]
    found = verdict(changed(statements=[*COMPLETE["statements"], other]))
    assert found.false_statements == 1
    assert not found.complete


def test_different_results_are_named() -> None:
    found = running(PARTIES)
    finish(found, "aa", "bb", "aa")
    machine = found.machine(0)
    assert (
        verdict(to_json([Record(machine.descriptor.content, machine.statements())])).summary()
        == "party0 and party1 learn the same and signed different results"
    )


def test_who_stopped_and_why_is_in_the_record() -> None:
    found = running(PARTIES)
    found.machine(0).stop("lost party2", found.now, party=PARTIES[2].did)
    machine = found.machine(0)
    assert (
        "party0 said: lost party2"
        in verdict(to_json([Record(machine.descriptor.content, machine.statements())])).summary()
    )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("session",), "0" * 64),
        (("descriptor", "threshold"), 0),
        (("descriptor", "parties", 0), PARTIES[1].did),
        (("descriptor", "nonces", 0), "A" * 43),
        (("descriptor", "program", "sha256"), "cd" * 32),
        (("statements",), "none"),
        (("didmesh_transcript",), 2),
    ],
)
def test_a_changed_transcript_is_none(path: tuple[Any, ...], value: Any) -> None:
    record = copy.deepcopy(COMPLETE)
    place: Any = record
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(NotATranscript):
        verdict(record)


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
    )
)
def test_no_json_crashes_the_reader(content: Any) -> None:
    with pytest.raises(NotATranscript):
        roster_of(content)


def test_statements_of_one_kind_are_not_taken_for_another() -> None:
    found = verdict(changed(statements=COMPLETE["statements"][:1]))
    assert found.parties[0].agreed
    assert not found.parties[0].ready


@pytest.mark.parametrize("equal_last", [True, False])
def test_who_signed_two_results_is_named_whichever_stands_last(equal_last: bool) -> None:
    """An insider may tell each party what it wants to hear; put together, it shows."""
    other = PARTIES[2].speaker.say(Kind.RESULT, COMPLETE["session"], 2, 9, {"sha256": "bb"}).text
    theirs = COMPLETE["statements"]
    record = changed(statements=[other, *theirs] if equal_last else [*theirs, other])
    assert not verdict(record).complete
    assert verdict(record).summary() == "party2 signed different results"
    assert verdict(changed(statements=[*theirs, *theirs])).complete
