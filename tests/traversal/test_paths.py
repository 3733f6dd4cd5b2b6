"""What one path finder does with what it hears; the clock is a number."""

import itertools
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz import targets
from tests.support.nat_model import Filtering, Internet, Mapping
from tests.support.two_parties import Party, meet, run_for
from traversal import stun
from traversal.agreement import PairFailed, PathFound, PathSettled, State
from traversal.candidate import Address, Candidate, Kind, LocalSide, RemoteSide, candidate
from traversal.pairs import SLOWEST_WAIT
from traversal.paths import MAX_REFLEXIVE, PathFinder
from traversal.stun import Class, Message

OURS = LocalSide("us-ufrag", "p" * 24, (candidate(Kind.HOST, Address("192.0.2.1", 1000)),))
THEIR_ADDRESS = Address("192.0.2.2", 2000)
ELSEWHERE = Address("192.0.2.99", 9999)
THEIRS = RemoteSide("they-ufrag", "q" * 24, (candidate(Kind.HOST, THEIR_ADDRESS),))


def test_checks_go_to_every_address_of_the_same_family_paced() -> None:
    many = [Address(f"192.0.2.{i}", 2000) for i in range(2, 12)]
    offer = side([*many, Address("2001:db8::1", 2000)])
    finder = PathFinder(OURS, offer, controlling=True, now=0.0)
    sent = [(now, datagram) for now, datagram in everything_sent(finder, until=0.049)]
    assert {datagram.destination for _, datagram in sent} == set(many)
    times = [now for now, _ in sent]
    assert min(b - a for a, b in itertools.pairwise(times)) >= 0.0049


def test_a_silent_address_is_reported_once_and_tried_for_ever() -> None:
    finder = PathFinder(OURS, THEIRS, controlling=True, now=0.0)
    sent = [now for now, _ in everything_sent(finder, until=600.0)]
    assert events_of(finder) == [PairFailed(THEIR_ADDRESS)]
    assert sent[-1] > 600 - SLOWEST_WAIT


def test_a_full_offer_of_dead_addresses_costs_little() -> None:
    offer = side([Address(f"192.0.2.{i}", 2000) for i in range(2, 34)])
    finder = PathFinder(OURS, offer, controlling=True, now=0.0)
    sent = list(everything_sent(finder, until=30.0))
    assert len(sent) < 32 * 30
    assert sum(len(datagram.data) for _, datagram in sent) < 150_000


def test_a_check_is_answered_with_the_address_it_came_from_and_never_by_more_bytes() -> None:
    finder = PathFinder(OURS, THEIRS, controlling=True, now=0.0)
    finder.datagrams_to_send(0.0)
    check = their_check()
    finder.handle_datagram(check, ELSEWHERE, 0.001)
    answer = next(d for d in finder.datagrams_to_send(0.001) if is_answer(d.data))
    assert answer.destination == ELSEWHERE
    assert stun.parse(answer.data).attributes["XOR-MAPPED-ADDRESS"] == ELSEWHERE
    assert stun.verify_integrity(answer.data, OURS.password.encode())
    assert len(answer.data) <= len(check)


def test_a_check_from_a_new_address_is_answered_by_a_check_to_it() -> None:
    finder = PathFinder(OURS, THEIRS, controlling=True, now=0.0)
    finder.handle_datagram(their_check(), ELSEWHERE, 0.0)
    sent = finder.datagrams_to_send(0.0) + finder.datagrams_to_send(0.01)
    assert ELSEWHERE in {d.destination for d in sent if not is_answer(d.data)}


def test_the_first_sign_of_a_late_party_is_answered_by_a_check_at_once() -> None:
    finder = PathFinder(OURS, THEIRS, controlling=True, now=0.0)
    last = max(now for now, _ in everything_sent(finder, until=100.0))
    heard = last + 0.1
    finder.handle_datagram(their_check(), THEIR_ADDRESS, heard)
    assert any(not is_answer(d.data) for d in finder.datagrams_to_send(heard))


