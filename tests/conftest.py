"""Which tests can run here; a test that cannot says why."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.browser import Chromium, chromium

settings.register_profile("steady", deadline=None)
settings.load_profile("steady")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        begin_with_what_takes_longest(items)
    if os.geteuid() == 0:
        return
    reason = pytest.mark.skip(reason="needs root: it makes network namespaces")
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(reason)


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chromium]:
    """One browser for all tests of a file, each of which opens a page of its own."""
    with chromium() as running:
        yield running


def begin_with_what_takes_longest(items: list[pytest.Item]) -> None:
    """Whole files, so that none is left alone with the end of a run.

    As workers of xdist take them in this order (`--no-loadscope-reorder`).
    """
    slow: Counter[Path] = Counter()
    for item in items:
        if item.get_closest_marker("slow") or item.get_closest_marker("root"):
            sessions = "internet" in getattr(item, "fixturenames", ())  # of several real agents
            slow[item.path] += 10 if sessions else 1
    items.sort(key=lambda item: slow[item.path], reverse=True)
