"""Two parties bind at a relay in memory: what they get, and what nobody else gets."""

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traversal import stun
from traversal.candidate import Address
from traversal.relay import (
    FAILED_AFTER,
    FIRST_ALONE,
    LOST_AFTER,
    REFRESH,
    REQUEST_SIZE,
    BadTicket,
    RelayBinding,
    RelayPair,
    RelayProbe,
    RelayTicket,
    tickets_from_json,
)
from traversal.relay_filter import admits, is_bind
from traversal.relay_server import (
    BIND_WITHIN,
    NONCE_LIFE,
    RESTART_GRACE,
    TICKET_LIFE,
    Channel,
    PairClosed,
    PairOpened,
    RelayServer,
    Rules,
    Source,
)
from traversal.stun import BIND, Class, Message

HOST = "198.51.100.10"
ALICE, BOB, MALLORY = (Address(f"203.0.113.{n}", 4000 + n) for n in (1, 2, 66))
KEY = bytes(32)
PORTS = range(41000, 41010)
SESSION = "ab" * 32
UTC = 1_800_000_000.0  # the relay's clock; parties' is monotonic


def test_both_sides_bind_in_two_round_trips_and_the_pair_opens():
    relay, pair = a_relay_with_a_pair()
    alice, bob = bindings(pair)

    assert exchange(relay, alice, ALICE, rounds=2) == 2
    assert alice.bound
    assert not alice.other_bound
    assert alice.mapped == ALICE
    assert relay.next_event() is None

    exchange(relay, bob, BOB, rounds=2)
    assert bob.bound
    assert bob.other_bound
    assert relay.next_event() == PairOpened(pair.port, (ALICE, BOB))


def test_a_binding_says_in_words_how_far_it_has_come():
    relay, pair = a_relay_with_a_pair()
    alice, bob = bindings(pair)
    said = [str(alice)]
    exchange(relay, alice, ALICE, rounds=2)
    said.append(str(alice))
    exchange(relay, bob, BOB, rounds=2)
    said.append(str(bob))
    assert said == [
        f"relay {alice.server} does not answer",
        f"the other side does not come to relay {alice.server}",
        f"relay {alice.server} has both sides, and no check passes",
    ]


def test_whoever_came_first_soon_hears_that_the_other_side_has_come():
    relay, pair = a_relay_with_a_pair()
    alice, bob = bindings(pair)
    exchange(relay, alice, ALICE, rounds=2)
    exchange(relay, bob, BOB, rounds=2)

    exchange(relay, alice, ALICE, rounds=1, now=FIRST_ALONE)

    assert alice.other_bound


def test_whoever_waits_for_the_other_side_asks_ever_more_rarely():
    relay, pair = a_relay_with_a_pair()
    alice, bob = bindings(pair)
    exchange(relay, alice, ALICE, rounds=2)
    asked = []
    for tenth in range(200):
        if exchange(relay, alice, ALICE, rounds=1, now=tenth / 10):
            asked.append(tenth / 10)
    assert asked == [1.0, 3.0, 7.0, 12.0, 17.0]
    exchange(relay, bob, BOB, rounds=2, now=20.0)
    exchange(relay, alice, ALICE, rounds=1, now=22.0)
    assert alice.other_bound


def test_a_refresh_needs_one_round_trip():
    relay, pair = a_relay_with_a_pair()
    alice, bob = bindings(pair)
    exchange(relay, alice, ALICE, rounds=2)
    exchange(relay, bob, BOB, rounds=2)

    for at in (REFRESH * n for n in range(1, 60)):
        assert exchange(relay, alice, ALICE, rounds=2, now=at) == 1

    assert alice.bound


def test_a_pair_nobody_binds_again_is_closed():
    relay, pair = an_open_pair()
    relay.handle_timer(UTC + 119)
    assert relay.next_event() is None
    relay.handle_timer(UTC + 120)
    assert relay.next_event() == PairClosed(pair.port)
    assert not relay.pairs


