"""A mediator on loopback, with a clock that tests may move, and parties that use it."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from mediator.app import Mediator, running
from mediator.settings.config import Config, Limits
from tests.support.mediator_client import Party
from tests.support.postgres import Cluster, cluster, find_programs, in_memory


@pytest.fixture
def limits() -> Limits:
    return Limits(inbox_messages=20, sender_messages=3, recipients=4)


@pytest.fixture
async def mediator(tmp_path: Path, limits: Limits) -> AsyncIterator[Mediator]:
    config = Config(tmp_path / "mediator.db", "127.0.0.1", 0, stun_ports=(0, 0), limits=limits)
    async with running(config) as mediator:
        yield mediator


@pytest.fixture
async def party(mediator: Mediator) -> AsyncIterator[Callable[[], Party]]:
    """Makes a party that the mediator does not know yet."""
    async with aiohttp.ClientSession() as http:
        yield lambda: Party(http, mediator.identity.did, mediator.identity.public_url)


@pytest.fixture
async def alice(party: Callable[[], Party]) -> Party:
    alice = party()
    await alice.register()
    return alice


@pytest.fixture
async def bob(party: Callable[[], Party]) -> Party:
    bob = party()
    await bob.register()
    return bob


@pytest.fixture
def stranger(party: Callable[[], Party]) -> Party:
    return party()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """One server for all tests that need it; each makes a database of its own."""
    if find_programs() is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with cluster(in_memory()) as running:
        yield running
