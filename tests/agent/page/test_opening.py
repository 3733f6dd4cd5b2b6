"""`agent ui` opens the page without telling other users of the machine where it is."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agent import browser

URL = "http://127.0.0.1:4711/#a-token"


def test_the_browsers_arguments_hold_no_token_but_a_file_that_is_ours_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opener = tmp_path / "xdg-open"
    opener.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/called\n')
    opener.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with browser.way_in(URL) as file:
        process = browser.open_browser(file)
        assert process is not None
        assert process.wait(30) == 0
        assert (tmp_path / "called").read_text().strip() == str(file)
        assert "a-token" not in str(file)
        assert URL in file.read_text()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not file.exists()


def test_without_a_profile_it_opens_too_and_makes_one() -> None:
    environment = {**os.environ, "DIDMESH_HOME": "/nonexistent", "DIDMESH_USER": "65534"}
    words = [sys.executable, "-m", "agent", "ui", "--no-open", "--json"]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["url"].startswith("http://127.0.0.1:")
        process.terminate()
    assert process.returncode == 0