def test_the_least_rtt_seen_is_the_rtt_of_the_path() -> None:
    finder = PathFinder(OURS, THEIRS, controlling=False, now=0.0)
    for now, answered in ((0.0, 0.02), (0.06, 0.065), (0.6, 0.7)):
        check = next(d for d in finder.datagrams_to_send(now) if not is_answer(d.data))
        finder.handle_datagram(their_answer(check.data), THEIR_ADDRESS, answered)
    finder.handle_datagram(their_word(1), THEIR_ADDRESS, 0.8)
    assert finder.path is not None
    assert finder.path.rtt == pytest.approx(0.005)


def test_an_answer_proves_the_path_and_its_rtt() -> None:
    finder = PathFinder(OURS, THEIRS, controlling=True, now=0.0)
    answer_until_nominated(finder)
    (found,) = events_of(finder)
    assert isinstance(found, PathFound)
    assert found.path.endpoint == THEIR_ADDRESS
    assert found.path.rtt == pytest.approx(0.25)
    assert finder.state is State.CHOSEN


def test_only_a_confirmation_shows_that_a_nomination_was_taken() -> None:
    finder = PathFinder(OURS, THEIRS, controlling=True, now=0.0)
    nomination = answer_until_nominated(finder)
    finder.handle_datagram(their_answer(nomination), THEIR_ADDRESS, 0.5)
    assert finder.state is State.CHOSEN
    finder.handle_datagram(their_word(1, "ICE-CONTROLLED"), THEIR_ADDRESS, 0.51)
    assert finder.state is State.SETTLED


def test_the_controlling_side_answers_every_repeated_confirmation() -> None:
    finder = PathFinder(OURS, THEIRS, controlling=True, now=0.0)
    answer_until_nominated(finder)
    for now in (0.5, 0.6, 0.7, 100.0):
        finder.handle_datagram(their_word(1, "ICE-CONTROLLED"), THEIR_ADDRESS, now)
        assert any(is_answer(d.data) for d in finder.datagrams_to_send(now))
        assert finder.state is State.SETTLED


def test_it_tells_of_agreement_once_the_other_side_has_heard_of_it() -> None:
    finder = PathFinder(OURS, THEIRS, controlling=True, now=0.0)
    answer_until_nominated(finder)
    finder.handle_datagram(their_word(1, "ICE-CONTROLLED"), THEIR_ADDRESS, 0.5)
    list(everything_sent(finder, until=0.5 + 2.9 * 0.25, since=0.5))
    assert not list_of(finder, PathSettled)
    list(everything_sent(finder, until=2.0, since=0.5 + 2.9 * 0.25))
    assert len(list_of(finder, PathSettled)) == 1


def test_a_nomination_that_stays_unconfirmed_is_taken_back_for_another_pair() -> None:
    finder = PathFinder(OURS, side([THEIR_ADDRESS, ELSEWHERE]), controlling=True, now=0.0)
    words = []
    for now, sent in everything_sent(finder, until=4.0):
        word = stun.parse(sent.data).attributes.get("NOMINATION")
        if word and (word, sent.destination) not in words:
            words.append((word, sent.destination))
        finder.handle_datagram(their_answer(sent.data), sent.destination, now + 0.001)
    assert words[:2] == [(1, THEIR_ADDRESS), (2, ELSEWHERE)]


def test_the_only_pair_is_nominated_until_the_other_side_confirms_ever_less_often() -> None:
    finder = PathFinder(OURS, THEIRS, controlling=True, now=0.0)
    answer_until_nominated(finder)
    late = [d for now, d in everything_sent(finder, until=660.0, since=0.25) if now > 600.0]
    assert 3 <= len(late) <= 7
    assert all(stun.parse(d.data).attributes["NOMINATION"] == 1 for d in late)


def test_distress_about_the_path_before_is_not_taken_for_the_new_one() -> None:
    finder = PathFinder(OURS, THEIRS, controlling=True, now=0.0)
    answer_until_nominated(finder)
    finder.distress(1.2)
    assert finder.state is State.CHOSEN
    finder.distress(1.3)
    assert finder.state is State.CHECKING


