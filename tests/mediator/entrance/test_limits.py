"""Shares: buckets that fill with time, counts that end, and whose address it is behind proxies."""

import itertools
from collections.abc import Callable
from ipaddress import ip_network

import pytest

from mediator.errors import Refusal
from mediator.guard.limits import RATE_LIMIT, Counts, Guard, Memory, TokenBuckets, client_address
from mediator.settings.config import Limits


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_gives_a_burst_and_then_its_rate() -> None:
    clock = Clock()
    buckets = TokenBuckets(rate=2, burst=3, clock=clock)
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 0]
    assert buckets.take("a") == pytest.approx(0.5)
    clock.now += 0.5
    assert buckets.take("a") == 0
    assert buckets.take("a") > 0


def test_what_was_refused_is_not_drawn() -> None:
    clock = Clock()
    buckets = TokenBuckets(rate=1, burst=1, clock=clock)
    buckets.take("a")
    for _ in range(100):
        assert buckets.take("a") == pytest.approx(1)


def test_each_has_its_own_bucket() -> None:
    buckets = TokenBuckets(rate=1, burst=1, clock=Clock())
    assert buckets.take("a") == 0
    assert buckets.take("b") == 0
    assert buckets.take("a") > 0


def test_a_full_bucket_is_forgotten_and_there_are_never_too_many() -> None:
    clock = Clock()
    buckets = TokenBuckets(rate=1, burst=1, clock=clock, most=100)
    for number in range(1000):
        buckets.take(number)
    assert len(buckets) == 100
    clock.now += 10
    for number in range(100):
        buckets.take(f"later {number}")
    assert len(buckets) == 100
    assert buckets.take("later 99") > 0


def test_what_a_flood_left_is_forgotten_faster_than_it_came() -> None:
    clock = Clock()
    buckets = TokenBuckets(1, 1, clock)
    for number in range(100):
        buckets.take(number)
    clock.now += 10
    for number in range(50):
        buckets.take(f"later {number}")
    assert len(buckets) == 50


def test_a_flood_of_others_does_not_refill_a_bucket_that_is_in_use() -> None:
    buckets = TokenBuckets(rate=1, burst=2, clock=Clock(), most=10)
    drawn = 0
    for number in itertools.count():
        buckets.take(f"other {number}")
        if buckets.take("a"):
            break
        drawn += 1
    assert drawn == 2


def test_long_keys_take_no_more_room_than_short_ones() -> None:
    buckets = TokenBuckets(rate=1, burst=1)
    buckets.take("x" * 1_000_000)
    assert all(isinstance(name, int) for name in buckets._full_at)


def test_counts_end_for_one_and_for_all() -> None:
    counts = Counts(most=3, most_of_one=2)
    assert [counts.enter("a"), counts.enter("a"), counts.enter("a")] == [True, True, False]
    assert [counts.enter(None), counts.enter("b")] == [True, False]
    counts.leave("a")
    assert counts.enter("b")
    for key in ("a", "b", None):
        counts.leave(key)
    assert counts.total == 0
    assert not counts._of


def test_memory_is_given_back_whatever_happens() -> None:
    memory = Memory(10)
    with memory.holding(10, pytest.fail):
        assert memory.held == 10
    with pytest.raises(ConnectionError), memory.holding(10, pytest.fail):
        raise ConnectionError
    assert memory.held == 0


def test_over_the_limit_goes_who_has_been_at_it_longest() -> None:
    memory, gone = Memory(10), list[str]()
    for name in "abc":
        memory.hold(name, 4, lambda name=name: gone.append(name))
    assert gone == ["a"]
    memory.hold("b", 4, lambda: gone.append("b"))
    assert gone == ["a", "b"]
    memory.release("a")
    memory.release("b")
    memory.release("c", 1)
    assert memory.held == 3
    memory.release("c")
    assert (memory.held, gone) == (0, ["a", "b"])