def test_a_release_closes_the_pair_and_gives_the_port_back():
    relay, pair = a_relay_with_a_pair()
    alice, bob = bindings(pair)
    exchange(relay, alice, ALICE, rounds=2)
    exchange(relay, bob, BOB, rounds=2)
    relay.next_event()

    alice.release(1.0)
    exchange(relay, alice, ALICE, rounds=1, now=1.0)
    assert alice.released
    assert not alice.bound
    assert relay.next_event() == PairClosed(pair.port)
    bob.release(1.0)
    exchange(relay, bob, BOB, rounds=1, now=1.0)
    assert not relay.pairs


def test_a_stream_that_ends_after_udp_took_its_place_releases_nothing():
    relay, pair = an_open_pair()
    channel = Channel("stream 1")
    stream, by_udp = bindings(pair)[0], bindings(pair)[0]
    exchange(relay, stream, channel, rounds=2)
    exchange(relay, by_udp, ALICE, rounds=2)
    while relay.next_event() is not None:
        pass

    stream.release(1.0)
    exchange(relay, stream, channel, rounds=2, now=1.0)

    assert relay.next_event() is None
    assert relay.pairs[pair.port].sources == (ALICE, BOB)


def test_a_side_in_doubt_binds_at_once_and_is_not_bound_unless_that_is_answered_soon():
    relay, pair = an_open_pair()
    alice = bindings(pair)[0]
    exchange(relay, alice, ALICE, rounds=2)
    alice.doubt(1.0)
    exchange(relay, alice, ALICE, rounds=1, now=1.0)
    assert alice.bound

    alice.doubt(2.0)
    for now in (2.0, 2.1, 2.3, 2.7):
        assert alice.bound
        alice.datagrams_to_send(now)
    assert not alice.bound
    exchange(relay, alice, ALICE, rounds=1, now=5.0)
    assert alice.bound


def test_a_probe_shows_that_udp_passes_and_binds_nothing():
    relay, pair = a_relay_with_a_pair()
    ticket = pair.side(0, [HOST])
    probe = RelayProbe(ticket, ticket.servers()[0], 0.0)
    [asked] = probe.datagrams_to_send(0.0)
    answer = relay.handle_bind(asked.data, ALICE, pair.port, UTC)
    probe.handle_datagram(answer, MALLORY)
    probe.handle_datagram(b"x" * 40, ticket.servers()[0])
    assert not probe.passes

    probe.handle_datagram(answer, ticket.servers()[0])

    assert probe.passes
    assert probe.next_timer() is None
    assert relay.pairs[pair.port].sources is None
    assert relay.next_event() is None


def test_a_release_that_is_not_answered_ends_all_the_same():
    _, pair = a_relay_with_a_pair()
    alice = bindings(pair)[0]
    alice.release(0.0)
    for now in (n / 10 for n in range(int(LOST_AFTER * 10) + 30)):
        alice.datagrams_to_send(now)
    assert alice.released
    assert alice.next_timer() is None


def test_a_side_whose_nat_changed_moves_and_the_old_address_gets_nothing_more():
    relay, pair = an_open_pair()
    alice = bindings(pair)[0]
    moved = Address(ALICE.host, 5555)
    exchange(relay, alice, moved, rounds=2)
    assert relay.next_event() == PairOpened(pair.port, (moved, BOB))


def test_a_relay_that_started_again_takes_bound_sides_back_though_their_time_to_bind_is_over():
    relay, pair = a_relay_with_a_pair()
    alice, bob = bindings(pair)
    exchange(relay, alice, ALICE, rounds=2)
    exchange(relay, bob, BOB, rounds=2)
    later = BIND_WITHIN + 1000.0

    restarted = RelayServer(KEY, rules(), UTC + later)
    assert exchange(restarted, alice, ALICE, rounds=2, now=later) == 2  # its nonce is old
    exchange(restarted, bob, BOB, rounds=2, now=later)

    assert restarted.next_event() == PairOpened(pair.port, (ALICE, BOB))


def test_a_relay_away_for_a_moment_has_its_sides_back_at_their_next_refresh():
    relay, pair = a_relay_with_a_pair()
    alice, bob = bindings(pair)
    exchange(relay, alice, ALICE, rounds=2)
    exchange(relay, bob, BOB, rounds=2)

    restarted = RelayServer(KEY, rules(), UTC + 3)
    for binding, source in ((alice, ALICE), (bob, BOB)):
        assert exchange(restarted, binding, source, rounds=2, now=REFRESH) == 1

    assert restarted.next_event() == PairOpened(pair.port, (ALICE, BOB))


