"""`agent ui` opens the page without telling other users of the machine where it is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from agent.cli import run
from agent.commands import ui

URL = "http://127.0.0.1:4711/#a-token"


def test_the_browsers_arguments_hold_no_token_but_a_file_that_is_ours_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opener = tmp_path / "xdg-open"
    opener.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/called\n')
    opener.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with ui.way_in(URL) as file:
        process = ui.open_browser(file)
        assert process is not None
        assert process.wait(30) == 0
        assert (tmp_path / "called").read_text().strip() == str(file)
        assert "a-token" not in str(file)
        assert URL in file.read_text()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not file.exists()


def test_without_a_profile_it_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DIDMESH_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("DIDMESH_USER", str(os.geteuid() or 65534))
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    assert run(["ui", "--no-open"]) == 1
    assert "agent create-did" in capsys.readouterr().err
