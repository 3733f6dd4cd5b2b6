"""The person at the terminal: answers go to questions, other lines are words, nobody is nobody."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from agent.person import Person


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
        asking = asyncio.create_task(person.agrees("Let bob in?"))
        await asyncio.sleep(0.05)
        os.write(keyboard, b"perhaps\n")
        await asyncio.sleep(0.05)
        assert not asking.done()
        os.write(keyboard, b"n\n")
        assert await asyncio.wait_for(asking, 5) is False


@pytest.mark.parametrize(("typed", "meant"), [("\n", True), ("YES\n", True), ("no\n", False)])
async def test_yes_no_and_nothing(keyboard: int, typed: str, meant: bool) -> None:
    async with Person() as person:
        asking = asyncio.create_task(person.agrees("Knock?"))
        await asyncio.sleep(0.05)
        os.write(keyboard, typed.encode())
        assert await asyncio.wait_for(asking, 5) is meant


async def test_words_of_strangers_move_no_cursor_in_a_question(
    keyboard: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Person() as person:
        asking = asyncio.create_task(person.agrees("Let \x1b[2Jbob\u202e in?"))
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
