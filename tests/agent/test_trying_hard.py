"""When birthday attempts are made, and which ports stay open for them."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from agent.connection.connectivity import Connectivity
from agent.connection.more_ports import MorePorts
from agent.connection.port import Inbox
from agent.connection.trying_hard import BEGIN_AFTER, MOST, QUEUE, REPEAT_AFTER, TryingHard
from agent.connection.udp import UdpPort
from traversal.birthday import Part, Plan
from traversal.candidate import Address, Candidate, Kind, LocalSide, RemoteSide, candidate

FAR = Address("203.0.113.9", 5000)
OPEN, PROBE = Plan(Part.OPEN, FAR), Plan(Part.PROBE, FAR)


@dataclass
class Finder:
    """What of a PathFinder is of interest here."""

    plan: Plan | None
    path: Any = None
    attempting: bool = False
    attempts: list[float] = field(default_factory=list)
    ports: frozenset[int] = frozenset()
    answered: dict[int, Address] = field(default_factory=dict)
    used: list[int] = field(default_factory=list)

    def answered_ports(self) -> dict[int, Address]:
        return self.answered

    def let_in(self, source_port: int, now: float) -> None:
        self.used.append(source_port)

    def birthday_plan(self) -> Plan | None:
        return self.plan

    def attempt_birthday(self, plan: Plan, ports: Sequence[int], now: float) -> None:
        self.attempts.append(now)
        self.ports, self.attempting = frozenset(ports), True

    def needed_ports(self) -> frozenset[int]:
        return self.ports


@pytest.fixture
async def ports() -> AsyncIterator[MorePorts]:
    made = MorePorts(Inbox())
    yield made
    made.close()


def trying(ports: MorePorts, *finders: Finder) -> TryingHard:
    made = TryingHard(ports, lambda _: None)
    for number, finder in enumerate(finders):
        made.add(str(number), finder, 0.0)  # type: ignore[arg-type]
    return made


async def test_ordinary_checks_have_their_chance_first(ports: MorePorts) -> None:
    finder = Finder(PROBE)
    hard = trying(ports, finder)
    hard.turn(BEGIN_AFTER - 0.1)
    assert finder.attempts == []
    hard.turn(hard.next_timer())
    assert finder.attempts == [BEGIN_AFTER]


@pytest.mark.parametrize(
    "finder", [Finder(None), Finder(PROBE, path=type("Direct", (), {"relayed": False}))]
)
async def test_nothing_is_guessed_in_vain(ports: MorePorts, finder: Finder) -> None:
    hard = trying(ports, finder)
    hard.turn(100.0)
    assert finder.attempts == []


async def test_attempts_for_a_party_are_few_and_far_between(ports: MorePorts) -> None:
    finder = Finder(PROBE)
    hard = trying(ports, finder)
    for now in range(1000):
        finder.attempting = False
        hard.turn(float(now))
    assert finder.attempts == [BEGIN_AFTER + n * REPEAT_AFTER for n in range(MOST)]


async def test_one_party_is_guessed_for_at_a_time(ports: MorePorts) -> None:
    finders = [Finder(PROBE), Finder(PROBE)]
    hard = trying(ports, *finders)
    hard.turn(BEGIN_AFTER)
    hard.turn(BEGIN_AFTER + 1)
    assert [len(finder.attempts) for finder in finders] == [1, 0]
    finders[0].attempting = False
    hard.turn(BEGIN_AFTER + 1 + QUEUE)
    assert [len(finder.attempts) for finder in finders] == [1, 1]
    assert hard.next_timer() > BEGIN_AFTER + 1 + QUEUE, "or the loop would spin"


async def test_ports_are_open_for_as_long_as_they_are_needed(ports: MorePorts) -> None:
    finder = Finder(OPEN)
    hard = trying(ports, finder)
    hard.turn(BEGIN_AFTER)
    assert len(finder.ports) == OPEN.source_ports
    kept = min(finder.ports)
    gone = finder.ports - {kept}
    finder.ports = frozenset({kept})
    hard.turn(BEGIN_AFTER)
    assert ports.at(kept) is not None
    assert all(ports.at(port) is None for port in gone)


async def test_a_port_is_asked_for_once_and_used_when_it_lets_in(ports: MorePorts) -> None:
    asked: list[tuple[int, Address, Callable[[], None]]] = []
    finder, woken = Finder(OPEN), list[str]()
    hard = TryingHard(ports, woken.append)
    hard.add("ben", finder, 0.0)  # type: ignore[arg-type]
    hard.let_in = lambda made, at, then: asked.append((made.getsockname()[1], at, then))
    hard.turn(BEGIN_AFTER)
    finder.answered = {max(finder.ports): FAR}
    hard.turn(BEGIN_AFTER + 0.1)
    hard.turn(BEGIN_AFTER + 0.2)
    ((port, at, then),) = asked
    assert (port, at, finder.used, woken) == (max(finder.ports), FAR, [], [])
    then()
    assert (finder.used, woken) == ([port], ["ben"])


async def test_what_comes_to_another_port_says_to_which(ports: MorePorts) -> None:
    inbox = Inbox()
    more = MorePorts(inbox)
    (port,) = more.open(1, 4)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        here = Address(*other.getsockname())
        more.send(b"there", here, port)
        data, source = other.recvfrom(10)
        assert (data, source) == (b"there", ("127.0.0.1", port))
        other.sendto(b"back", source)
        (arrival,) = await inbox.arrivals(time.monotonic() + 1.0)
    assert (arrival.data, arrival.source, arrival.port) == (b"back", here, port)
    more.close()
    more.send(b"nobody", here, port)


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("theirs", [True, False])
async def test_both_sides_must_have_asked_for_it(
    ours: bool, theirs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.connection.trying_hard.BEGIN_AFTER", 0.0)
    port = await UdpPort.bind()
    connectivity = Connectivity(port, lambda *_: None)
    local = LocalSide.fresh(seen_at(5000, 6000), birthday=ours)
    remote = RemoteSide.from_json(LocalSide.fresh(seen_at(7000), birthday=theirs).to_json())
    opened: list[int] = []
    monkeypatch.setattr(MorePorts, "open", lambda _, count, version: opened.append(count) or [])
    connectivity.add_party("other", local, remote, controlling=True)
    running = asyncio.create_task(connectivity.run())
    await asyncio.sleep(0.1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    port.close()
    assert opened == [256] * (ours and theirs)


def seen_at(*ports: int) -> list[Candidate]:
    home = candidate(Kind.HOST, Address("192.168.1.2", 4000))
    return [
        home,
        *(candidate(Kind.SERVER_REFLEXIVE, Address("203.0.113.1", port)) for port in ports),
    ]
