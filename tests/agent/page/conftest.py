"""A page whose commands are real, for a profile without a mediator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.cli import run
from agent.page.helpers import Helpers
from agent.page.server import PageServer
from agent.profile import PASSPHRASE_VARIABLE, Choice


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Choice:
    """Of a person who has run nothing yet."""
    monkeypatch.setenv("DIDMESH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "to be put back after the test, whatever it sets")
    monkeypatch.delenv(PASSPHRASE_VARIABLE)
    return Choice("default", None)


@pytest.fixture
def choice(nobody: Choice) -> Choice:
    assert run(["create-did", "--unencrypted"]) == 0
    return nobody


@pytest.fixture
async def server(choice: Choice) -> AsyncIterator[PageServer]:
    async with serving(choice) as page:
        yield page


@pytest.fixture
async def empty_server(nobody: Choice) -> AsyncIterator[PageServer]:
    async with serving(nobody) as page:
        yield page


@asynccontextmanager
async def serving(choice: Choice) -> AsyncIterator[PageServer]:
    page = PageServer(choice, ("--profile=default",), Helpers(None))
    async with page.open():
        yield page
