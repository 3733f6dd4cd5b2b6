"""How large the packets of a path may be: two parties' pulses over paths of every kind."""

import heapq
import itertools
import math
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.session.mtu import MAX_PROBES, RAISE_INTERVAL, SIZES, MtuSearch
from agent.session.pulse import CARRIED_AFTER, LOST_AFTER, MAX_DATAGRAM, PulseKeeper
from agent.wireguard.config import LEAST_MTU, MOST_MTU
from traversal.candidate import Address

ANN, BEN = Address("10.1.2.1", 11364), Address("10.1.2.2", 11364)
HEADERS = 28
PROBE, ANSWER = 2, 4  # flags
CONVERGED = 5.0  # seconds, beside the round trips
NOTICED = 2.6  # seconds until a black hole is left; and a round trip


@dataclass
class Weather:
    """Loses datagrams as two lists say: rounds of probes, never three in a row, and pulses."""

    probes: list[bool] = field(default_factory=list)
    pulses: list[bool] = field(default_factory=list)
    _rounds: dict[Address, tuple[bytes, bool, int]] = field(default_factory=dict)

    def loses(self, sender: Address, data: bytes) -> bool:
        if data[1] & ANSWER:
            return False
        if not data[1] & PROBE:
            return self.pulses.pop() if self.pulses else False
        clock, lost, in_a_row = self._rounds.get(sender, (b"", False, 0))
        if clock != data[2:10]:
            lost = bool(self.probes) and self.probes.pop() and in_a_row < MAX_PROBES - 1
            self._rounds[sender] = data[2:10], lost, in_a_row + 1 if lost else 0
        return lost


