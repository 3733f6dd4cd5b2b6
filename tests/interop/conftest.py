from collections.abc import Iterator

import pytest

from tests.support.peers import process


@pytest.fixture(scope="session", params=["sicpa", "node"])
def peer_name(request: pytest.FixtureRequest) -> str:
    if reason := process.missing(request.param):
        pytest.skip(reason)
    return str(request.param)


@pytest.fixture(scope="session")
def peer(peer_name: str) -> Iterator[process.Peer]:
    with process.start(peer_name) as running:
        yield running


@pytest.fixture(scope="session")
def sicpa() -> Iterator[process.Peer]:
    if reason := process.missing("sicpa"):
        pytest.skip(reason)
    with process.start("sicpa") as running:
        yield running
