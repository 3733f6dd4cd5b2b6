"""A mediator relays between two parties on loopback: tickets by DIDComm, binds and data by UDP."""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner

from mediator.app import Mediator, running
from mediator.cli import group
from mediator.settings.config import Config, RelaySettings
from messaging.protocols.discover_features import Disclose, Queries, Query
from messaging.protocols.relay import Request, Tickets
from tests.support.mediator_client import Party
from tests.support.relayed import RelayedSide, packet
from traversal import stun
from traversal.candidate import Address
from traversal.relay import RelayPair
from traversal.stun import Class, Message

SESSION = "ab" * 32
HOST = "127.0.0.1"


@pytest.fixture
def settings() -> RelaySettings:
    first = free_ports(8)
    return RelaySettings(kernel=False, ports=range(first, first + 8), account_pairs=3, pairs=6)


@pytest.fixture
async def relaying(tmp_path: Path, settings: RelaySettings) -> AsyncIterator[Mediator]:
    config = Config(tmp_path / "m.db", HOST, 0, stun_ports=(0, 0), relay=settings)
    async with running(config) as mediator:
        yield mediator


@pytest.fixture
async def alice(relaying: Mediator) -> AsyncIterator[Party]:
    async with aiohttp.ClientSession() as http:
        alice = Party(http, relaying.identity.did, relaying.identity.public_url)
        await alice.register()
        yield alice


async def test_what_one_side_sends_to_the_port_comes_out_of_it_at_the_other(alice: Party) -> None:
    async with open_pair(alice) as (first, second):
        first.send(packet(b"hello"))
        assert await second.receive() == packet(b"hello")
        second.send(packet(b"and back"))
        assert await first.receive() == packet(b"and back")


async def test_checks_pass_so_that_path_finding_sees_a_pair_like_any_other(alice: Party) -> None:
    async with open_pair(alice) as (first, second):
        check = stun.serialize(Message(Class.REQUEST, b"c" * 12))
        first.send(check)
        assert await second.receive() == check


@pytest.mark.parametrize(
    "data",
    [b"\x12\x34\x81\x80" + bytes(100), b"GET / HTTP/1.1\r\n\r\n".ljust(60), b"", b"\x04\0\0\0"],
    ids=["DNS", "HTTP", "nothing", "four bytes"],
)
async def test_nothing_else_passes(alice: Party, data: bytes) -> None:
    async with open_pair(alice) as (first, second):
        first.send(data)
        first.send(packet(b"after"))
        assert await second.receive() == packet(b"after")


async def test_a_third_address_gets_nothing_through_and_nothing_back(alice: Party) -> None:
    async with open_pair(alice) as (first, second):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mallory:
            mallory.bind((HOST, 0))
            mallory.settimeout(0.3)
            for data in (
                packet(b"mine"),
                b"x" * 500,
                stun.serialize(Message(Class.REQUEST, bytes(12))),
            ):
                mallory.sendto(data, tuple(first.binding.server))
            with pytest.raises(TimeoutError):
                mallory.recv(2000)
        first.send(packet(b"after"))
        assert await second.receive() == packet(b"after")


async def test_after_a_release_nothing_passes(alice: Party) -> None:
    async with open_pair(alice) as (first, second):
        second.binding.release(0.0)
        second.send_binds()
        assert await second.receive(0.3) is None
        assert second.binding.released
        first.send(packet(b"late"))
        assert await second.receive(0.3) is None


async def test_on_both_families_each_pair_passes_also_from_one_to_the_other(
    tmp_path: Path, settings: RelaySettings
) -> None:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    config = Config(
        tmp_path / "m.db",
        "::",
        port,
        public_url=f"http://localhost:{port}",
        stun_ports=(0, 0),
        relay=replace(settings, account_pairs=4),
        private_networks=tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "::1/128"))),
    )
    async with running(config) as mediator, aiohttp.ClientSession() as http:
        alice = Party(http, mediator.identity.did, f"http://{HOST}:{port}")
        await alice.register()
        for hosts in ((HOST, HOST), ("::1", "::1"), (HOST, "::1"), ("::1", HOST)):
            async with open_pair(alice, hosts) as (first, second):
                first.send(packet(b"hello"))
                assert await second.receive() == packet(b"hello"), hosts
                second.send(packet(b"and back"))
                assert await first.receive() == packet(b"and back"), hosts