def test_a_path_in_distress_is_no_direct_one_though_there_is_no_other() -> None:
    finder = PathFinder(OURS, THEIRS, controlling=True, now=0.0)
    assert not finder.is_direct
    answer_until_nominated(finder)
    assert finder.is_direct
    finder.distress(1.3)
    assert finder.path.endpoint == THEIR_ADDRESS, "where to send meanwhile"
    assert not finder.is_direct


def test_the_controlled_side_takes_a_nomination_only_when_its_own_check_is_answered() -> None:
    finder = PathFinder(OURS, THEIRS, controlling=False, now=0.0)
    (check,) = finder.datagrams_to_send(0.0)
    finder.handle_datagram(their_word(1), THEIR_ADDRESS, 0.01)
    assert finder.path is None
    finder.handle_datagram(their_answer(check.data), THEIR_ADDRESS, 0.02)
    assert finder.path is not None
    assert finder.path.endpoint == THEIR_ADDRESS


def test_an_older_nomination_that_comes_late_changes_nothing() -> None:
    finder = PathFinder(OURS, side([THEIR_ADDRESS, ELSEWHERE]), controlling=False, now=0.0)
    prove_all(finder, 0.0)
    finder.handle_datagram(their_word(7), ELSEWHERE, 0.1)
    finder.handle_datagram(their_word(6), THEIR_ADDRESS, 0.2)
    assert finder.path.endpoint == ELSEWHERE
    finder.handle_datagram(their_word(8), THEIR_ADDRESS, 0.3)
    assert finder.path.endpoint == THEIR_ADDRESS


def test_a_nomination_complained_of_is_not_followed_again_only_a_newer_one() -> None:
    finder = PathFinder(OURS, side([THEIR_ADDRESS, ELSEWHERE]), controlling=False, now=0.0)
    prove_all(finder, 0.0)
    finder.handle_datagram(their_word(1), THEIR_ADDRESS, 0.1)
    finder.distress(2.0)
    assert finder.path.endpoint == ELSEWHERE
    prove_all(finder, 2.0)
    finder.handle_datagram(their_word(1), THEIR_ADDRESS, 2.5)
    assert finder.path.endpoint == ELSEWHERE
    finder.handle_datagram(their_word(2), THEIR_ADDRESS, 2.6)
    assert finder.path.endpoint == THEIR_ADDRESS


def test_a_complaint_counts_only_about_the_newest_nomination() -> None:
    finder = PathFinder(OURS, THEIRS, controlling=True, now=0.0)
    answer_until_nominated(finder)
    for number, state in ((0, State.CHOSEN), (2, State.CHOSEN), (1, State.CHECKING)):
        finder.handle_datagram(their_check(DISTRESS=number), THEIR_ADDRESS, 0.3)
        assert finder.state is state


@pytest.mark.parametrize(
    ("number", "source"), [(1, ELSEWHERE), (2, THEIR_ADDRESS), (0, THEIR_ADDRESS)]
)
def test_a_confirmation_of_anything_but_our_nomination_is_not_answered(
    number: int, source: Address
) -> None:
    finder = PathFinder(OURS, THEIRS, controlling=True, now=0.0)
    answer_until_nominated(finder)
    finder.handle_datagram(their_word(number, "ICE-CONTROLLED"), source, 0.3)
    assert not any(is_answer(d.data) for d in finder.datagrams_to_send(0.3))
    assert finder.state is State.CHOSEN


def test_two_sides_of_the_same_role_find_out() -> None:
    finder = PathFinder(OURS, THEIRS, controlling=True, now=0.0)
    finder.handle_datagram(their_check("ICE-CONTROLLING"), THEIR_ADDRESS, 0.0)
    (answer,) = [d.data for d in finder.datagrams_to_send(0.0) if is_answer(d.data)]
    assert stun.parse(answer).attributes["ERROR-CODE"][0] == 487
    assert finder.role_conflict


