"""The last check before a program starts, between addresses of this machine."""

import asyncio
import socket

import pytest

from agent.session.probe import PortsClosed, probe_ports
from traversal.candidate import Address

NAMES = ("ann", "ben", "carl")


class Party:
    """At an address of its own; counts the sockets it asked for."""

    def __init__(self, places: dict[str, Address], name: str) -> None:
        self._others = {other: at for other, at in places.items() if other != name}
        self._own = places[name]
        self.sockets = 0

    async def probe(self, timeout: float = 5.0) -> dict[str, float]:
        return await probe_ports(self._socket, self._own, self._others, timeout)

    async def _socket(self) -> socket.socket:
        self.sockets += 1
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.setblocking(False)
        return made


@pytest.fixture
def parties() -> dict[str, Party]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = {name: Address(f"127.0.0.{n + 2}", port) for n, name in enumerate(NAMES)}
    return {name: Party(places, name) for name in NAMES}


async def test_all_reach_all_and_measure_the_way(parties: dict[str, Party]) -> None:
    times = await asyncio.gather(*(party.probe() for party in parties.values()))
    for name, reached in zip(NAMES, times, strict=True):
        assert reached.keys() == set(NAMES) - {name}
        assert all(0 < seconds < 1 for seconds in reached.values())


async def test_who_comes_late_is_reached_at_once_and_asked_for_rarely_before(
    parties: dict[str, Party],
) -> None:
    early = [asyncio.create_task(parties[name].probe()) for name in ("ann", "ben")]
    await asyncio.sleep(1.2)
    assert parties["ann"].sockets <= 1 + 1 + 7
    began = asyncio.get_running_loop().time()
    await parties["carl"].probe()
    await asyncio.gather(*early)
    assert asyncio.get_running_loop().time() - began < 0.3


async def test_who_does_not_come_is_named(parties: dict[str, Party]) -> None:
    with pytest.raises(PortsClosed) as found:
        await asyncio.gather(parties["ann"].probe(0.5), parties["ben"].probe(0.7))
    assert found.value.unreached == ["carl"]
    assert found.value.unseen == ["carl"]