def test_a_ticket_that_is_not_answered_for_a_while_has_failed():
    relay, pair = a_relay_with_a_pair()
    alice = bindings(pair)[0]
    assert not alice.has_failed(10.0), "nothing was sent yet"
    alice.datagrams_to_send(10.0)
    assert not alice.has_failed(10.0 + FAILED_AFTER - 0.1)
    assert alice.has_failed(10.0 + FAILED_AFTER)
    exchange(relay, alice, ALICE, rounds=2, now=14.0)
    assert not alice.has_failed(14.0 + 2 * FAILED_AFTER)


def test_a_ticket_whose_port_another_pair_has_got_has_failed_at_once():
    old = a_relay().reserve("did:a", SESSION, len(PORTS), UTC)
    relay = a_relay()  # after a restart it does not know of them
    for pair in relay.reserve("did:b", SESSION, len(PORTS), UTC):
        assert bound_or_refused(relay, pair.side(0, [HOST]), ALICE, UTC) == "bound"
    bob = bindings(old[0])[1]
    exchange(relay, bob, BOB, rounds=2)
    assert bob.refusal == (437, "port")
    assert bob.has_failed(0.0)


def test_silence_means_no_longer_bound_but_never_giving_up():
    relay, pair = a_relay_with_a_pair()
    alice = bindings(pair)[0]
    exchange(relay, alice, ALICE, rounds=2)
    for now in (REFRESH + n / 10 for n in range(int(LOST_AFTER * 10) + 30)):
        alice.datagrams_to_send(now)
    assert not alice.bound
    assert alice.next_timer() is not None
    exchange(relay, alice, ALICE, rounds=2, now=REFRESH + 60)
    assert alice.bound


def test_binds_are_repeated_when_they_are_lost_but_ever_more_slowly():
    _, pair = a_relay_with_a_pair()
    alice = bindings(pair)[0]
    times = [now / 100 for now in range(1000) if alice.datagrams_to_send(now / 100)]
    assert times[:4] == pytest.approx([0.0, 0.1, 0.3, 0.7], abs=0.02)
    assert max(b - a for a, b in itertools.pairwise(times)) <= 2.02


def test_a_websocket_binds_like_an_address_and_leaving_closes_the_pair():
    relay, pair = a_relay_with_a_pair()
    alice, bob = bindings(pair)
    channel = Channel("ws-1")
    exchange(relay, alice, channel, rounds=2)
    exchange(relay, bob, BOB, rounds=2)
    assert alice.bound
    assert alice.mapped is None
    assert relay.next_event() == PairOpened(pair.port, (channel, BOB))
    relay.leave(channel)
    assert relay.next_event() == PairClosed(pair.port)


# Reservations


def test_one_account_gets_no_more_pairs_than_its_quota():
    relay = RelayServer(KEY, dataclasses.replace(rules(), account_pairs=3), UTC)
    assert len(relay.reserve("did:a", SESSION, 5, UTC)) == 3
    assert relay.reserve("did:a", "cd" * 32, 1, UTC) == []
    assert len(relay.reserve("did:b", SESSION, 1, UTC)) == 1


def test_all_accounts_together_get_no_more_pairs_than_there_are_ports():
    relay = a_relay()
    got = [pair for n in range(20) for pair in relay.reserve(f"did:{n}", SESSION, 1, UTC)]
    assert sorted(pair.port for pair in got) == list(PORTS)


def test_asking_again_for_a_session_gives_back_what_was_not_bound():
    relay = RelayServer(KEY, dataclasses.replace(rules(), account_pairs=3), UTC)
    for _ in range(5):
        assert len(relay.reserve("did:a", SESSION, 3, UTC)) == 3


def test_a_reserved_port_is_free_again_when_nobody_bound_in_time():
    relay, _ = a_relay_with_a_pair()
    relay.handle_timer(UTC + BIND_WITHIN - 1)
    assert relay.pairs
    relay.handle_timer(UTC + BIND_WITHIN)
    assert not relay.pairs


