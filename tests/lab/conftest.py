"""One small internet for the session tests of a file; each test must leave it as it was."""

from collections.abc import Iterator

import pytest

from tests.support.internet import Internet


@pytest.fixture(scope="module")
def _internet() -> Iterator[Internet]:
    with Internet() as internet:
        yield internet


@pytest.fixture
def internet(_internet: Internet) -> Iterator[Internet]:
    yield _internet
    _internet.check_nothing_is_left()