@dataclass
class Road:
    """Ann's and Ben's pulses, both ways; `there` and `back` are the bytes of what passes."""

    there: int
    back: int = 0
    delay: float = 0.01  # seconds, one way
    weather: Weather = field(default_factory=Weather)
    now: float = 100.0
    closed: bool = False
    loses_pulses: bool = False
    statement: str | None = None
    probes: dict[Address, Counter[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.back = self.back or self.there
        self.ann, self.ben = PulseKeeper({"ben": BEN}, self.now), PulseKeeper({"ann": ANN}, 0.0)
        self.probes = {ANN: Counter(), BEN: Counter()}
        self._numbers = itertools.count()
        self._travelling: list[tuple[float, int, Address, bytes]] = []
        for keeper, other in ((self.ann, "ben"), (self.ben, "ann")):
            keeper.reach(other)
            keeper.search_mtu(other, self.now)

    def mtus(self) -> tuple[int, int]:
        return self.ann.mtu("ben"), self.ben.mtu("ann")

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while (at := self._next()) <= until:
            self.now = max(self.now, at)
            while self._travelling and self._travelling[0][0] <= self.now:
                _, _, sender, data = heapq.heappop(self._travelling)
                (self.ben if sender == ANN else self.ann).handle_datagram(data, sender, self.now)
            for keeper, sender in ((self.ann, ANN), (self.ben, BEN)):
                for data, _ in keeper.datagrams_to_send(self.now, self.statement, finished=False):
                    self._send(sender, data)
        self.now = until

    def _next(self) -> float:
        arrival = self._travelling[0][0] if self._travelling else math.inf
        return min(self.ann.next_timer(), self.ben.next_timer(), arrival)

    def _send(self, sender: Address, data: bytes) -> None:
        size = len(data) + HEADERS
        if data[1] & PROBE:
            self.probes[sender][size] += 1
        too_large = size > max(LEAST_MTU, self.there if sender == ANN else self.back)
        lost = self.closed or (self.loses_pulses and not data[1] & (PROBE | ANSWER))
        if not (too_large or lost or self.weather.loses(sender, data)):
            arrival = self.now + self.delay, next(self._numbers), sender, data
            heapq.heappush(self._travelling, arrival)


def test_sizes_are_those_that_differ_outside() -> None:
    assert SIZES == (1296, 1312, 1328, 1344, 1360, 1376, 1392, 1408, 1420)


@pytest.mark.parametrize(
    ("carries", "found"),
    [
        (1280, 1280),
        (1295, 1280),
        (1296, 1296),
        (1343, 1328),
        (1344, 1344),
        (1407, 1392),
        (1408, 1408),
        (1419, 1408),
        (1420, 1420),
        (9000, 1420),
    ],
)
def test_the_largest_packet_that_a_path_carries_is_found(carries: int, found: int) -> None:
    road = Road(carries)
    road.run(CONVERGED)
    assert road.mtus() == (found, found)


LOSSES = st.lists(st.booleans(), max_size=30)


@settings(deadline=None, max_examples=50)
@given(
    there=st.integers(1280, 1430),
    back=st.integers(1280, 1430),
    delay=st.floats(0.0001, 1.5),
    weather=st.builds(Weather, LOSSES, LOSSES),
)
def test_whatever_is_lost_now_and_then_it_is_found_and_never_more(
    there: int, back: int, delay: float, weather: Weather
) -> None:
    road = Road(there, back, delay, weather)
    for _ in range(120):
        road.run(0.5)
        assert road.ann.mtu("ben") <= max(there, LEAST_MTU)
        assert road.ben.mtu("ann") <= max(back, LEAST_MTU)
    assert road.mtus() == (largest(there), largest(back))


def test_each_direction_has_its_own() -> None:
    road = Road(1300, back=1500)
    road.run(CONVERGED)
    assert road.mtus() == (1296, 1420)


def test_a_path_that_carries_everything_is_known_by_one_probe_and_one_round_trip() -> None:
    road = Road(1500, delay=0.05)
    road.run(0.15)
    assert road.mtus() == (1420, 1420)
    assert road.probes == {ANN: Counter({1420: 1}), BEN: Counter({1420: 1})}


def test_probes_are_few() -> None:
    road = Road(1343)
    road.run(RAISE_INTERVAL - 1)
    probes = road.probes[ANN]
    confirmations = probes.pop(1328)
    assert confirmations <= RAISE_INTERVAL + MAX_PROBES
    assert all(count <= MAX_PROBES for count in probes.values())


def test_pulses_that_hurry_bring_no_more_probes() -> None:
    search = MtuSearch()
    search.begin(0.0)
    sent = [search.sizes_to_probe(clock, clock / 10, MOST_MTU) for clock in range(5)]
    assert sent == [[1420], [], [], [], [1420]]


def test_confirmations_of_many_paths_do_not_add_up() -> None:
    addresses = {f"did:{n}": Address(f"10.1.2.{n}", 11364) for n in range(2, 65)}
    many = PulseKeeper(addresses, 100.0)
    assert {peer.search.interval for peer in many._peers.values()} == {6.3}


def test_a_black_hole_is_left_within_seconds_and_what_still_passes_is_found() -> None:
    road = Road(1500, delay=0.05)
    road.run(7.3)
    road.there = road.back = 1350
    road.run(NOTICED + 0.1)
    assert max(road.mtus()) < 1350
    road.run(CONVERGED)
    assert road.mtus() == (1344, 1344)


def test_a_black_hole_is_left_at_once_for_the_least_that_every_path_carries() -> None:
    search = found(1420)
    for clock in (10, 11, 12):
        assert search.mtu == 1420
        assert search.sizes_to_probe(clock, float(clock), MOST_MTU) == [1420]
        search.handle_echo(clock)
    assert search.mtu == LEAST_MTU


def test_while_nothing_passes_nothing_is_concluded() -> None:
    road = Road(1500)
    road.run(3.0)
    road.closed = True
    road.run(LOST_AFTER)
    assert road.mtus() == (1420, 1420)
    road.closed = False
    road.run(5.0)
    assert road.mtus() == (1420, 1420)


def test_a_slow_path_is_not_taken_for_a_narrow_one() -> None:
    road = Road(1500, delay=4.0)
    road.run(8.5)
    for _ in range(60):
        road.run(1.0)
        assert road.mtus() == (1420, 1420)


def test_what_was_too_large_is_tried_again_after_a_while() -> None:
    road = Road(1300)
    road.run(CONVERGED)
    road.there = road.back = 1500
    road.run(RAISE_INTERVAL)
    assert road.mtus() == (1420, 1420)


def test_another_path_begins_with_the_least_and_the_old_ones_answers_do_not_count() -> None:
    search = found(1420)
    assert search.sizes_to_probe(10, 10.0, MOST_MTU) == [1420]
    search.hold()
    assert search.mtu == LEAST_MTU
    assert search.sizes_to_probe(11, 11.0, MOST_MTU) == [], "both sides do not use it yet"
    search.begin(12.0)
    search.handle_answer(10, 1420)
    assert search.mtu == LEAST_MTU
    assert search.sizes_to_probe(12, 12.0, MOST_MTU) == [1420]


@pytest.mark.parametrize(
    ("limit", "size"), [(1419, 1408), (1300, 1296), (1296, 1296), (9000, 1420)]
)
def test_what_leaves_the_machine_in_pieces_is_not_probed(limit: int, size: int) -> None:
    search = MtuSearch()
    search.begin(0.0)
    assert search.sizes_to_probe(1, 0.0, limit) == [size]


@pytest.mark.parametrize("limit", [0, 1280, 1295])
def test_where_nothing_larger_leaves_in_one_piece_nothing_is_probed(limit: int) -> None:
    search = MtuSearch()
    search.begin(0.0)
    assert search.sizes_to_probe(1, 0.0, limit) == []


def test_a_limit_that_sinks_below_what_was_found_ends_it() -> None:
    search = found(1420)
    assert search.sizes_to_probe(10, 10.0, 1350) == [1344]
    assert search.mtu == LEAST_MTU


def test_an_answer_to_what_was_not_asked_is_dropped() -> None:
    search = MtuSearch()
    search.begin(0.0)
    search.sizes_to_probe(7, 0.0, MOST_MTU)
    for clock, size in ((7, 1408), (6, 1420), (7, 65535), (0, 0)):
        search.handle_answer(clock, size)
    assert search.mtu == LEAST_MTU


def test_a_probe_and_its_answer_in_bytes() -> None:
    ann, ben = PulseKeeper({"ben": BEN}, 100.0), PulseKeeper({"ann": ANN}, 5.0)
    ann.reach("ben")
    ann.search_mtu("ben", 100.0)
    (probe, _), _ = ann.datagrams_to_send(100.0, "a.b.c", finished=False)
    assert probe == bytes.fromhex("01 02 0000000005f5e100") + bytes(1420 - 28 - 10)
    assert ben.handle_datagram(probe, ANN, 5.0) is None
    ((answer, to),) = ben.datagrams_to_send(5.0, None, finished=True)
    assert to == ANN
    assert answer == bytes.fromhex("01 04 0000000000000000 0000000005f5e100 0000000000000000 058c")
    assert ben.datagrams_to_send(5.0, None, finished=False) == []
    ann.handle_datagram(answer, BEN, 100.1)
    assert ann.mtu("ben") == 1420


def test_probes_say_nothing_of_who_lives_or_what_was_heard() -> None:
    """They may come through where a statement was lost, and are not read by whoever listens."""
    road = Road(1500)
    road.run(1.0)
    road.loses_pulses = True
    road.statement = "a.b.c"
    road.run(CARRIED_AFTER + 1.0)
    assert road.probes[ANN][1420] > 1
    assert road.ann.missed(road.now) == ["ben"]
    road.run(LOST_AFTER)
    assert road.ben.lost(road.now) == ["ann"]


def test_no_more_answers_are_owed_than_there_are_sizes() -> None:
    ann = PulseKeeper({"ben": BEN}, 100.0)
    header = bytes.fromhex("0102") + bytes(24)
    for clock in range(3):
        for size in range(26, MAX_DATAGRAM + 2):
            ann.handle_datagram(header[:9] + bytes([clock]) + bytes(size - 10), BEN, 100.0)
    answers = ann.datagrams_to_send(100.0, None, finished=False)
    assert sorted(int.from_bytes(data[26:], "big") for data, _ in answers) == list(SIZES)
    assert all(len(data) == 28 for data, _ in answers)


def found(size: int) -> MtuSearch:
    search = MtuSearch()
    search.begin(0.0)
    search.sizes_to_probe(1, 0.0, size)
    search.handle_answer(1, size)
    assert search.mtu == size
    return search


def largest(carries: int) -> int:
    return max(size for size in (LEAST_MTU, *SIZES) if size <= max(carries, LEAST_MTU))
