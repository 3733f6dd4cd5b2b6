"""What other parties, mediators and programs write, on its way to a person or to the others."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from agent import cli
from agent.commands.verify import _words
from agent.errors import AgentError
from agent.explain import explain, report
from agent.launch.adapters import Launch
from agent.launch.manifest import Timeouts
from agent.output import print_json
from agent.plain import plain
from agent.report import JsonReport, PlainReport
from agent.session.runner import ProgramFailed, run_program
from agent.session.transcript import PartyRecord, Verdict

HOSTILE = "\x1b[2J\x1b]0;owned\x07\u009b31m\u202e\r\nagent: all is well"


def is_harmless(shown: str) -> bool:
    return all(line.isprintable() for line in shown.split("\n")) and "\nagent: all" not in shown


def test_plain_words_stay_as_they_are_and_others_are_spelled_out() -> None:
    assert plain("lost party1: “kein Wort” für 4 s …") == "lost party1: “kein Wort” für 4 s …"
    assert plain("a\x1bb\u009bc\u202ed\n") == "a\\x1bb\\x9bc\\u202ed\\n"


def test_what_others_say_moves_no_cursor_while_a_session_runs() -> None:
    progress, result = io.StringIO(), io.StringIO()
    told = PlainReport(progress, result)
    told.event("step", name="mail", text=HOSTILE)
    told.event("error", text=HOSTILE, hint=None, exit_code=1)
    shown = progress.getvalue()
    assert is_harmless(shown)
    assert shown.count("\n") == 2


def test_lines_for_programs_stay_one_line_each_and_ascii() -> None:
    stream = io.StringIO()
    JsonReport(stream).event("error", text=HOSTILE)
    assert stream.getvalue().isascii()
    assert stream.getvalue().count("\n") == 1
    assert json.loads(stream.getvalue())["text"] == HOSTILE


def test_json_for_programs_is_safe_to_look_at(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"problem": HOSTILE})
    assert is_harmless(capsys.readouterr().out)


def test_errors_that_repeat_others_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    explanation = explain(AgentError(f"the mediator refused: {HOSTILE}", HOSTILE))
    assert explanation is not None
    report(explanation, as_json=True)
    shown = capsys.readouterr()
    assert is_harmless(shown.err)
    assert is_harmless(shown.out)


def test_a_transcript_shows_nothing_but_its_words() -> None:
    party = PartyRecord("did:key:z", agreed=True, ready=True, result=HOSTILE, aborted=HOSTILE)
    verdict = Verdict("ab" * 32, HOSTILE, HOSTILE, (party, party), ((0, 1),), 0)
    assert is_harmless(_words(verdict, 1, ()))
    assert is_harmless(_words(verdict, 2, (HOSTILE,)))


def test_logs_show_nothing_but_their_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    before = root.level
    try:
        cli._log(1)
        logging.getLogger("agent.mail").info("no live delivery: %s", HOSTILE)
    finally:
        root.setLevel(before)
    shown = capsys.readouterr().err
    assert "no live delivery" in shown
    assert all(line.isprintable() for line in shown.split("\n"))


class Bare:
    """Starts programs where we are: what the network helper does, without a namespace."""

    async def launch(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        stdin: int,
        stdout: int,
        stderr: int,
    ) -> Bare:
        self.process = subprocess.Popen(
            argv, env=dict(env), cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr
        )
        return self

    async def wait(self) -> int:
        return await asyncio.to_thread(self.process.wait)

    def kill(self) -> None:
        self.process.kill()


async def test_what_a_program_writes_as_it_dies_stays_with_its_user(tmp_path: Path) -> None:
    """The reason for an end is signed and goes to all parties; a bid has no place in it."""
    dying = "import os,sys; print('no luck with bid 150', file=sys.stderr, flush=True); os._exit(3)"
    launch = Launch((sys.executable, "-c", dying), {}, {}, b"")
    steps: list[str] = []
    with pytest.raises(ProgramFailed) as failed:
        await run_program(
            Bare(),  # type: ignore[arg-type]
            launch,
            tmp_path,
            Timeouts(start=20, lost=8, run=20),
            lambda _, text: steps.append(text),
        )
    assert str(failed.value) == "it ended with exit code 3"
    assert any("bid 150" in step for step in steps)