def test_an_account_and_a_pair_are_told_when_they_may_again() -> None:
    guard = Guard(Limits(account_rate=1, account_burst=1, pair_rate=1, pair_burst=1), clock=Clock())
    for check in (
        lambda: guard.check_account("did:example:a"),
        lambda: guard.check_pair("did:example:a", "did:example:b"),
    ):
        check()
        with pytest.raises(Refusal, match=r"again in 1\.0 seconds") as refused:
            check()
        assert (refused.value.code, refused.value.status) == (RATE_LIMIT, 429)
    guard.check_pair("did:example:a", "did:example:c")
    guard.check_pair("did:example:d", "did:example:b")


def test_every_limit_is_the_one_of_its_name() -> None:
    limits = Limits(
        address_rate=2,
        address_burst=3,
        account_rate=5,
        account_burst=4,
        pair_rate=10,
        pair_burst=6,
        connections=9,
        address_connections=7,
        buffered=40,
    )
    guard = Guard(limits, clock=Clock())
    assert waits(lambda: guard.wait_of_address("192.0.2.1"), 4) == [0, 0, 0, 0.5]
    assert waits(lambda: refusal(lambda: guard.check_account("a")), 5) == [0] * 4 + [0.2]
    assert waits(lambda: refusal(lambda: guard.check_pair("a", "b")), 7) == [0] * 6 + [0.1]
    for counts in (guard.connections, guard.sockets):
        assert [counts.enter("192.0.2.1") for _ in range(8)] == [True] * 7 + [False]
        assert [counts.enter(None) for _ in range(3)] == [True, True, False]
    for memory in (guard.arriving, guard.leaving):
        gone: list[str] = []
        memory.hold("first", 10, lambda gone=gone: gone.append("first"))  # type: ignore[misc]
        memory.hold("second", 10, lambda: None)
        assert gone == []
        memory.hold("second", 1, lambda: None)
        assert gone == ["first"]


def waits(draw: Callable[[], float], times: int) -> list[float]:
    return [round(draw(), 6) for _ in range(times)]


def refusal(check: Callable[[], None]) -> float:
    """The seconds that a refusal names; 0 if there was none."""
    try:
        check()
    except Refusal as refused:
        return float(refused.comment.partition("again in ")[2].partition(" ")[0])
    return 0


PROXIES = (ip_network("10.0.0.0/8"), ip_network("127.0.0.1/32"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.7", (), "192.0.2.7"),
        ("192.0.2.7", ("198.51.100.1",), "192.0.2.7"),  # no proxy of ours: not believed
        ("10.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("127.0.0.1", ("198.51.100.1, 10.2.3.4",), "198.51.100.1"),
        ("127.0.0.1", ("198.51.100.1", "10.2.3.4"), "198.51.100.1"),
        ("10.0.0.1", ("8.8.8.8, 198.51.100.1",), "198.51.100.1"),  # the first is its invention
        ("10.0.0.1", ("198.51.100.1, rubbish",), None),
        ("10.0.0.1", (), None),
        (None, ("198.51.100.1",), None),
        ("::ffff:192.0.2.7", (), "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", (), "2001:db8:1:2::/64"),
        ("10.0.0.1", ("[2001:db8:1:2::1]",), "2001:db8:1:2::/64"),
        ("10.0.0.1", (",".join(["10.0.0.2"] * 10_000),), None),
    ],
)
def test_the_address_is_the_last_that_no_proxy_of_ours_has(
    peer: str | None, forwarded: tuple[str, ...], client: str | None
) -> None:
    assert client_address(peer, forwarded, PROXIES) == client


def test_without_proxies_loopback_is_taken_for_one_and_no_header_is_believed() -> None:
    assert client_address("127.0.0.1", ("198.51.100.1",), ()) is None
    assert client_address("192.0.2.7", ("198.51.100.1",), ()) == "192.0.2.7"