def test_after_a_restart_the_quota_counts_pairs_that_bind_again():
    pairs = a_relay().reserve("did:a", SESSION, 3, UTC)
    restarted = RelayServer(KEY, dataclasses.replace(rules(), account_pairs=2), UTC)
    codes = [bound_or_refused(restarted, pair.side(0, [HOST]), ALICE, UTC) for pair in pairs]
    assert codes == ["bound", "bound", 486]


# Attacks


def a_bind(
    ticket: RelayTicket, nonce: str | None = None, key: bytes | None = None, **more
) -> bytes:
    attributes = {"USERNAME": f"{ticket.id}:{ticket.side}", "LIFETIME": 120, **more}
    if nonce is not None:
        attributes["NONCE"] = nonce
    attributes["PADDING"] = bytes(REQUEST_SIZE)
    return stun.serialize(
        Message(Class.REQUEST, b"t" * 12, attributes, BIND), key or ticket.secret.encode()
    )


def with_other_proof(pair: RelayPair) -> RelayTicket:
    ticket = pair.side(0, [HOST])
    return dataclasses.replace(ticket, id=ticket.id[:-1] + ("A" if ticket.id[-1] != "A" else "E"))


def of_another_mediator(pair: RelayPair) -> RelayTicket:
    other = RelayServer(b"other key".ljust(32), rules(), UTC)
    return other.reserve("did:a", SESSION, 1, UTC)[0].side(0, [HOST])


UNANSWERED = {
    "nothing": lambda pair: b"",
    "noise": lambda pair: bytes(range(256)),
    "a STUN binding request": lambda pair: stun.serialize(Message(Class.REQUEST, bytes(12))),
    "a bind without a name": lambda pair: stun.serialize(
        Message(Class.REQUEST, bytes(12), {"PADDING": bytes(400)}, BIND)
    ),
    "a name that is no ticket": lambda pair: a_bind(
        dataclasses.replace(pair.side(0, [HOST]), id="A" * 63)
    ),
    "a ticket with another proof": lambda pair: a_bind(with_other_proof(pair)),
    "a ticket of another mediator": lambda pair: a_bind(of_another_mediator(pair)),
    "a side that does not exist": lambda pair: a_bind(
        dataclasses.replace(pair.side(0, [HOST]), side=2)
    ),
    "a ticket with a character more": lambda pair: a_bind(
        dataclasses.replace(pair.side(0, [HOST]), id=pair.id + "=")
    ),
    "a bind shorter than its answer": lambda pair: stun.serialize(
        Message(Class.REQUEST, bytes(12), {"USERNAME": f"{pair.id}:0"}, BIND)
    ),
    "an answer to a bind": lambda pair: stun.serialize(
        Message(Class.SUCCESS, bytes(12), {"USERNAME": f"{pair.id}:0"}, BIND)
    ),
    "a bind with an attribute nobody knows": lambda pair: unknown_attribute(pair),
}


@pytest.mark.parametrize("attack", UNANSWERED, ids=str)
def test_whoever_has_no_ticket_is_not_answered_and_leaves_nothing(attack):
    relay, pair = a_relay_with_a_pair()
    before = dict(relay.pairs)
    assert relay.handle_bind(UNANSWERED[attack](pair), MALLORY, pair.port, UTC) is None
    assert dict(relay.pairs) == before
    assert relay.next_event() is None


def test_a_ticket_is_nothing_at_another_port():
    relay, pair = a_relay_with_a_pair()
    for port in PORTS:
        if port != pair.port:
            assert relay.handle_bind(a_bind(pair.side(0, [HOST])), ALICE, port, UTC) is None


def test_who_spoofs_a_source_address_binds_nothing_there():
    relay, pair = a_relay_with_a_pair()
    ticket = pair.side(0, [HOST])
    nonce = challenge(relay, ticket, ALICE)
    # A nonce given to one address is worth nothing with another, though the secret is right.
    answer = stun.parse(
        relay.handle_bind(a_bind(ticket, nonce), Address("192.0.2.9", 53), pair.port, UTC)
    )
    assert answer.attributes["ERROR-CODE"] == (438, "")
    assert pair_is_untouched(relay, pair)


