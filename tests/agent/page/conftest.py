"""A page whose commands are real, for a profile without a mediator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.cli import run
from agent.page.helpers import Helpers
from agent.page.server import PageServer
from agent.profile import Choice


@pytest.fixture
def choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Choice:
    monkeypatch.setenv("DIDMESH_HOME", str(tmp_path / "home"))
    assert run(["create-did", "--unencrypted"]) == 0
    return Choice("default", None)


@pytest.fixture
async def server(choice: Choice) -> AsyncIterator[PageServer]:
    page = PageServer(choice, ("--profile=default",), Helpers(None))
    async with page.open():
        yield page