def test_a_lan_path_wins_over_a_quicker_one_that_is_translated() -> None:
    internet = Internet(Random(1), delay=0.01)
    lan = internet.nat(Mapping.INDEPENDENT, Filtering.INDEPENDENT, hairpin=True)
    parties = meet(internet, (lan.host(), lan.host()))
    slow_lan(parties)
    run_for(internet, 10.0)
    assert all(party.finder.path.same_lan for party in parties)


WRONG_KEY = b"w" * 24
HOSTILE = {
    "noise": lambda check: b"\xff" * 100,
    "empty": lambda check: b"",
    "a wireguard packet": lambda check: b"\x04\x00\x00\x00" + bytes(60),
    "no integrity": lambda check: stun.serialize(stun.parse(bare(check))),
    "wrong password": lambda check: stun.serialize(stun.parse(bare(check)), WRONG_KEY),
    "our own check come back": lambda check: reflected(),
    "another user": lambda check: their_check(USERNAME="us-ufrag:someone"),
    "no user": lambda check: request({"PRIORITY": 1, "ICE-CONTROLLED": 1}),
    "unknown required attribute": lambda check: with_unknown(check),
    "indication": lambda check: their_check(cls=Class.INDICATION),
    "other method": lambda check: their_check(method=3),
    "answer to nothing": lambda check: their_answer(check),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_stranger_gets_no_answer_and_leaves_no_state(name: str) -> None:
    finder = PathFinder(OURS, THEIRS, controlling=True, now=0.0)
    finder.datagrams_to_send(0.0)
    before = finder.tried()
    finder.handle_datagram(HOSTILE[name](their_check()), ELSEWHERE, 0.001)
    assert finder.datagrams_to_send(0.001) == []
    assert finder.tried() == before
    assert finder.next_event() is None


def test_the_hostile_table_starts_from_a_check_that_is_answered() -> None:
    finder = PathFinder(OURS, THEIRS, controlling=True, now=0.0)
    finder.handle_datagram(their_check(), ELSEWHERE, 0.001)
    assert any(is_answer(d.data) for d in finder.datagrams_to_send(0.001))


def test_a_recorded_check_played_again_from_elsewhere_is_dropped() -> None:
    finder = PathFinder(OURS, THEIRS, controlling=True, now=0.0)
    check = their_check()
    finder.handle_datagram(check, THEIR_ADDRESS, 0.0)
    finder.datagrams_to_send(0.0)
    finder.handle_datagram(check, ELSEWHERE, 0.001)
    assert finder.datagrams_to_send(0.001) == []
    assert ELSEWHERE not in {pair.address for pair in finder.tried()}


def test_an_answer_from_another_address_proves_nothing() -> None:
    finder = PathFinder(OURS, THEIRS, controlling=True, now=0.0)
    (check,) = finder.datagrams_to_send(0.0)
    finder.handle_datagram(their_answer(check.data), ELSEWHERE, 0.01)
    assert [pair.answered for pair in finder.tried()] == [0]


def test_an_answer_under_a_wrong_password_proves_nothing() -> None:
    finder = PathFinder(OURS, THEIRS, controlling=True, now=0.0)
    (check,) = finder.datagrams_to_send(0.0)
    finder.handle_datagram(their_answer(check.data, WRONG_KEY), THEIR_ADDRESS, 0.01)
    assert [pair.answered for pair in finder.tried()] == [0]


def test_a_party_that_shows_ever_new_addresses_is_learnt_from_a_few_times_only() -> None:
    finder = PathFinder(OURS, THEIRS, controlling=True, now=0.0)
    for port in range(1, 1000):
        finder.handle_datagram(their_check(), Address("192.0.2.99", port), 0.0)
    assert len(finder.tried()) == 1 + MAX_REFLEXIVE


@given(st.lists(st.tuples(st.binary(max_size=120), st.integers(1, 65535)), max_size=20))
def test_no_bytes_crash_the_finder(datagrams: list[tuple[bytes, int]]) -> None:
    finder = PathFinder(OURS, THEIRS, controlling=True, now=0.0)
    for data, port in datagrams:
        finder.handle_datagram(data, Address("192.0.2.99", port), 0.0)
    assert len(finder.tried()) == 1


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_no_insider_makes_it_spin_flood_or_remember_without_end(data: bytes) -> None:
    targets.paths()(data)


def everything_sent(finder: PathFinder, until: float, since: float = 0.0):
    now = since
    while now <= until:
        for datagram in finder.datagrams_to_send(now):
            yield now, datagram
        timer = finder.next_timer()
        assert timer is not None
        now = max(timer, now)


def answer_until_nominated(finder: PathFinder) -> bytes:
    """Their answers to our checks, each 0.25 s late, until one nominates; that one."""
    (check,) = finder.datagrams_to_send(0.0)
    finder.handle_datagram(their_answer(check.data), THEIR_ADDRESS, 0.25)
    sent = [d.data for d in finder.datagrams_to_send(0.25) if not is_answer(d.data)]
    return next(data for data in sent if "NOMINATION" in stun.parse(data).attributes)


def prove_all(finder: PathFinder, since: float) -> None:
    """Every check of the next tenths of a second is answered."""
    for now in (since, since + 0.005, since + 0.05):
        for check in finder.datagrams_to_send(now):
            if not is_answer(check.data):
                finder.handle_datagram(their_answer(check.data), check.destination, now + 0.001)


def events_of(finder: PathFinder) -> list:
    return list(iter(finder.next_event, None))


def list_of(finder: PathFinder, kind: type) -> list:
    return [event for event in events_of(finder) if isinstance(event, kind)]


def side(addresses: list[Address]) -> RemoteSide:
    candidates: list[Candidate] = [candidate(Kind.HOST, address) for address in addresses]
    return RemoteSide("they-ufrag", "q" * 24, tuple(candidates))


IDS = Random(7)


def request(attributes: dict, key: bytes = OURS.password.encode(), **fields) -> bytes:
    cls = fields.pop("cls", Class.REQUEST)
    message = Message(cls, IDS.randbytes(12), attributes, **fields)
    return stun.serialize(message, key)


def their_check(role: str = "ICE-CONTROLLED", **more) -> bytes:
    fields = {name: more.pop(name) for name in ("cls", "method") if name in more}
    return request({"USERNAME": "us-ufrag:they-ufrag", "PRIORITY": 1, role: 1, **more}, **fields)


def their_word(number: int, role: str = "ICE-CONTROLLING") -> bytes:
    """A nomination of theirs, or a confirmation."""
    return their_check(role, NOMINATION=number)


def their_answer(check: bytes, key: bytes = THEIRS.password.encode()) -> bytes:
    attributes = {"XOR-MAPPED-ADDRESS": OURS.candidates[0].address}
    return stun.serialize(Message(Class.SUCCESS, check[8:20], attributes), key)


def bare(check: bytes) -> bytes:
    """The same without what protects it."""
    message = stun.parse(check)
    kept = {name: value for name, value in message.attributes.items() if name in UNPROTECTED}
    return stun.serialize(Message(message.cls, message.transaction, kept), fingerprint=False)


UNPROTECTED = {"USERNAME", "PRIORITY", "ICE-CONTROLLED"}


def reflected() -> bytes:
    finder = PathFinder(OURS, THEIRS, controlling=True, now=0.0)
    return finder.datagrams_to_send(0.0)[0].data


def with_unknown(check: bytes) -> bytes:
    body = bytes.fromhex("7fff0000") + bare(check)[20:]
    return check[:2] + len(body).to_bytes(2, "big") + check[4:20] + body


def is_answer(data: bytes) -> bool:
    return stun.parse(data).cls in (Class.SUCCESS, Class.ERROR)


def slow_lan(parties: tuple[Party, Party]) -> None:
    """Inside the LAN the first check is lost, so that the way through the NAT answers first."""
    for party in parties:
        send, lost = party.host.send, []

        def lossy(data: bytes, destination: Address, send=send, lost=lost) -> None:
            if destination.private and not lost:
                lost.append(data)
            else:
                send(data, destination)

        party.host.send = lossy
