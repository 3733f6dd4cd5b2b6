"""A lobby's machines, rule by rule: what each state makes of each message, and never does."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace

import pytest

from agent.lobby.events import GuestState, HostState, Over, PieceCame, ProgramCame, Reopened
from agent.lobby.link import LobbyLink
from messaging.protocols.lobby import (
    Begin,
    Close,
    Echo,
    Knock,
    Leave,
    Piece,
    Ready,
    Refuse,
    Roster,
    Settle,
    Want,
    pieces_of,
)
from tests.support.lobbies import ARCHIVE, OTHER_ARCHIVE, PROGRAM, Lobby, draft_for, gathered
from tests.support.sessions import NOW, make_parties

PARTIES = make_parties(4)
THREE = PARTIES[:3]


# together


@pytest.mark.parametrize("count", [2, 3, 20])
def test_everybody_goes_on_with_the_same_descriptor(count: int) -> None:
    lobby = gathered(count)
    ids = {began.gathered.descriptor.id for i in range(count) if (began := lobby.began(i))}
    assert len(ids) == 1
    assert lobby.host.state is HostState.BEGUN
    assert {guest.state for guest in lobby.guests.values()} == {GuestState.BEGUN}


def test_a_lobby_of_twenty_costs_six_messages_a_guest() -> None:
    """Knock, roster, ready, settle, echo, begin: not a message between two guests."""
    assert gathered(20).sent == 6 * 19


def test_guests_who_trickle_in_cost_the_host_one_message_a_second() -> None:
    lobby = Lobby(make_parties(20))
    for index in range(1, 20):
        lobby.join(index)
        lobby.deliver_all()
        lobby.wait(1)
    assert lobby.sent <= 6 * 19 + 2 * 20


def test_the_order_of_the_seats_is_the_order_of_the_roster() -> None:
    lobby = Lobby(THREE)
    lobby.join(2)
    lobby.deliver_all()
    lobby.join(1)
    lobby.deliver_all()
    began = lobby.began(0)
    assert began is not None
    assert began.gathered.draft.parties == (THREE[0].did, THREE[2].did, THREE[1].did)


# a host, state by state


def test_a_knock_without_the_links_token_is_not_even_heard() -> None:
    lobby = Lobby(THREE)
    lobby.join(1, link=replace(lobby.link, token=secrets.token_urlsafe(16)))
    lobby.deliver_all()
    assert lobby.host.knocking() == []
    assert lobby.events.get(THREE[0].did) is None


def test_a_link_lets_knock_and_not_enter() -> None:
    lobby = Lobby(THREE, obliging=False)
    lobby.join(1)
    lobby.deliver_all()
    assert [guest.did for guest in lobby.host.knocking()] == [THREE[1].did]
    assert [seat.did for seat in lobby.host.roster().entries] == [THREE[0].did]
    assert lobby.guest(1).state is GuestState.KNOCKING


def test_a_knock_that_is_repeated_or_replayed_is_one_knock() -> None:
    lobby = Lobby(THREE, obliging=False)
    lobby.join(1)
    [mail] = lobby.mail
    for _ in range(5):
        lobby.hand_over(mail)
    assert len(lobby.events[THREE[0].did]) == 1
    assert lobby.sent == 1


def test_who_was_refused_is_refused_again_and_troubles_nobody() -> None:
    lobby = Lobby(THREE, obliging=False)
    lobby.join(1)
    lobby.deliver_all()
    lobby.host.refuse(THREE[1].did, "no", lobby.now)
    lobby.collect()
    lobby.deliver_all()
    lobby.join(1)
    lobby.deliver_all()
    over = lobby.over(1)
    assert over is not None
    assert "does not let you in" in over.reason
    assert len([e for e in lobby.events[THREE[0].did] if type(e).__name__ == "Knocked"]) == 1


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda lobby: lobby.host.lock(NOW), "locked"),
        (lambda lobby: lobby.host.close("the host closed it"), "closed"),
    ],
    ids=["locked", "closed"],
)
def test_a_lobby_that_takes_nobody_says_so(prepare: Callable[[Lobby], None], words: str) -> None:
    lobby = Lobby(THREE)
    prepare(lobby)
    lobby.join(1)
    lobby.deliver_all()
    over = lobby.over(1)
    assert over is not None
    assert words in over.reason


def test_a_full_lobby_takes_nobody_until_a_seat_is_free() -> None:
    lobby = Lobby(PARTIES, seats=3)
    lobby.join(1)
    lobby.deliver_all()
    lobby.obliging = False
    lobby.join(2)
    lobby.deliver_all()
    lobby.host.admit(PARTIES[2].did, lobby.now)
    lobby.collect()
    lobby.join(3)
    lobby.deliver_all()
    over = lobby.over(3)
    assert over is not None
    assert "taken" in over.reason
    lobby.guest(2).leave("changed my mind")
    lobby.collect()
    lobby.deliver_all()
    lobby.obliging = True
    lobby.join(3)
    lobby.settle_down()
    assert lobby.began(3) is not None
    assert lobby.began(2) is None


def test_start_goes_on_without_the_free_seats_but_not_below_what_the_program_needs() -> None:
    lobby = Lobby(PARTIES)
    with pytest.raises(ValueError, match="needs 2"):
        lobby.host.start(lobby.now)
    lobby.join(1)
    lobby.deliver_all()
    lobby.host.start(lobby.now)
    lobby.collect()
    lobby.settle_down()
    began = lobby.began(1)
    assert began is not None
    assert len(began.gathered.draft.parties) == 2


def test_a_guest_that_leaves_opens_a_settled_lobby_again() -> None:
    lobby = settled()
    lobby.guest(1).leave("changed my mind")
    lobby.collect()
    lobby.settle_down()
    assert lobby.host.state is HostState.OPEN
    assert any(isinstance(event, Reopened) for event in lobby.events[THREE[0].did])
    assert lobby.guest(2).state is GuestState.READY
    lobby.obliging = True
    lobby.join(1)
    lobby.settle_down()
    assert all(lobby.began(index) for index in range(3))


def test_a_guest_that_lost_everything_comes_back_to_its_seat() -> None:
    lobby = settled()
    lobby.obliging = True
    lobby.join(1)
    lobby.settle_down()
    assert all(lobby.began(index) for index in range(3))
    assert len({lobby.began(i).gathered.descriptor.id for i in range(3)}) == 1  # type: ignore[union-attr]


def test_a_host_that_was_restarted_goes_on_where_it_was() -> None:
    lobby = settled()
    kept = lobby.host.to_json()
    lobby.host = lobby.new_host(kept["nonce"])
    lobby.host.restore(kept, lobby.now)
    lobby.obliging = True
    lobby.collect()
    lobby.settle_down()
    assert all(lobby.began(index) for index in range(3))


def test_a_guest_that_was_restarted_goes_on_where_it_was() -> None:
    lobby = settled()
    lobby.obliging = True
    kept = lobby.guest(1).to_json()
    lobby.restart(1, kept)
    lobby.collect()
    lobby.knows(lobby.host)
    lobby.host.confirm(lobby.now)
    lobby.knows(lobby.guest(2))
    lobby.guest(2).confirm(lobby.now)
    lobby.collect()
    lobby.settle_down()
    assert all(lobby.began(index) for index in range(3))


def test_a_lobby_expires_on_both_sides() -> None:
    lobby = Lobby(THREE)
    lobby.join(1)
    lobby.deliver_all()
    lobby.wait(3600)
    for index in (0, 1):
        over = lobby.over(index)
        assert over is not None
        assert "expired" in over.reason
    assert lobby.host.state is HostState.CLOSED


def test_a_settled_roster_goes_again_to_who_has_not_signed_and_to_nobody_else() -> None:
    lobby = settled(obliging=True, until="settle")
    settles = [mail for mail in lobby.mail if isinstance(mail[2], Settle)]
    lobby.mail = [settles[0]]
    lobby.deliver_all()
    lobby.wait(31)
    again = [mail for mail in lobby.mail if isinstance(mail[2], Settle)]
    assert [mail[1] for mail in again] == [settles[1][1]]


def test_pieces_go_to_who_is_in_and_not_without_end() -> None:
    lobby = Lobby(THREE, obliging=False)
    want = Want(lobby.link.lobby, PROGRAM.sha256, (0, 1, 2, 63))
    lobby.host.handle_message(THREE[1].did, want, NOW)
    assert lobby.host.messages_to_send() == []
    lobby.join(1)
    lobby.deliver_all()
    lobby.host.handle_message(THREE[1].did, want, NOW)
    assert lobby.host.messages_to_send() == []
    lobby.host.admit(THREE[1].did, NOW)
    lobby.host.messages_to_send()
    sent = 0
    for _ in range(1000):
        lobby.host.handle_message(THREE[1].did, want, NOW)
        sent += len(lobby.host.messages_to_send())
    assert sent == 512


# a guest, state by state


@pytest.mark.parametrize("state", ["knocking", "choosing", "ready", "settled"])
def test_only_the_host_of_the_link_is_listened_to(state: str) -> None:
    lobby = guest_in(state)
    guest = lobby.guest(1)
    before = guest.state
    for message in everything_a_host_says(lobby):
        guest.handle_message(PARTIES[3].did, message, lobby.now)
    assert guest.state is before
    assert guest.next_event() is None


@pytest.mark.parametrize("state", ["knocking", "choosing", "ready", "settled"])
@pytest.mark.parametrize("kind", [Refuse, Close])
def test_a_host_can_end_it_in_every_state(state: str, kind: type) -> None:
    lobby = guest_in(state)
    lobby.guest(1).handle_message(THREE[0].did, kind(lobby.link.lobby, "no"), lobby.now)
    lobby.collect()
    assert lobby.guest(1).state is GuestState.LEFT
    assert lobby.over(1) == Over("no")


@pytest.mark.parametrize("state", ["knocking", "choosing", "ready", "settled"])
def test_messages_of_another_lobby_change_nothing(state: str) -> None:
    lobby = guest_in(state)
    guest = lobby.guest(1)
    before = guest.state
    for message in everything_a_host_says(lobby):
        other = replace(message, lobby=secrets.token_urlsafe(16))
        guest.handle_message(THREE[0].did, other, lobby.now)
    assert guest.state is before


def test_a_guest_does_not_get_ready_for_a_program_its_owner_did_not_see() -> None:
    lobby = guest_in("ready")
    other = replace(PROGRAM, sha256="cd" * 32)
    roster = replace(lobby.host.roster(), seq=99, program=other)
    lobby.guest(1).handle_message(THREE[0].did, roster, lobby.now)
    lobby.collect()
    assert lobby.guest(1).state is GuestState.LEFT


def test_a_seat_that_was_given_away_ends_it() -> None:
    lobby = guest_in("ready")
    roster = lobby.host.roster()
    without = replace(roster, seq=99, entries=roster.entries[:1])
    lobby.guest(1).handle_message(THREE[0].did, without, lobby.now)
    lobby.collect()
    over = lobby.over(1)
    assert over is not None
    assert "seat" in over.reason


def test_an_older_roster_never_replaces_a_newer_one() -> None:
    lobby = guest_in("ready")
    guest = lobby.guest(1)
    known = guest.roster
    assert known is not None
    guest.handle_message(THREE[0].did, replace(known, seq=known.seq - 1, locked=True), lobby.now)
    assert guest.roster == known


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"program": {"name": "second_price_auction", "sha256": "cd" * 32}}, "sha256"),
        ({"threshold": 0}, "threshold"),
        ({"outputs": {"your bid": "the host"}}, "outputs"),
        ({"runtime": {"mpyc": "0.10"}}, "mpyc"),
        ({"adapter": "generic"}, "adapter"),
        ({"parameters": {"reserve": 1}}, "parameters"),
        ({"parties": [party.did for party in THREE[1:]]}, "lacks"),
        ({"parties": [party.did for party in (THREE[0], *PARTIES[2:])]}, "lacks"),
        ({"parties": [THREE[0].did, THREE[1].did, THREE[1].did]}, "twice"),
    ],
    ids=[
        *("program", "threshold", "outputs", "versions", "adapter", "parameters"),
        *("without the host", "without us", "somebody twice"),
    ],
)
def test_a_final_roster_that_we_would_not_have_made_is_left(
    change: dict[str, object], words: str
) -> None:
    lobby = settled(obliging=True, until="settle")
    settle = settle_for(lobby, 1)
    lobby.mail.clear()
    hostile = replace(settle, draft={**settle.draft, **change})
    lobby.guest(1).handle_message(THREE[0].did, hostile, lobby.now)
    lobby.collect()
    over = lobby.over(1)
    assert over is not None
    assert words in over.reason
    assert not any(isinstance(mail[2], Echo) for mail in lobby.mail)


@pytest.mark.parametrize(
    "change",
    [
        {"nonces": ()},
        {"created": int((NOW - 26 * 3600) * 1000)},
        {"created": int((NOW + 26 * 3600) * 1000)},
    ],
    ids=["no nonces", "of yesterday", "of tomorrow"],
)
def test_a_final_roster_of_another_time_or_without_nonces_is_left(
    change: dict[str, object],
) -> None:
    lobby = settled(obliging=True, until="settle")
    settle = replace(settle_for(lobby, 1), **change)  # type: ignore[arg-type]
    lobby.guest(1).handle_message(THREE[0].did, settle, lobby.now)
    lobby.collect()
    assert lobby.guest(1).state is GuestState.LEFT


def test_a_final_roster_for_our_predecessor_is_not_signed_and_the_host_hears_of_us() -> None:
    lobby = settled(obliging=True, until="settle")
    settle = replace(settle_for(lobby, 1), nonces=("A" * 43, "B" * 43, "C" * 43))
    guest = lobby.guest(1)
    guest.handle_message(THREE[0].did, settle, lobby.now)
    assert guest.state is GuestState.READY
    assert [type(message) for _, message in guest.messages_to_send()] == [Knock, Ready]


def test_nobody_begins_without_the_signature_of_every_party() -> None:
    lobby = settled(obliging=True, until="begin")
    begin = next(mail[2] for mail in lobby.mail if isinstance(mail[2], Begin))
    lobby.mail.clear()
    assert isinstance(begin, Begin)
    guest = lobby.guest(1)
    twice = (begin.statements[0], begin.statements[1], begin.statements[1])
    for statements in (begin.statements[:2], twice, (), (*begin.statements[:2], "e30.e30.AA")):
        guest.handle_message(THREE[0].did, replace(begin, statements=statements), lobby.now)
        assert guest.state is GuestState.SETTLED
    guest.handle_message(THREE[0].did, begin, lobby.now)
    assert guest.state is GuestState.BEGUN


def test_a_guest_does_not_sign_before_its_owner_has_compared() -> None:
    lobby = settled()
    lobby.obliging = False
    guest = lobby.guest(1)
    guest.know({party.did: party.document for party in THREE}, lobby.now)
    assert guest.state is GuestState.SETTLED
    assert guest.messages_to_send() == []
    guest.confirm(lobby.now)
    assert [type(message) for _, message in guest.messages_to_send()] == [Echo]


def test_a_host_has_not_compared_a_roster_that_is_not_final_yet() -> None:
    lobby = Lobby(THREE, obliging=False)
    lobby.host.confirm(lobby.now)
    for index in (1, 2):
        lobby.join(index)
        lobby.deliver_all()
        lobby.host.admit(THREE[index].did, lobby.now)
        lobby.collect()
        lobby.deliver_all()
        lobby.guest(index).approve(draft_for, lobby.now)
        lobby.collect()
    lobby.deliver_all()
    lobby.knows(lobby.host)
    for guest in lobby.guests.values():
        guest.confirm(lobby.now)
    lobby.collect()
    lobby.deliver_all()
    assert lobby.host.state is HostState.SETTLING
    lobby.host.confirm(lobby.now)
    assert lobby.host.state is HostState.BEGUN


def test_a_guest_that_is_sent_away_too_late_stays() -> None:
    """Everybody has signed; a refusal that overtakes `begin` would split those who go on."""
    lobby = settled(obliging=True, until="begin")
    assert lobby.host.state is HostState.BEGUN
    lobby.host.refuse(THREE[1].did, "no", lobby.now)
    assert lobby.host.messages_to_send() == []


def test_an_earlier_begin_that_comes_late_does_not_replace_the_one_that_counts() -> None:
    lobby = settled(obliging=True, until="begin")
    begin = next(mail[2] for mail in lobby.mail if isinstance(mail[2], Begin))
    assert isinstance(begin, Begin)
    guest = lobby.guest(1)
    guest._confirmed = False
    for message in (begin, replace(begin, seq=begin.seq - 1, statements=())):
        guest.handle_message(THREE[0].did, message, lobby.now)
    guest.confirm(lobby.now)
    assert guest.state is GuestState.BEGUN


def test_a_program_comes_in_pieces_in_any_order_and_is_checked() -> None:
    lobby = guest_in("choosing")
    guest = lobby.guest(1)
    guest.fetch(lobby.now)
    lobby.collect()
    lobby.deliver_all()
    told = lobby.events[THREE[1].did]
    assert [event.have for event in told if isinstance(event, PieceCame)] == [1, 2, 3]
    assert [event.archive for event in told if isinstance(event, ProgramCame)] == [ARCHIVE]


def test_pieces_of_another_program_end_it() -> None:
    lobby = guest_in("choosing")
    guest = lobby.guest(1)
    guest.fetch(lobby.now)
    for index, data in enumerate(pieces_of(OTHER_ARCHIVE)[:3]):
        piece = Piece(lobby.link.lobby, PROGRAM.sha256, index, data)
        guest.handle_message(THREE[0].did, piece, lobby.now)
    lobby.collect()
    over = lobby.over(1)
    assert over is not None
    assert "another program" in over.reason


def test_pieces_that_were_not_asked_for_are_dropped() -> None:
    lobby = guest_in("choosing")
    guest = lobby.guest(1)
    for index, data in enumerate(pieces_of(ARCHIVE)):
        piece = Piece(lobby.link.lobby, PROGRAM.sha256, index, data)
        guest.handle_message(THREE[0].did, piece, lobby.now)
    assert guest.next_event() is None


def test_what_was_not_answered_is_said_again_more_and_more_rarely() -> None:
    lobby = Lobby(THREE, obliging=False)
    guest = lobby.join(1)
    said = []
    for second in range(3599):
        guest.handle_timer(NOW + second)
        if guest.messages_to_send():
            said.append(second)
    assert said == [60, 180, 420, 900, 1500, 2100, 2700, 3300]


# helpers


def guest_in(state: str) -> Lobby:
    """A lobby of three whose first guest is in this state."""
    if state == "settled":
        return settled()
    lobby = Lobby(THREE, obliging=False)
    lobby.join(1)
    if state == "knocking":
        return lobby
    lobby.deliver_all()
    lobby.host.admit(THREE[1].did, lobby.now)
    lobby.collect()
    lobby.deliver_all()
    if state == "ready":
        lobby.guest(1).approve(draft_for, lobby.now)
        lobby.collect()
        lobby.deliver_all()
    assert lobby.guest(1).state == state
    return lobby


def settled(*, obliging: bool = False, until: str = "") -> Lobby:
    """A lobby of three whose roster is final: unsigned, or with these messages under way."""
    lobby = Lobby(THREE)
    for index in (1, 2):
        lobby.join(index)
    kind = {"settle": Settle, "begin": Begin, "": Settle}[until]
    while not any(isinstance(mail[2], kind) for mail in lobby.mail):
        assert lobby.deliver()
    lobby.obliging = obliging
    if not until:
        lobby.deliver_all()
        assert {guest.state for guest in lobby.guests.values()} == {GuestState.SETTLED}
    return lobby


def settle_for(lobby: Lobby, index: int) -> Settle:
    did = THREE[index].did
    found = [m for _, to, m in lobby.mail if to == did and isinstance(m, Settle)]
    return found[0]


def everything_a_host_says(lobby: Lobby) -> list[Roster | Settle | Begin | Refuse | Close]:
    draft = draft_for([party.did for party in THREE], ()).to_json()
    id_ = lobby.link.lobby
    return [
        replace(lobby.host.roster(), seq=99),
        Settle(id_, 99, draft, ("A" * 43,) * 3, int(NOW * 1000)),
        Begin(id_, 99, ("a.b.c",) * 3),
        Refuse(id_, "no"),
        Close(id_, "no"),
    ]


def test_the_links_of_two_lobbies_differ_in_everything() -> None:
    one, other = (LobbyLink.new(THREE[0].did, "", 1) for _ in range(2))
    assert one.lobby != other.lobby
    assert one.token != other.token


@pytest.mark.parametrize(
    "message",
    [
        Ready("L" * 22, PROGRAM.sha256),
        Echo("L" * 22, 1, "a.b.c"),
        Leave("L" * 22, "gone"),
        Want("L" * 22, PROGRAM.sha256, (0,)),
    ],
    ids=["ready", "echo", "leave", "want"],
)
def test_a_host_hears_nothing_of_who_is_not_in(message: Ready | Echo | Leave | Want) -> None:
    lobby = Lobby(THREE, obliging=False)
    lobby.host.handle_message(THREE[1].did, replace(message, lobby=lobby.link.lobby), lobby.now)
    assert lobby.host.messages_to_send() == []
    assert lobby.host.next_event() is None
