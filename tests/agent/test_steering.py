"""Who of a pair sends first, and what WireGuard is told; against a helper that only notes it."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence

import pytest

from agent.connection import steering
from agent.connection.steering import KEEPALIVE, Steering
from agent.network_helper.client import HelperRefused
from agent.wireguard.config import LEAST_MTU, Endpoint, PeerMtu, PeerStatus
from traversal.candidate import Address

BEN, CARL = b"b" * 32, b"c" * 32
DIRECT, RELAY = Address("203.0.113.7", 4500), Address("198.51.100.10", 5000)


class Helper:
    """Keeps what it is told; says what a test lets WireGuard say."""

    def __init__(self) -> None:
        self.told: list[Endpoint] = []
        self.asked: list[str] = []  # in order: what was set, and for how many parties
        self.mtus: list[PeerMtu] = []
        self.handshakes: dict[bytes, float] = {}
        self.slowness = 0.0  # seconds that WireGuard's answer takes
        self.looks = 0
        self.held: list[int] = []
        self.refuses = False
        self._at: dict[bytes, tuple[str, int]] = {}

    async def hold(self, source: socket.socket, address: tuple[str, int]) -> None:
        assert address == DIRECT
        if self.refuses:
            raise HelperRefused("hold: a socket of another network")
        self.held.append(source.getsockname()[1])

    async def set_endpoints(self, endpoints: Sequence[Endpoint]) -> None:
        self.told += endpoints
        self.asked.append(f"endpoints of {len(endpoints)}")
        self._at |= {endpoint.public_key: endpoint.address for endpoint in endpoints}

    async def set_mtus(self, mtus: Sequence[PeerMtu]) -> None:
        self.mtus += mtus
        self.asked.append(f"MTUs of {len(mtus)}")

    async def status(self) -> tuple[PeerStatus, ...]:
        self.looks += 1
        await asyncio.sleep(self.slowness)
        return tuple(
            PeerStatus(key, self._at.get(key), self.handshakes.get(key, 0.0), 0, 0)
            for key in (BEN, CARL)
        )

    def keepalives(self, key: bytes) -> list[int]:
        return [endpoint.keepalive for endpoint in self.told if endpoint.public_key == key]


async def test_the_side_that_leads_sends_at_once_and_the_other_waits_for_it() -> None:
    async with running(leads={"ben"}) as (steered, helper, reached):
        steered.aim("ben", DIRECT)
        steered.aim("carl", DIRECT)
        await turns()
        assert reached == ["ben"]
        assert helper.keepalives(BEN) == [KEEPALIVE]
        assert helper.keepalives(CARL) == [0], "a keepalive would be a handshake that meets theirs"


async def test_who_follows_sends_once_they_have_shaken_hands() -> None:
    async with running(leads={"ben"}) as (steered, helper, reached):
        steered.aim("carl", DIRECT)
        await turns()
        assert reached == []
        helper.handshakes[CARL] = 1e9
        await turns()
        assert reached == ["carl"]
        assert helper.keepalives(CARL) == [0, KEEPALIVE]


async def test_who_follows_begins_by_itself_where_the_other_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(steering, "FOLLOW", 0.05)
    async with running(leads=set()) as (steered, helper, reached):
        steered.aim("carl", DIRECT)
        await asyncio.sleep(0.1)
        await turns()
        assert reached == ["carl"]
        assert helper.keepalives(CARL)[-1] == KEEPALIVE


async def test_a_second_path_does_not_make_who_follows_wait_anew() -> None:
    async with running(leads=set()) as (steered, helper, reached):
        steered.aim("carl", RELAY)
        await turns()
        helper.handshakes[CARL] = 1e9
        await turns()
        steered.aim("carl", DIRECT, [RELAY])
        await turns()
        assert reached == ["carl", "carl"]
        assert helper.keepalives(CARL) == [0, KEEPALIVE, KEEPALIVE]


async def test_a_relay_that_was_left_is_redirected_from_until_the_path_has_settled() -> None:
    async with running(leads={"ben"}) as (steered, helper, _):
        steered.aim("ben", DIRECT, [RELAY])
        await turns()
        steered.settle("ben")
        await turns()
        relay = (RELAY.host, RELAY.port)
        assert [endpoint.late for endpoint in helper.told] == [(relay,), ()]


async def test_looks_take_no_more_than_a_tenth_of_the_time_while_nothing_is_sure() -> None:
    async with running(leads={"ben"}) as (steered, helper, _):
        helper.slowness = 0.05
        steered.aim("ben", DIRECT)
        await asyncio.sleep(1.2)
        assert 1 <= helper.looks <= 3


async def test_a_new_path_is_used_only_once_packets_are_small_again() -> None:
    async with running(leads={"ben"}) as (steered, helper, _):
        steered.aim("ben", RELAY)
        await turns()
        steered.set_mtu("ben", 1420)
        await turns()
        steered.set_mtu("ben", LEAST_MTU)
        steered.aim("ben", DIRECT, [RELAY])
        await turns()
        assert helper.asked == ["endpoints of 1", "MTUs of 1", "MTUs of 1", "endpoints of 1"]
        assert helper.mtus == [PeerMtu(BEN, 1420), PeerMtu(BEN, LEAST_MTU)]


async def test_smaller_packets_do_not_wait_for_the_next_look() -> None:
    async with running(leads={"ben", "carl"}) as (steered, helper, _):
        steered.set_mtu("ben", 1420)
        await asyncio.sleep(1.2 * steering.LOOK)
        assert helper.mtus == [PeerMtu(BEN, 1420)]
        steered.set_mtu("ben", LEAST_MTU)
        await asyncio.sleep(steering.LOOK / 5)
        assert helper.mtus[1:] == [PeerMtu(BEN, LEAST_MTU)]


async def test_mtus_are_set_in_one_request_and_only_where_they_differ() -> None:
    async with running(leads={"ben"}) as (steered, helper, _):
        steered.set_mtu("carl", LEAST_MTU)
        await turns()
        assert helper.asked == []
        steered.set_mtu("ben", 1408)
        steered.set_mtu("carl", 1420)
        await turns()
        steered.set_mtu("ben", 1408)
        await turns()
        assert helper.asked == ["MTUs of 2"]


async def test_a_port_is_held_before_a_path_leads_from_it() -> None:
    async with running(leads={"ben"}) as (steered, helper, _):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
            source.bind(("127.0.0.1", 0))
            port = source.getsockname()[1]
            steered.let_in(source, DIRECT, lambda: steered.aim("ben", DIRECT, [RELAY], port))
            await turns()
            assert helper.held == [port]
            steered.settle("ben")
            await turns()
        steered.aim("ben", RELAY)
        await turns()
    assert [endpoint.source_port for endpoint in helper.told] == [port, port, None]


async def test_a_port_that_was_given_back_meanwhile_is_not_used() -> None:
    async with running(leads={"ben"}) as (steered, helper, _):
        closed = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        closed.close()
        steered.let_in(closed, DIRECT, lambda: steered.aim("ben", DIRECT, [], 40000))
        await turns()
    assert helper.held == helper.told == []


async def test_a_port_that_is_not_held_is_not_used_and_ends_nothing() -> None:
    async with running(leads={"ben"}) as (steered, helper, _):
        helper.refuses = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
            source.bind(("127.0.0.1", 0))
            steered.let_in(source, DIRECT, lambda: steered.aim("ben", DIRECT, [], 40000))
            steered.aim("carl", DIRECT)
            await turns()
    assert [endpoint.public_key for endpoint in helper.told] == [CARL]


@contextlib.asynccontextmanager
async def running(leads: set[str]) -> AsyncIterator[tuple[Steering, Helper, list[str]]]:
    helper, reached = Helper(), list[str]()
    keys = {"ben": BEN, "carl": CARL}
    steered = Steering(helper, keys, leads, reached.append, lambda _: None)
    task = asyncio.create_task(steered.run())
    try:
        yield steered, helper, reached
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def turns() -> None:
    """Long enough for a few looks at WireGuard."""
    await asyncio.sleep(0.01)
    await asyncio.sleep(3 * steering.LOOK_URGENTLY)