def test_a_third_address_cannot_steal_a_side_without_its_secret():
    relay, pair = an_open_pair()
    ticket = pair.side(0, [HOST])
    nonce = challenge(relay, ticket, MALLORY)
    assert relay.handle_bind(a_bind(ticket, nonce, b"guess"), MALLORY, pair.port, UTC) is None
    other_sides = pair.secrets[1].encode()
    assert relay.handle_bind(a_bind(ticket, nonce, other_sides), MALLORY, pair.port, UTC) is None
    assert relay.next_event() is None


def test_a_bind_heard_on_the_way_is_worth_nothing_from_another_address():
    relay, pair = a_relay_with_a_pair()
    ticket = pair.side(0, [HOST])
    heard = a_bind(ticket, challenge(relay, ticket, ALICE))
    assert stun.parse(relay.handle_bind(heard, ALICE, pair.port, UTC)).cls is Class.SUCCESS
    assert stun.parse(relay.handle_bind(heard, MALLORY, pair.port, UTC)).cls is Class.ERROR
    assert relay.pairs[pair.port].sides[0].source == ALICE


def test_a_bind_heard_long_ago_is_worth_nothing():
    relay, pair = a_relay_with_a_pair()
    ticket = pair.side(0, [HOST])
    heard = a_bind(ticket, challenge(relay, ticket, ALICE))
    answer = stun.parse(relay.handle_bind(heard, ALICE, pair.port, UTC + NONCE_LIFE + 1))
    assert answer.attributes["ERROR-CODE"] == (438, "")


def test_an_expired_ticket_binds_nothing():
    relay, pair = a_relay_with_a_pair()
    for late in (UTC + BIND_WITHIN + RESTART_GRACE, UTC + TICKET_LIFE):
        relay.handle_timer(late)
        assert bound_or_refused(relay, pair.side(0, [HOST]), ALICE, late) == 403
    assert not relay.pairs


def test_an_open_pair_ends_with_its_ticket():
    relay, pair = an_open_pair()
    for late in range(60, TICKET_LIFE, 60):
        for number, source in enumerate((ALICE, BOB)):
            bound_or_refused(relay, pair.side(number, [HOST]), source, UTC + late)
        relay.handle_timer(UTC + late)
    assert relay.pairs
    relay.handle_timer(UTC + TICKET_LIFE)
    assert not relay.pairs


def test_an_address_that_may_not_be_sent_to_is_refused():
    relay, pair = a_relay_with_a_pair(may_bind=lambda source: source != MALLORY)
    assert bound_or_refused(relay, pair.side(0, [HOST]), MALLORY, UTC) == 403
    assert pair_is_untouched(relay, pair)


def test_one_address_cannot_be_both_sides():
    relay, pair = a_relay_with_a_pair()
    assert bound_or_refused(relay, pair.side(0, [HOST]), ALICE, UTC) == "bound"
    assert bound_or_refused(relay, pair.side(1, [HOST]), ALICE, UTC) == 403


def test_a_port_that_another_pair_has_is_refused():
    old = a_relay().reserve("did:a", SESSION, len(PORTS), UTC)
    relay = a_relay()  # after a restart it does not know of them
    for pair in relay.reserve("did:b", SESSION, len(PORTS), UTC):
        assert bound_or_refused(relay, pair.side(0, [HOST]), ALICE, UTC) == "bound"
    assert {bound_or_refused(relay, pair.side(0, [HOST]), BOB, UTC) for pair in old} == {437}


def test_a_flood_of_binds_leaves_no_more_than_the_pairs_there_are():
    relay, pair = a_relay_with_a_pair()
    ticket = pair.side(0, [HOST])
    for n in range(2000):
        source = Address(f"192.0.2.{n % 250}", 1024 + n)
        relay.handle_bind(a_bind(ticket), source, pair.port, UTC)
        relay.handle_bind(a_bind(ticket, "A" * 22), source, pair.port, UTC)
        relay.handle_bind(a_bind(with_other_proof(pair)), source, pair.port, UTC)
    assert len(relay.pairs) == 1
    assert pair_is_untouched(relay, pair)
    assert len(relay.refused) < 10


