"""The opt-in attempt at a pair of NATs that neither side can name an address for."""

from random import Random

import pytest

from tests.support.nat_model import Filtering, Internet, Mapping
from tests.support.two_parties import Party, flush, meet, run, run_for
from traversal.birthday import OPENED, PROBES, ROUNDS, Part, Plan, plan
from traversal.candidate import Address, Kind, candidate
from traversal.stun import parse

PORT_RESTRICTED = (Mapping.INDEPENDENT, Filtering.ADDRESS_AND_PORT)
SYMMETRIC = (Mapping.ADDRESS_AND_PORT, Filtering.ADDRESS_AND_PORT)
HOME = candidate(Kind.HOST, Address("192.168.1.2", 4000))


def seen_at(*ports: int):
    return [
        HOME,
        *(candidate(Kind.SERVER_REFLEXIVE, Address("203.0.113.1", port)) for port in ports),
    ]


VARYING, FIXED, PUBLIC = (
    seen_at(5000, 6000),
    seen_at(5000),
    [candidate(Kind.HOST, Address("203.0.113.9", 4000))],
)


@pytest.mark.parametrize(
    ("ours", "theirs", "part"),
    [
        (VARYING, FIXED, Part.OPEN),
        (FIXED, VARYING, Part.PROBE),
        (VARYING, VARYING, None),  # nobody has one address to open mappings towards
        (FIXED, FIXED, None),  # finds a path without
        (VARYING, PUBLIC, None),
        (PUBLIC, VARYING, None),
        ([], [], None),
    ],
)
def test_each_side_knows_its_part_from_the_offers(ours, theirs, part: Part | None) -> None:
    made = plan(ours, theirs)
    assert (made and made.part) == part


def test_it_is_never_made_unasked() -> None:
    internet, parties = pair(seed=1)
    run_for(internet, 120.0)
    assert all(party.finder.path.relayed for party in parties)
    assert all(party.sent < 200 for party in parties)


@pytest.mark.parametrize("opener_controls", [False, True])
def test_it_finds_a_direct_path_and_both_ends_use_it(opener_controls: bool) -> None:
    internet, parties = pair(seed=3, opener_controls=opener_controls)
    attempt(internet, parties)
    run(internet, parties, until=60.0)
    assert not any(party.finder.path.relayed for party in parties)
    opener, prober = parties if opener_controls else parties[::-1]
    assert prober.finder.path.source_port is None
    assert opener.finder.path.source_port in opener.finder.needed_ports()
    assert arrives(internet, opener, prober)


@pytest.mark.parametrize("opener_controls", [False, True])
def test_neither_end_uses_it_before_its_port_lets_everything_in(opener_controls: bool) -> None:
    internet, parties = pair(seed=3, opener_controls=opener_controls)
    attempt(internet, parties)
    run(internet, parties, until=60.0)
    opener, _ = parties if opener_controls else parties[::-1]
    let_in_at = opener.let_in[opener.finder.path.source_port]
    for party in parties:
        found_at, path = party.paths[-1]
        assert (path.relayed, found_at >= let_in_at) == (False, True)


def test_most_attempts_succeed() -> None:
    assert success_rate(range(12)) >= 10 / 12


@pytest.mark.slow
def test_nineteen_of_twenty_attempts_succeed() -> None:
    assert success_rate(range(300)) >= 0.95


def test_it_is_bounded_and_stops_by_itself() -> None:
    internet, parties = pair(seed=1)
    run_for(internet, 60.0)
    before = [party.sent for party in parties]
    internet.loss = 1.0
    attempt(internet, parties)
    run_for(internet, 60.0)
    spent = sorted(party.sent - b for party, b in zip(parties, before, strict=True))
    assert spent[0] <= OPENED * ROUNDS + 100
    assert PROBES <= spent[1] <= PROBES + 100
    assert all(party.finder.needed_ports() == frozenset() for party in parties)


def test_probes_are_paced() -> None:
    internet, parties = pair(seed=1)
    times: list[float] = []
    prober = parties[0]
    send = prober.host.send
    prober.host.send = lambda data, to: (times.append(internet.now), send(data, to))
    internet.loss = 1.0
    attempt(internet, parties)
    run_for(internet, 5.0)
    assert max(times.count(now) for now in set(times)) <= 8
    assert len(times) <= 5.0 / 0.005 + 10


def test_a_stranger_cannot_answer_a_probe() -> None:
    internet, parties = pair(seed=1)
    prober = parties[0]
    sent: list[tuple[bytes, Address]] = []
    prober.host.send = lambda data, to: sent.append((data, to))
    prober.finder.attempt_birthday(Plan(Part.PROBE, Address("203.0.113.1", 1)), (), internet.now)
    flush(internet, prober)
    run_for(internet, 1.0)
    probe, to = next((data, to) for data, to in sent if to.host == "203.0.113.1")
    assert prober.finder.awaits(parse(probe).transaction)
    before = [pair.address for pair in prober.finder.tried()]
    prober.finder.handle_datagram(probe[:1] + b"\x01" + probe[2:], to, internet.now)
    assert [pair.address for pair in prober.finder.tried()] == before


def pair(
    seed: int, opener_controls: bool = False, delay: float = 0.03
) -> tuple[Internet, tuple[Party, Party]]:
    internet = Internet(Random(seed), delay=delay)
    opener, prober = internet.nat(*SYMMETRIC).host(), internet.nat(*PORT_RESTRICTED).host()
    hosts = (opener, prober) if opener_controls else (prober, opener)
    return internet, meet(internet, hosts, relays=(internet.relay(),))


def attempt(internet: Internet, parties: tuple[Party, Party]) -> None:
    for party in parties:
        made = party.finder.birthday_plan()
        ports = range(30000, 30000 + made.source_ports)
        party.host.more_ports = set(ports)
        party.finder.attempt_birthday(made, ports, internet.now)
        flush(internet, party)


def success_rate(seeds: range) -> float:
    hits = 0
    for seed in seeds:
        internet, parties = pair(seed)
        attempt(internet, parties)
        run(internet, parties, until=30.0)
        hits += not any(party.finder.path.relayed for party in parties)
    return hits / len(seeds)


def arrives(internet: Internet, opener: Party, prober: Party) -> bool:
    heard = []
    prober.host.on_datagram = lambda data, source, now: heard.append(source)
    path = opener.finder.path
    opener.host.send_from(path.source_port, b"probe", path.endpoint)
    run_for(internet, 1.0)
    return prober.finder.path.endpoint in heard
