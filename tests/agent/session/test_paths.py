"""What is offered anew while a session lives."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from agent.connection.gathering import Gathered
from agent.session.paths import Paths
from agent.wireguard.config import LEAST_MTU
from traversal.agreement import PathFound, PathSettled
from traversal.candidate import Address, Candidate, Kind, candidate
from traversal.pairs import Path
from traversal.port_mapping import Gateway, Mapped, Protocol

BEN = "did:example:ben"
HOST = candidate(Kind.HOST, Address("192.168.1.11", 4000))
FIRST, SECOND = (
    Mapped(Protocol.PCP, Gateway("192.168.1.1", "192.168.1.11"), 4000, Address(host, 4000), 3600)
    for host in ("203.0.113.7", "203.0.113.8")
)


@dataclass
class Network:
    """Instead of connectivity and stage: what there is to gather, and what was made of it."""

    candidates: tuple[Candidate, ...] = (HOST,)
    local: list[Sequence[Candidate]] = field(default_factory=list)
    offered: list[set[str]] = field(default_factory=list)

    rtt: float | None = 0.01  # to a STUN server, if one answers
    direct: bool = False
    looks: int = 0
    distressed: int = 0

    def distress(self, party: str) -> None:
        self.distressed += 1

    def inquire(self, servers: object, timeout: float, then: Callable[[Gathered], None]) -> None:
        self.looks += 1
        then(Gathered(self.candidates, "unknown", self.rtt))

    def is_direct(self, party: str) -> bool:
        return self.direct

    def set_local(self, candidates: Sequence[Candidate]) -> None:
        self.local.append(candidates)

    def relays(self, party: str) -> tuple[Address, ...]:
        return ()

    def moved(self, candidates: Sequence[dict[str, Any]]) -> None:
        self.offered.append({entry["host"] for entry in candidates})


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def paths(network: Network) -> Paths:
    stage: Any = SimpleNamespace(machine=network, step=lambda *_: None, me="did:example:ann")
    nothing: Any = None
    descriptor: Any = SimpleNamespace(parties=("did:example:ann", "did:example:ben"))
    servers = [Address("192.0.2.1", 3478)]
    heart: Any = SimpleNamespace(ask=lambda: None)
    made = Paths(stage, descriptor, nothing, heart, servers, FIRST, nothing)
    made.connectivity = network  # type: ignore[assignment]
    return made


def test_a_router_that_maps_another_port_makes_a_new_offer(paths: Paths, network: Network) -> None:
    paths.remap(SECOND)
    assert [found.address for found in network.local[-1]] == [HOST.address, SECOND.external]
    assert len(network.offered) == 1


def test_a_port_that_is_mapped_no_more_is_not_offered_again(paths: Paths, network: Network) -> None:
    paths.remap(SECOND)
    paths.remap(None)
    assert [found.address for found in network.local[-1]] == [HOST.address]


def test_a_path_that_dies_has_us_look_for_our_addresses_but_not_all_the_time(
    paths: Paths, network: Network
) -> None:
    for _ in range(3):
        paths._distress(BEN)
    assert network.distressed == 3
    assert network.looks == 1


def test_what_stays_as_it_was_is_not_offered_twice(paths: Paths, network: Network) -> None:
    paths.remap(SECOND)
    paths.remap(SECOND)
    assert len(network.offered) == 1


def test_large_packets_are_tried_once_both_use_a_path_and_not_taken_along_to_another(
    paths: Paths,
) -> None:
    done: list[tuple[object, ...]] = []
    watch: Any = Watch(done)
    paths.heart = paths._steering = watch
    paths.stage = SimpleNamespace(name=lambda did: "party1", step=watch.step)  # type: ignore[assignment]
    first = Path(HOST.address, 0.01, Kind.HOST, Kind.HOST, same_lan=True)
    paths._on_event(BEN, PathFound(first))
    assert done == [("hold_mtu", BEN), ("set_mtu", BEN, LEAST_MTU), ("aim", BEN)]
    done.clear()
    paths._on_event(BEN, PathSettled(first))
    assert done == [("settle", BEN), ("search_mtu", BEN)]


def test_a_path_that_begins_to_swallow_large_packets_is_told_of(paths: Paths) -> None:
    done: list[tuple[object, ...]] = []
    watch: Any = Watch(done)
    paths._steering = watch
    paths.stage = SimpleNamespace(name=lambda did: "party1", step=watch.step)  # type: ignore[assignment]
    paths._on_mtu(BEN, 1420)
    paths._on_mtu(BEN, LEAST_MTU)
    (_, (step, name, words), _) = done
    assert (step, name) == ("step", "mtu")
    assert str(words).startswith("large packets to party1 do not arrive any more: 1280 bytes")
    assert done[::2] == [("set_mtu", BEN, 1420), ("set_mtu", BEN, LEAST_MTU)]


@dataclass
class Watch:
    """Instead of heart and steering: what was asked of them, in order."""

    done: list[tuple[object, ...]]

    def __getattr__(self, name: str) -> Callable[..., None]:
        def note(*words: object) -> None:
            self.done.append((name, *(words[:1] if name == "aim" else words)))

        return note


async def test_we_look_for_our_addresses_for_as_long_as_a_path_is_not_direct_ever_less_often(
    paths: Paths, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.session.paths.TICK", 0.01)
    monkeypatch.setattr("agent.session.paths.LOOK_AGAIN", 0.05)
    paths._look_wait = 0.05
    looking = asyncio.create_task(paths._keep_looking())
    await asyncio.sleep(0.5)
    assert 2 <= network.looks <= 5  # after 0.05, 0.1, 0.2 s
    network.direct, before = True, network.looks
    await asyncio.sleep(0.2)
    assert network.looks == before
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)


def test_a_router_that_does_not_answer_for_a_while_takes_no_address_away(
    paths: Paths, network: Network
) -> None:
    network.candidates = (HOST, reflexive("203.0.113.7", 5000))
    paths.remap(SECOND)
    network.candidates, network.rtt = (HOST,), None
    paths._look_again()
    assert len(network.offered) == 1
    network.candidates, network.rtt = (HOST, reflexive("203.0.113.7", 6000)), 0.01
    paths._look_again()
    assert len(network.offered) == 2


def test_where_ports_vary_only_another_address_is_another_network(
    paths: Paths, network: Network
) -> None:
    for ports, offers in (((5000, 6000), 1), ((7000, 8000), 1), ((9000, 9001, 9002), 1)):
        network.candidates = (HOST, *(reflexive("203.0.113.7", port) for port in ports))
        paths.remap(None)
        assert len(network.offered) == offers
    network.candidates = (HOST, *(reflexive("203.0.113.8", port) for port in (5000, 6000)))
    paths.remap(None)
    assert len(network.offered) == 2


def reflexive(host: str, port: int) -> Candidate:
    return candidate(Kind.SERVER_REFLEXIVE, Address(host, port), HOST.address)
