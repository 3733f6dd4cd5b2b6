"""A statement is believed only from the party that signed it, about the session it names."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.session.statements import (
    MAX_STATEMENT,
    MAX_WORDS,
    FalseStatement,
    Kind,
    clip,
    verify,
)
from identity.codec import b64url_decode, b64url_encode
from messaging.jws import sign_compact
from tests.support.sessions import make_parties

PARTIES = make_parties(3)
DOCUMENTS = {rank: party.document for rank, party in enumerate(PARTIES)}
SESSION = "ab" * 32


def said(rank: int = 1, by: int = 1) -> str:
    return PARTIES[by].speaker.say(Kind.READY, SESSION, rank, 1_900_000_000, {}).text


def test_what_was_said_is_read_back() -> None:
    statement = verify(said(), DOCUMENTS)
    assert (statement.kind, statement.session, statement.rank) == (Kind.READY, SESSION, 1)


def test_a_statement_fits_a_datagram_of_the_mesh() -> None:
    longest = PARTIES[0].speaker.say(Kind.ABORT, SESSION, 0, 1_900_000_000, {"reason": "x" * 300})
    assert len(longest.text) < MAX_STATEMENT


def _with_payload(text: str, old: bytes, new: bytes) -> str:
    header, payload, signature = text.split(".")
    return ".".join((header, b64url_encode(b64url_decode(payload).replace(old, new)), signature))


@pytest.mark.parametrize(
    "forged",
    [
        said(rank=1, by=2),
        said(rank=7, by=1),
        said()[:-4] + "AAAA",
        _with_payload(said(), b'"ready"', b'"agree"'),
        _with_payload(said(), SESSION.encode(), b"cd" * 32),
        _with_payload(said(), b'"rank":1', b'"rank":0'),
        said().replace(".", "", 1),
        said() + " " * MAX_STATEMENT,
        "",
        "..",
    ],
    ids=[
        "another party's key",
        "a rank that nobody has",
        "another signature",
        "another kind",
        "another session",
        "another rank",
        "two parts",
        "too long",
        "empty",
        "only dots",
    ],
)
def test_a_forged_statement_is_refused(forged: str) -> None:
    with pytest.raises(FalseStatement):
        verify(forged, DOCUMENTS)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda b: b64url_encode(b) + ".e30."))
def test_no_text_crashes_the_verification(text: str) -> None:
    with pytest.raises(FalseStatement):
        verify(text, DOCUMENTS)


@given(st.integers(0, 400), st.characters(codec="ascii"))
def test_no_changed_character_is_believed(position: int, character: str) -> None:
    text = said()
    changed = text[:position] + character + text[position + 1 :]
    if changed != text and position < len(text) - 1:
        with pytest.raises(FalseStatement):
            verify(changed, DOCUMENTS)


@pytest.mark.parametrize(
    ("name", "value"),
    [("time", True), ("time", -1), ("time", 10**20), ("time", 2**53), ("time", 1.5)],
)
def test_a_time_that_is_none_makes_no_statement(name: str, value: object) -> None:
    assert verify(signed(**{name: 1_900_000_000}), DOCUMENTS).time == 1_900_000_000
    with pytest.raises(FalseStatement):
        verify(signed(**{name: value}), DOCUMENTS)


def test_true_is_nobodys_rank() -> None:
    with pytest.raises(FalseStatement):
        verify(signed(rank=True), DOCUMENTS)


def signed(**changes: object) -> str:
    """A party's own signature over what an honest one would not say."""
    content = {
        "kind": "ready",
        "session": SESSION,
        "rank": 1,
        "time": 1,
        "facts": {},
        "epoch": 0,
        **changes,
    }
    return sign_compact(json.dumps(content).encode(), PARTIES[1].key, "#key-2")


@given(st.text())
def test_a_reason_of_any_characters_fits_a_statement(reason: str) -> None:
    text = PARTIES[0].speaker.say(Kind.ABORT, SESSION, 0, 2**53 - 1, _abort(reason * 50)).text
    assert verify(text, DOCUMENTS).facts["reason"].isprintable()


def test_the_longest_reasons_fit_a_statement() -> None:
    for character in ("x", '"', "\\", "é", "\U0001f600", "\x1b"):
        text = PARTIES[0].speaker.say(Kind.ABORT, SESSION, 0, 1, _abort(character * 400)).text
        assert len(verify(text, DOCUMENTS).facts["reason"].encode()) >= MAX_WORDS // 2 - 4


def _abort(reason: str) -> dict[str, object]:
    return {"reason": clip(reason), "about": 63}
