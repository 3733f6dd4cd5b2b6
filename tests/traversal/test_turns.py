"""Whose turn it is to send, where all want to and few can."""

from random import Random

import pytest

from tests.support.meshes import complete, mesh
from tests.support.nat_model import Filtering, Internet, Mapping
from tests.support.two_parties import run_for
from traversal.candidate import Address, Candidate, Kind, LocalSide, RemoteSide, candidate
from traversal.paths import PathFinder
from traversal.turns import ALL_BURST, BURST, MOST_RTT, PACE, Pacer, Turns

PORT_RESTRICTED = (Mapping.INDEPENDENT, Filtering.ADDRESS_AND_PORT)


def test_slots_come_at_the_pace_and_a_few_missed_ones_are_made_up_for() -> None:
    pacer = Pacer(10.0)
    assert taken(pacer, 10.0) == 1
    assert taken(pacer, 10.0 + PACE / 2) == 0
    assert taken(pacer, 10.0 + PACE) == 1
    assert taken(pacer, 20.0) == BURST + 1
    assert pacer.next_slot == pytest.approx(20.0 + PACE)


def test_all_parties_of_a_small_mesh_are_checked_at_once() -> None:
    pacer = Pacer.shared()
    assert taken(pacer, 10.0) in (ALL_BURST, ALL_BURST + 1)
    assert taken(pacer, 10.0 + 2 * PACE) in (1, 2)


def test_the_more_parties_there_are_the_longer_each_waits_to_be_checked_again() -> None:
    pacer = Pacer.shared()
    finders_of(pacer, 10)
    waits = [pacer.least_wait(tries) for tries in range(1, 8)]
    assert waits == pytest.approx([0.15, 0.3, 0.45, 0.6, 0.6, 0.6, 0.6])


def test_no_check_is_repeated_before_its_answer_can_have_come() -> None:
    pacer = Pacer.shared()
    pacer.note_rtt(0.4)
    assert pacer.least_wait() == pytest.approx(0.4)
    for _ in range(50):
        pacer.note_rtt(0.1)
    assert pacer.least_wait() == pytest.approx(0.1, abs=0.01)


def test_a_party_that_offers_much_and_answers_late_slows_nobody_else_down() -> None:
    pacer = Pacer.shared()
    finders = finders_of(pacer, 2)
    finders[0].add_remote([at(port) for port in range(10, 100)], 0.0)
    for _ in range(100):
        pacer.note_rtt(60.0)
    assert pacer.least_wait() <= MOST_RTT
    pacer.note_rtt(0.01)
    assert pacer.least_wait() < MOST_RTT


def test_who_got_a_slot_is_the_last_to_get_another() -> None:
    turns = row("ann", "ben", "carl")
    assert turns.due(0.0) == ["ann", "ben", "carl"]
    turns.served("ann", 0.0, got_slot=True)
    turns.served("ben", 0.0, got_slot=False)
    assert turns.due(0.0) == ["ben", "carl", "ann"]


def test_who_is_woken_keeps_its_place() -> None:
    turns = row("ann", "ben")
    turns.served("ann", 5.0, got_slot=True)
    turns.served("ben", 5.0, got_slot=True)
    turns.wake("ben")
    turns.wake("ann")
    assert turns.due(0.0) == ["ann", "ben"]


def test_who_is_not_due_is_not_asked() -> None:
    turns = row("ann", "ben")
    turns.served("ann", 7.0, got_slot=True)
    turns.served("ben", 5.0, got_slot=True)
    assert turns.due(4.9) == []
    assert turns.next_timer() == 5.0
    assert turns.due(5.0) == ["ben"]


def test_everybody_gets_as_many_slots_where_all_want_more_than_there_are() -> None:
    pacer, turns = Pacer(0.0), row(*map(str, range(19)))
    got = dict.fromkeys(map(str, range(19)), 0)
    for _ in range(19 * 10):
        now = pacer.next_slot
        for who in turns.due(now):
            before = pacer.next_slot
            got[who] += taken(pacer, now)
            turns.served(who, pacer.next_slot, got_slot=pacer.next_slot != before)
    assert set(got.values()) == {10}


@pytest.mark.slow
def test_twenty_whose_ports_hardly_keep_up_find_each_other_in_two_seconds() -> None:
    """At a pace of each finder's own 320 of the 380 ends have no direct path by then."""
    internet = Internet(Random(1), delay=0.01)
    members = mesh(internet, [internet.nat(*PORT_RESTRICTED).host() for _ in range(20)])
    for member in members:
        member.queue, member.rate = 20, 300.0
    run_for(internet, 2.0)
    assert complete(members)


def finders_of(pacer: Pacer, count: int) -> list[PathFinder]:
    ours = LocalSide.fresh([at(1)])
    offers = [LocalSide.fresh([at(2)]) for _ in range(count)]
    theirs = [RemoteSide.from_json(offer.to_json()) for offer in offers]
    return [PathFinder(ours, each, controlling=True, now=0.0, pacer=pacer) for each in theirs]


def at(port: int) -> Candidate:
    return candidate(Kind.HOST, Address("192.0.2.1", port))


def row(*who: str) -> Turns:
    turns = Turns()
    for each in who:
        turns.wake(each)
    return turns


def taken(pacer: Pacer, now: float) -> int:
    slots = 0
    while pacer.is_free(now):
        pacer.take(now)
        slots += 1
    return slots