async def test_a_restarted_mediator_takes_the_same_tickets(
    tmp_path: Path, settings: RelaySettings
) -> None:
    config = Config(tmp_path / "m.db", HOST, 0, stun_ports=(0, 0), relay=settings)
    async with contextlib.AsyncExitStack() as sides:
        async with running(config) as mediator, aiohttp.ClientSession() as http:
            alice = Party(http, mediator.identity.did, mediator.identity.public_url)
            await alice.register()
            first, second = await sides.enter_async_context(open_pair(alice))
            port = int(mediator.identity.public_url.rpartition(":")[2])
        async with running(Config(config.data, HOST, port, stun_ports=(0, 0), relay=settings)):
            for side in (first, second):
                side.binding = type(side.binding)(side.binding.ticket, side.binding.server, 0.0)
                await side.bind()
            first.send(packet(b"still here"))
            assert await second.receive() == packet(b"still here")


async def test_strangers_and_those_without_an_account_get_no_tickets(
    relaying: Mediator, alice: Party
) -> None:
    async with aiohttp.ClientSession() as http:
        stranger = Party(http, relaying.identity.did, relaying.identity.public_url)
        assert await stranger.problem(Request(SESSION, 1).to_message()) == "e.p.req.not_enroll"


async def test_an_account_has_so_many_pairs_and_then_is_told(alice: Party) -> None:
    assert len((await tickets(alice, 5)).pairs) == 3
    problem = await alice.problem(Request("cd" * 32, 1).to_message())
    assert problem == "e.p.me.res.net.no-relay-pairs"


async def test_the_relay_is_among_the_features(alice: Party) -> None:
    query = Queries((Query("protocol", "https://didmesh.org/relay/*"),))
    features = Disclose.from_message(await alice.ask(query.to_message())).disclosures
    assert [(f.id, list(f.extra["roles"])) for f in features] == [
        ("https://didmesh.org/relay/1.0", ["relay"])
    ]


async def test_a_mediator_without_relay_does_not_speak_the_protocol(tmp_path: Path) -> None:
    off = RelaySettings(enabled=False)
    config = Config(tmp_path / "m.db", HOST, 0, stun_ports=(0, 0), relay=off)
    async with running(config) as mediator, aiohttp.ClientSession() as http:
        alice = Party(http, mediator.identity.did, mediator.identity.public_url)
        await alice.register()
        assert await alice.problem(Request(SESSION, 1).to_message()) == "e.p.msg.unsupported"


async def test_the_status_says_who_forwards(tmp_path: Path, settings: RelaySettings) -> None:
    config = Config(
        tmp_path / "m.db", HOST, 0, stun_ports=(0, 0), relay=settings, metrics=(HOST, 0)
    )
    async with running(config) as mediator:
        assert mediator.monitored_at is not None
        where = "{}:{}".format(*mediator.monitored_at)
        environment = {"DIDMESH_MEDIATOR_METRICS": where}
        asked = ["status", "--data", str(config.data)]
        outcome = await asyncio.to_thread(CliRunner().invoke, group, asked, env=environment)
    assert "relay         by Python, which is slower; 0 pairs" in outcome.output


# Helpers


async def tickets(party: Party, count: int) -> Tickets:
    return Tickets.from_message(await party.ask(Request(SESSION, count).to_message()))


@contextlib.asynccontextmanager
async def open_pair(
    party: Party, hosts: tuple[str, str] = (HOST, HOST)
) -> AsyncIterator[tuple[RelayedSide, RelayedSide]]:
    [pair] = (await tickets(party, 1)).pairs
    first, second = (side_of(pair, number, host) for number, host in enumerate(hosts))
    try:
        await asyncio.gather(first.bind(), second.bind())
        assert first.binding.bound
        assert second.binding.bound
        yield first, second
    finally:
        first.close()
        second.close()


def side_of(pair: RelayPair, number: int, host: str) -> RelayedSide:
    return RelayedSide(pair.side(number, [host]), Address(host, pair.port), host)


def free_ports(count: int) -> int:
    """The first of so many UDP ports that nobody has."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((HOST, 0))
            first = int(probe.getsockname()[1])
        if first + count < 65536:
            return first
