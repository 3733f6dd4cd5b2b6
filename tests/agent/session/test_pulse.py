"""The heartbeat: who is heard, who is lost, and how far away everybody is."""

from hypothesis import given
from hypothesis import strategies as st

from agent.session.pulse import (
    CARRIED_AFTER,
    CARRIED_EACH,
    GONE_AFTER,
    LOST_AFTER,
    MAX_PULSE,
    PULSE_INTERVAL,
    PulseKeeper,
)
from traversal.candidate import Address

ANN, BEN = Address("10.1.2.1", 11364), Address("10.1.2.2", 11364)


def pair(now: float = 100.0) -> tuple[PulseKeeper, PulseKeeper]:
    ann, ben = PulseKeeper({"ben": BEN}, now), PulseKeeper({"ann": ANN}, now + 5000)
    ann.reach("ben")
    ben.reach("ann")
    return ann, ben


def send(
    sender: PulseKeeper, now: float, statement: str | None = None, *, finished: bool = False
) -> list[bytes]:
    return [data for data, _ in sender.datagrams_to_send(now, statement, finished=finished)]


def test_round_trips_are_measured_between_clocks_of_any_epoch() -> None:
    ann, ben = pair()
    (pulse,) = send(ann, 100.0)
    ben.handle_datagram(pulse, ANN, 5100.01)
    (answer,) = send(ben, 5100.11)
    ann.handle_datagram(answer, BEN, 100.13)
    assert abs(ann.rtt("ben") - 0.03) < 1e-3
    assert ann.all_heard()


def test_nothing_is_sent_before_there_is_a_way_and_then_at_once() -> None:
    ann = PulseKeeper({"ben": BEN, "carl": Address("10.1.2.3", 11364)}, 100.0)
    assert ann.datagrams_to_send(100.0, None, finished=False) == []
    ann.reach("ben")
    assert [to for _, to in ann.datagrams_to_send(100.1, None, finished=False)] == [BEN]
    ann.reach("ben")
    assert ann.datagrams_to_send(100.2, None, finished=False) == []


def test_a_first_pulse_is_answered_at_once() -> None:
    ann, ben = pair()
    send(ben, 5100.0)
    (pulse,) = send(ann, 100.0)
    assert send(ben, 5100.1) == []
    ben.handle_datagram(pulse, ANN, 5100.1)
    assert len(send(ben, 5100.1)) == 1


def test_whoever_comes_into_reach_gets_a_pulse_and_the_others_wait_for_theirs() -> None:
    addresses = {f"party{n}": Address(f"10.1.2.{n}", 11364) for n in range(2, 22)}
    ann = PulseKeeper(addresses, 100.0)
    ann.datagrams_to_send(100.0, None, finished=False)
    for step, (did, address) in enumerate(addresses.items()):
        ann.reach(did)
        assert ann.next_timer() == 0.0
        pulses = ann.datagrams_to_send(100.0 + step / 100, None, finished=False)
        assert [to for _, to in pulses] == [address]
    assert len(ann.datagrams_to_send(100.0 + PULSE_INTERVAL, None, finished=False)) == 20


def test_pulses_keep_their_interval_and_news_do_not_wait() -> None:
    ann, _ = pair()
    assert send(ann, 100.0)
    assert send(ann, 100.0 + PULSE_INTERVAL / 2) == []
    ann.hurry()
    assert send(ann, 100.0 + PULSE_INTERVAL / 2, "news")
    assert ann.next_timer() == 100.0 + PULSE_INTERVAL * 1.5


def test_a_statement_rides_along() -> None:
    ann, ben = pair()
    (pulse,) = send(ann, 100.0, "a.b.c")
    assert ben.handle_datagram(pulse, ANN, 5100.0) == ("ann", "a.b.c")


def test_a_statement_that_was_not_heard_is_told_after_a_while() -> None:
    ann, ben = pair()
    send(ann, 100.0, "a.b.c")  # lost
    assert ann.missed(100.0 + CARRIED_AFTER - 0.1) == []
    assert ann.missed(100.0 + CARRIED_AFTER) == ["ben"]
    (pulse,) = send(ann, 102.5, "a.b.c")
    ben.handle_datagram(pulse, ANN, 5102.5)
    (answer,) = send(ben, 5102.5)
    ann.handle_datagram(answer, BEN, 102.6)
    assert ann.missed(103.0) == []
    send(ann, 103.0, "d.e.f")
    assert ann.missed(103.0 + CARRIED_AFTER) == ["ben"], "what came before is not what we say now"


def test_among_many_parties_a_statement_has_longer_to_be_heard() -> None:
    ann = PulseKeeper({str(n): Address(f"10.1.2.{n}", 11364) for n in range(2, 22)}, 100.0)
    ann.datagrams_to_send(100.0, "a.b.c", finished=False)
    assert ann.missed(100.0 + CARRIED_EACH * 20 - 0.1) == []
    assert len(ann.missed(100.0 + CARRIED_EACH * 20)) == 20


def test_a_statement_that_does_not_fit_is_left_out() -> None:
    ann, ben = pair()
    (pulse,) = send(ann, 100.0, "x" * MAX_PULSE)
    assert len(pulse) <= MAX_PULSE
    assert ben.handle_datagram(pulse, ANN, 5100.0) is None
    assert not ben.lost(5100.0)


def test_silence_is_a_loss_and_a_pulse_ends_it() -> None:
    ann, ben = pair()
    assert ann.lost(100.0 + LOST_AFTER - 0.1) == []
    assert ann.lost(100.0 + LOST_AFTER + 0.1) == ["ben"]
    (pulse,) = send(ben, 5200.0)
    ann.handle_datagram(pulse, BEN, 200.0)
    assert ann.lost(200.1) == []


def test_a_party_whose_agent_has_ended_is_lost_soon_unless_it_still_speaks() -> None:
    ann, ben = pair()
    ann.refuse(BEN, 100.0)
    ann.refuse(BEN, 100.5)
    assert ann.lost(100.0 + GONE_AFTER) == []
    assert ann.lost(100.0 + GONE_AFTER + 0.1) == ["ben"]
    (pulse,) = send(ben, 5200.0)
    ann.handle_datagram(pulse, BEN, 102.2)
    assert ann.lost(102.0 + GONE_AFTER + 1.0) == []


def test_who_has_all_results_says_so() -> None:
    ann, ben = pair()
    (pulse,) = send(ben, 5200.0, finished=True)
    assert ann.unfinished() == ["ben"]
    ann.handle_datagram(pulse, BEN, 200.0)
    assert ann.unfinished() == []


@given(st.binary(max_size=1500), st.sampled_from([ANN, BEN, Address("10.1.2.2", 1)]))
def test_no_datagram_crashes_and_no_stranger_counts(data: bytes, source: Address) -> None:
    ann, _ = pair()
    ann.handle_datagram(data, source, 101.0)
    if source != BEN:
        assert ann.lost(101.0 + LOST_AFTER) == ["ben"]


def test_a_party_that_never_answers_ours_cannot_make_us_send_more_often() -> None:
    """Each of its pulses would become one to everybody."""
    ann, ben = pair()
    (pulse,) = send(ben, 5100.0)  # before ben has heard ann: it echoes nothing
    ann.handle_datagram(pulse, BEN, 100.0)
    sent = 0
    for step in range(100):
        ann.handle_datagram(pulse, BEN, 100.0 + step / 100)
        sent += len(send(ann, 100.0 + step / 100))
    assert sent == 2
