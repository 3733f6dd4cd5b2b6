"""Which sandbox a program gets; the ways out of it are tried in tests/lab/test_sandbox.py."""

from pathlib import Path

import pytest

from agent import sandboxing
from agent.launch.sandbox import INSIDE, WORDS, Level, Sandbox, System

WORK = Path("/var/party")


def test_without_bubblewrap_limits_are_what_is_left() -> None:
    sandbox = Sandbox(None)
    assert sandbox.level is Level.B
    assert sandbox.home(WORK) == WORK
    words = sandbox.wrap(("true",), WORK, 60)
    assert words[:4] == ("choom", "-n", "1000", "--")
    assert "--cpu=60" in words
    assert not [word for word in words if word.startswith("--nproc")]


def test_in_bubblewrap_only_the_programs_files_are_added_to_the_system() -> None:
    sandbox = Sandbox(System("/usr/bin/bwrap", {"/lib": "usr/lib"}, ("/usr",)))
    assert sandbox.level is Level.A
    assert sandbox.home(WORK) == INSIDE
    words = sandbox.wrap(("true",), WORK, 60)
    shown = [words[at + 1] for at, word in enumerate(words) if word == "--ro-bind"]
    assert shown == ["/usr", "/var/party/program"]
    assert "--bind" not in words
    assert words[-1] == "true"


def test_no_home_is_shown_but_what_python_and_our_launchers_need() -> None:
    shown = set(sandboxing._system("/usr/bin/bwrap").shown)
    package = Path(sandboxing.__file__).parent
    assert {str(package / "__init__.py"), str(package / "launchers")} <= shown
    assert not {str(Path.home()), "/home", "/root", "/etc", "/", "/run", "/tmp"} & shown


@pytest.mark.parametrize("script", ["exit 1", "sleep 9", None])
def test_bubblewrap_that_does_not_work_is_not_relied_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None
) -> None:
    if script is not None:
        (tmp_path / "bwrap").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setattr(sandboxing, "_PATH", f"{tmp_path}:/bin")
    monkeypatch.setattr(sandboxing, "SECONDS_TO_PROBE", 1.0)
    monkeypatch.setattr(sandboxing.shutil, "which", lambda _, path: str(tmp_path / "bwrap"))
    assert sandboxing.find_sandbox().level is Level.B


def test_each_level_is_told_in_its_own_words() -> None:
    assert WORDS[Level.A] != WORDS[Level.B]
    assert "can read your files" in WORDS[Level.B]
