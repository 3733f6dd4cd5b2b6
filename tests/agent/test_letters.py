"""Bookkeeping of letters, without a mediator."""

from __future__ import annotations

from agent.mail.letters import MAX_DOUBLES, REMEMBERED, Letters


def test_a_double_shares_the_fate_of_the_first() -> None:
    letters = Letters()
    letter = letters.admit("did:a", "1", "q1")
    assert letter is not None
    assert letters.admit("did:a", "1", "q2") is None
    assert letters.to_acknowledge(10) == ()
    letters.acknowledge(letter)
    assert letters.to_acknowledge(10) == ("q1", "q2")


def test_a_double_of_an_acknowledged_letter_is_acknowledged_at_once() -> None:
    letters = Letters()
    letter = letters.admit("did:a", "1", "q1")
    assert letter is not None
    letters.acknowledge(letter)
    letters.acknowledged(("q1",))
    assert letters.admit("did:a", "1", "q2") is None
    assert letters.to_acknowledge(10) == ("q2",)


def test_nobody_else_can_spoil_the_id_of_a_letter() -> None:
    letters = Letters()
    assert letters.admit("did:mallory", "1", "q1") is not None
    assert letters.admit(None, "1", "q2") is not None
    assert letters.admit("did:a", "1", "q3") is not None


def test_what_nobody_read_comes_again() -> None:
    letters = Letters()
    letter = letters.admit("did:a", "1", "q1")
    assert letter is not None
    letters.forget(letter)
    assert not letters.seen("q1")
    assert letters.admit("did:a", "1", "q1") is not None


def test_acknowledgements_stay_until_the_mediator_has_them() -> None:
    letters = Letters()
    for number in range(5):
        letters.discard(f"q{number}")
    assert letters.to_acknowledge(2) == ("q0", "q1")
    assert letters.to_acknowledge(2) == ("q0", "q1")
    letters.acknowledged(("q0", "q1"))
    assert letters.to_acknowledge(10) == ("q2", "q3", "q4")


def test_memory_is_bounded_whatever_arrives() -> None:
    letters = Letters()
    first = letters.admit("did:a", "0", "q0")
    assert first is not None
    for number in range(REMEMBERED):
        letters.admit("did:a", "same", f"double{number}")
        letters.admit("did:a", f"{number}+", f"q{number}+")
    assert not letters.seen("q0")
    assert len(letters._seen) <= REMEMBERED
    assert len(letters._letters) <= REMEMBERED


def test_doubles_beyond_a_few_are_let_go_at_once() -> None:
    letters = Letters()
    letter = letters.admit("did:a", "1", "q")
    assert letter is not None
    for number in range(MAX_DOUBLES + 4):
        letters.admit("did:a", "1", f"d{number}")
    assert len(letter.attachment_ids) == MAX_DOUBLES
    assert len(letters.to_acknowledge(100)) == 5
