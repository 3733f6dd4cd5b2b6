"""What is offered anew while a session lives."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from agent.connection.gathering import Gathered
from agent.session.paths import Paths
from agent.wireguard.config import LEAST_MTU
from traversal.candidate import Address, Candidate, Kind, candidate
from traversal.pairs import Path
from traversal.paths import PathFound, PathSettled
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

    looks: int = 0
    distressed: int = 0

    def distress(self, party: str) -> None:
        self.distressed += 1

    def inquire(self, servers: object, timeout: float, then: Callable[[Gathered], None]) -> None:
        self.looks += 1
        then(Gathered(self.candidates, "unknown", None))

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
    stage: Any = SimpleNamespace(machine=network, step=lambda *_: None)
    nothing: Any = None
    made = Paths(stage, nothing, nothing, nothing, [], FIRST, nothing)
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
