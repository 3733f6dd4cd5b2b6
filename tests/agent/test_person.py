"""The person at the terminal: answers go to questions, other lines are words, nobody is nobody."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from agent.person import Person, person_for


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A descriptor whose bytes the agent reads as its standard input: a terminal's."""
    master, slave = os.openpty()
    with os.fdopen(slave, "r") as terminal:
        # Not in `sys` itself, where pytest puts its own between a fixture and its test.
        monkeypatch.setattr("agent.person.sys", SimpleNamespace(stdin=terminal, stderr=terminal))
        yield master
    os.close(master)


async def test_an_answer_goes_to_the_question_and_other_lines_are_words(keyboard: int) -> None:
    async with Person() as person:
        assert person.is_there
        os.write(keyboard, b"lock\n")
        assert await asyncio.wait_for(person.word(), 5) == "lock"
        asking = asyncio.create_task(person.agrees("Let bob in?", "admit"))
        await asyncio.sleep(0.05)
        os.write(keyboard, b"perhaps\n")
        await asyncio.sleep(0.05)
        assert not asking.done()
        os.write(keyboard, b"n\n")
        assert await asyncio.wait_for(asking, 5) is False


@pytest.mark.parametrize(("typed", "meant"), [("\n", True), ("YES\n", True), ("no\n", False)])
async def test_yes_no_and_nothing(keyboard: int, typed: str, meant: bool) -> None:
    async with Person() as person:
        asking = asyncio.create_task(person.agrees("Knock?", "knock"))
        await asyncio.sleep(0.05)
        os.write(keyboard, typed.encode())
        assert await asyncio.wait_for(asking, 5) is meant


async def test_words_of_strangers_move_no_cursor_in_a_question(
    keyboard: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Person() as person:
        asking = asyncio.create_task(person.agrees("Let \x1b[2Jbob\u202e in?", "admit"))
        await asyncio.sleep(0.05)
        shown = capsys.readouterr().err
        assert "bob" in shown
        assert "\x1b" not in shown
        asking.cancel()


async def test_nobody_is_there_when_input_is_a_pipe_that_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb", buffering=0) as pipe:
        monkeypatch.setattr("agent.person.sys", SimpleNamespace(stdin=pipe, stderr=sys.stderr))
        async with Person() as person:
            assert not person.is_there
            os.write(write, b"start\n")
            os.close(write)
            assert await asyncio.wait_for(person.word(), 5) == "start"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(person.word(), 0.1)


class Told:
    """A report that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def event(self, kind: str, /, **facts: Any) -> None:
        self.events.append((kind, facts))


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """What a program that asks for us writes to."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "r") as end:
        monkeypatch.setattr("agent.person.sys", SimpleNamespace(stdin=end, stderr=end))
        yield writing
    with contextlib.suppress(OSError):
        os.close(writing)


async def test_questions_are_events_and_answers_name_them(pipe: int) -> None:
    report = Told()
    async with person_for(report, answers=True) as person:
        bob = asyncio.create_task(person.agrees("Let bob in?", "admit", did="did:b"))
        words = asyncio.create_task(person.agrees("The same?", "phrase", words="a b c d"))
        await asyncio.sleep(0.05)
        asked = [facts for kind, facts in report.events if kind == "question"]
        assert [(one["kind"], one["question"]) for one in asked] == [("admit", 1), ("phrase", 2)]
        os.write(pipe, b'{"question": 2, "answer": "no"}\n{"say": "lock"}\n')
        assert await asyncio.wait_for(words, 5) is False
        assert await asyncio.wait_for(person.word(), 5) == "lock"
        assert not bob.done()
        os.write(pipe, b'{"question": 1, "answer": "yes"}\n')
        assert await asyncio.wait_for(bob, 5) is True
    assert [facts["question"] for kind, facts in report.events if kind == "answered"] == [2, 1]


@pytest.mark.parametrize(
    "line",
    [
        b"yes",
        b"",
        b"null",
        b"[1]",
        b'{"answer": "yes"}',
        b'{"question": 7, "answer": "yes"}',
        b'{"question": 1, "answer": true}',
        b'{"question": "1", "answer": "yes"}',
        b'{"question": 1, "answer": "\xff',
        b"[" * 4000,
    ],
    ids=repr,
)
async def test_what_answers_no_question_agrees_to_nothing(pipe: int, line: bytes) -> None:
    async with person_for(Told(), answers=True) as person:
        asking = asyncio.create_task(person.agrees("Let bob in?", "admit"))
        await asyncio.sleep(0.02)
        os.write(pipe, line + b"\n")
        await asyncio.sleep(0.02)
        assert not asking.done()
        asking.cancel()


@pytest.mark.parametrize("answer", ["", "y", "Yes", "no", "yes "])
async def test_only_a_clear_yes_of_a_program_is_one(pipe: int, answer: str) -> None:
    async with person_for(Told(), answers=True) as person:
        asking = asyncio.create_task(person.agrees("Let bob in?", "admit"))
        await asyncio.sleep(0.02)
        os.write(pipe, json.dumps({"question": 1, "answer": answer}).encode() + b"\n")
        assert await asyncio.wait_for(asking, 5) is False


async def test_a_program_that_goes_away_hangs_up(pipe: int) -> None:
    hung_up = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, hung_up.set)
    try:
        async with person_for(Told(), answers=True):
            os.close(pipe)
            await asyncio.wait_for(hung_up.wait(), 5)
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