def test_relays_do_not_pass_on_binds_so_none_can_be_bound_at_another():
    _, pair = a_relay_with_a_pair()
    bind = a_bind(pair.side(0, [HOST]))
    assert is_bind(bind)
    assert not admits(bind)


@given(st.binary(max_size=300))
def test_no_bytes_are_answered_with_more_bytes_or_raise(data):
    relay, pair = a_relay_with_a_pair()
    assert len(relay.handle_bind(data, MALLORY, pair.port, UTC) or b"") <= len(data)


@given(st.integers(0, 400), st.booleans(), st.sampled_from([ALICE, Address("2001:db8::1", 9)]))
def test_no_answer_is_longer_than_its_request(padding, known, source):
    relay, pair = a_relay_with_a_pair()
    ticket = pair.side(0, [HOST])
    nonce = challenge(relay, ticket, source) if known else None
    attributes = {"USERNAME": f"{ticket.id}:0", "PADDING": bytes(padding)}
    if nonce:
        attributes["NONCE"] = nonce
    data = stun.serialize(
        Message(Class.REQUEST, b"t" * 12, attributes, BIND), ticket.secret.encode()
    )
    assert len(relay.handle_bind(data, source, pair.port, UTC) or b"") <= len(data)


# Of the client


def test_an_answer_from_elsewhere_is_not_the_relays():
    relay, pair = a_relay_with_a_pair()
    alice = bindings(pair)[0]
    [request] = alice.datagrams_to_send(0.0)
    answer = relay.handle_bind(request.data, ALICE, pair.port, UTC)
    assert not alice.handle_datagram(answer, MALLORY, 0.01)
    assert alice.handle_datagram(answer, alice.server, 0.01)


@pytest.mark.parametrize("cls", [Class.SUCCESS, Class.ERROR])
def test_an_answer_without_proof_neither_binds_nor_ends_a_binding(cls):
    _, pair = a_relay_with_a_pair()
    alice = bindings(pair)[0]
    [request] = alice.datagrams_to_send(0.0)
    transaction = stun.parse(request.data).transaction
    attributes = {"ERROR-CODE": (403, "")} if cls is Class.ERROR else {"LIFETIME": 1}
    forged = stun.serialize(Message(cls, transaction, attributes, BIND))
    alice.handle_datagram(forged, alice.server, 0.01)
    assert not alice.bound
    assert alice.refusal is None
    assert alice.next_timer() is not None


def test_endless_challenges_do_not_make_a_client_send_faster():
    _, pair = a_relay_with_a_pair()
    alice = bindings(pair)[0]
    sent = 0
    for now in (n / 100 for n in range(1000)):
        for request in alice.datagrams_to_send(now):
            sent += 1
            transaction = stun.parse(request.data).transaction
            attributes = {"ERROR-CODE": (401, ""), "NONCE": "x"}
            again = stun.serialize(Message(Class.ERROR, transaction, attributes, BIND))
            alice.handle_datagram(again, alice.server, now)
    assert sent < 20


@given(st.binary(max_size=300))
def test_no_bytes_upset_a_binding(data):
    _, pair = a_relay_with_a_pair()
    alice = bindings(pair)[0]
    alice.datagrams_to_send(0.0)
    alice.handle_datagram(data, alice.server, 0.0)
    assert not alice.bound


# Tickets in offers


def test_a_ticket_survives_the_way_in_an_offer_and_does_not_show_its_secret():
    _, pair = a_relay_with_a_pair()
    ticket = pair.side(1, [HOST, "2001:db8::10"])
    assert tickets_from_json([ticket.to_json()]) == (ticket,)
    assert ticket.secret not in repr(ticket)
    assert pair.secrets[0] not in repr(pair)


