"""What is offered anew while a session lives."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from agent.connection.gathering import Gathered
from agent.session.paths import Paths
from traversal.candidate import Address, Candidate, Kind, candidate
from traversal.port_mapping import Gateway, Mapped, Protocol

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
        paths._distress("did:example:ben")
    assert network.distressed == 3
    assert network.looks == 1


def test_what_stays_as_it_was_is_not_offered_twice(paths: Paths, network: Network) -> None:
    paths.remap(SECOND)
    paths.remap(SECOND)
    assert len(network.offered) == 1