BAD = {
    "no object": [],
    "a name as host": {"hosts": ["relay.example"]},
    "no host": {"hosts": []},
    "five hosts": {"hosts": [HOST] * 5},
    "the unspecified address": {"hosts": ["0.0.0.0"]},
    "port 0": {"port": 0},
    "a port of text": {"port": "41000"},
    "side 2": {"side": 2},
    "a side that is true": {"side": True},
    "a ticket with a colon": {"ticket": "A" * 40 + ":"},
    "a ticket of a kilobyte": {"ticket": "A" * 1000},
    "no secret": {"secret": None},
    "a time of text": {"until": "tomorrow"},
    "an http URL": {"websocket": "http://relay.example"},
    "a URL with a password": {"websocket": "wss://a:b@relay.example"},
    "a URL with a line break": {"websocket": "wss://relay.example/\r\nX: y"},
    "a URL of a kilobyte": {"websocket": "wss://relay.example/" + "a" * 1000},
    "a port that is none": {"websocket": "wss://relay.example:99999/"},
}


@pytest.mark.parametrize("name", BAD)
def test_a_ticket_nobody_can_use_is_refused(name):
    _, pair = a_relay_with_a_pair()
    good, change = pair.side(0, [HOST]).to_json(), BAD[name]
    with pytest.raises(BadTicket):
        RelayTicket.from_json({**good, **change} if isinstance(change, dict) else change)


def test_an_offer_has_few_relays():
    _, pair = a_relay_with_a_pair()
    with pytest.raises(BadTicket):
        tickets_from_json([pair.side(0, [HOST]).to_json()] * 5)


# Helpers


def rules(**changes) -> Rules:
    return Rules(
        PORTS, (HOST,), **{"may_bind": lambda source: True, "rate": 100_000_000, **changes}
    )


def a_relay(**changes) -> RelayServer:
    return RelayServer(KEY, rules(**changes), UTC)


def a_relay_with_a_pair(**changes) -> tuple[RelayServer, RelayPair]:
    relay = a_relay(**changes)
    return relay, relay.reserve("did:a", SESSION, 1, UTC)[0]


def an_open_pair() -> tuple[RelayServer, RelayPair]:
    relay, pair = a_relay_with_a_pair()
    for number, source in enumerate((ALICE, BOB)):
        assert bound_or_refused(relay, pair.side(number, [HOST]), source, UTC) == "bound"
    assert relay.next_event() is not None
    return relay, pair


def bindings(pair: RelayPair) -> tuple[RelayBinding, RelayBinding]:
    first, second = (
        RelayBinding(pair.side(number, [HOST]), Address(HOST, pair.port), 0.0) for number in (0, 1)
    )
    return first, second


def exchange(
    relay: RelayServer, binding: RelayBinding, source: Source, rounds: int, now: float = 0.0
) -> int:
    """So many round trips at most; how many there were."""
    for done in range(rounds):
        requests = binding.datagrams_to_send(now)
        if not requests:
            return done
        for request in requests:
            port = None if isinstance(source, Channel) else binding.server.port
            answer = relay.handle_bind(request.data, source, port, UTC + now)
            assert answer is not None
            assert len(answer) <= len(request.data)
            assert binding.handle_datagram(answer, binding.server, now)
    return rounds


def challenge(relay: RelayServer, ticket: RelayTicket, source: Source, at: float = UTC) -> str:
    answer = stun.parse(relay.handle_bind(a_bind(ticket), source, ticket.port, at))
    assert answer.attributes["ERROR-CODE"] == (401, "")
    return answer.attributes["NONCE"]


def bound_or_refused(relay: RelayServer, ticket: RelayTicket, source: Source, at: float):
    nonce = challenge(relay, ticket, source, at)
    answer = stun.parse(relay.handle_bind(a_bind(ticket, nonce), source, ticket.port, at))
    return "bound" if answer.cls is Class.SUCCESS else answer.attributes["ERROR-CODE"][0]


def pair_is_untouched(relay: RelayServer, pair: RelayPair) -> bool:
    return all(side.source is None for side in relay.pairs[pair.port].sides)


def unknown_attribute(pair: RelayPair) -> bytes:
    """Before any proof; behind one it would not be believed."""
    attributes = {"USERNAME": f"{pair.id}:0", "PADDING": bytes(REQUEST_SIZE)}
    request = Message(Class.REQUEST, b"t" * 12, attributes, BIND)
    longer = stun.serialize(request, fingerprint=False) + bytes.fromhex("7ffe0000")
    return longer[:2] + (len(longer) - 20).to_bytes(2, "big") + longer[4:]
