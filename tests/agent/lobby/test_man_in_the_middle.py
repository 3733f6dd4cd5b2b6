"""Who stands in the middle of a lobby, what it gains, and where it is seen.

A hostile host runs the rooms it shows to its guests against each other; a hostile mediator swaps,
replays and guesses. Each is a program here, and each ends in nothing or in different phrases.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.lobby.code import Caller, Doorkeeper, WrongCode, door_of
from agent.lobby.events import Began, GuestState, Settling
from agent.lobby.link import LinkSwapped, LobbyLink, parse_link
from agent.lobby.pake import Exchange, Side, proof
from agent.words import new_code, phrase, word_list
from messaging.protocols.lobby import Answer, Begin, GiveLink, Prove, Settle, Speak
from tests.support.lobbies import Lobby
from tests.support.sessions import NOW, Party, make_parties

ALICE, BOB, CAROL, MALLORY, OTHER = make_parties(5)
MEDIATOR = "did:web:mediator.example"


class TwoFacedHost:
    """Mallory hosts, and opens a room for each guest in which puppets have the others' seats."""

    def __init__(self, guests: list[Party]) -> None:
        self.rooms = []
        for guest in guests:
            puppet = OTHER  # a key of Mallory's in the place of the other guest
            room = Lobby([MALLORY, guest, puppet])
            self.rooms.append(room)

    def play(self) -> None:
        for room in self.rooms:
            for index in (1, 2):
                room.join(index)
                room.deliver_all()

    def settled(self, number: int) -> Settling:
        told = self.rooms[number].events[self.rooms[number].parties[1].did]
        return next(event for event in told if isinstance(event, Settling))


def test_a_host_that_puts_itself_between_two_guests_shows_them_different_phrases() -> None:
    """A split with puppets cannot be prevented from strangers' keys alone: it is seen."""
    host = TwoFacedHost([BOB, CAROL])
    host.play()
    words = [phrase(host.settled(number).gathered.descriptor.id) for number in (0, 1)]
    assert words[0] != words[1]
    assert CAROL.did not in host.settled(0).gathered.draft.parties


def test_a_host_that_shows_one_roster_to_each_guest_cannot_begin_with_either() -> None:
    """Whatever it swaps: each guest waits for the signature of the other under its own roster."""
    lobby = Lobby([MALLORY, BOB, CAROL])
    for index in (1, 2):
        lobby.join(index)
    while not any(isinstance(mail[2], Settle) for mail in lobby.mail):
        assert lobby.deliver()
    hostile = []
    for sender, to, message in lobby.mail:
        if to == CAROL.did and isinstance(message, Settle):
            parties = message.draft["parties"]
            order = [parties[0], parties[2], parties[1]]
            nonces = (message.nonces[0], message.nonces[2], message.nonces[1])
            other = replace(message, draft={**message.draft, "parties": order}, nonces=nonces)
            hostile.append((sender, to, other))
        else:
            hostile.append((sender, to, message))
    lobby.mail = hostile
    lobby.deliver_all()
    assert {guest.state for guest in lobby.guests.values()} == {GuestState.SETTLED}
    echoes = {}
    for index in (1, 2):
        told = lobby.events[lobby.parties[index].did]
        echoes[index] = next(
            event for event in told if isinstance(event, Settling)
        ).gathered.descriptor.id
    assert echoes[1] != echoes[2]
    lobby.settle_down()
    assert not any(isinstance(e, Began) for told in lobby.events.values() for e in told)


def test_a_host_cannot_make_up_the_signature_of_a_guest() -> None:
    lobby = Lobby([MALLORY, BOB, CAROL])
    lobby.join(1)
    lobby.deliver_all()
    lobby.join(2)
    while not any(isinstance(mail[2], Settle) for mail in lobby.mail):
        assert lobby.deliver()
    lobby.mail = [mail for mail in lobby.mail if mail[1] == BOB.did]
    lobby.deliver_all()
    gathered = lobby.host.gathered
    assert gathered is not None
    from agent.lobby.echo import sign

    forged = tuple(
        sign(lobby.link.lobby, gathered, did, MALLORY.speaker) for did in gathered.draft.parties
    )
    guest = lobby.guest(1)
    for seq in (3, 4, 99):
        guest.handle_message(MALLORY.did, Begin(lobby.link.lobby, seq, forged), NOW)
    assert guest.state is GuestState.SETTLED


def test_a_mediator_that_swaps_the_invitation_of_a_link_is_found_out() -> None:
    url = LobbyLink.new(ALICE.did, "", int(NOW) + 60).to_url("https://m.example")
    fake = LobbyLink.new(MALLORY.did, "", int(NOW) + 60).to_url("https://m.example")
    with pytest.raises(LinkSwapped):
        parse_link(fake.partition("#")[0] + "#" + url.partition("#")[2], NOW)


# the spoken code


def test_who_knows_the_words_gets_the_link() -> None:
    code = new_code()
    keeper, caller = Doorkeeper(code, ALICE.did, "the link"), Caller(code, BOB.did)
    talk(keeper, caller)
    assert caller.link == "the link"
    assert caller.host == ALICE.did
    assert not keeper.burnt


def test_one_wrong_word_burns_the_code_for_everybody() -> None:
    keeper = Doorkeeper("lemon-river-stone", ALICE.did, "the link")
    talk(keeper, Caller("lemon-river-tiger", MALLORY.did))
    assert keeper.burnt
    honest = Caller("lemon-river-stone", BOB.did)
    talk(keeper, honest)
    assert honest.link is None


def test_a_mediator_that_tries_codes_has_one_try() -> None:
    keeper = Doorkeeper("lemon-river-stone", ALICE.did, "the link")
    for word in word_list()[:50]:
        caller = Caller(f"lemon-{word}-stone", MALLORY.did)
        talk(keeper, caller)
        assert caller.link is None
    assert keeper.burnt


def test_a_mediator_that_stands_in_the_door_learns_nothing_and_is_seen() -> None:
    """It answers as itself: the names differ, so even the relayed exchange gives another key."""
    keeper = Doorkeeper("lemon-river-stone", ALICE.did, "the link")
    guest = Caller("lemon-river-stone", BOB.did)
    [(_, answer)] = keeper.handle_message(MALLORY.did, guest.begin())
    [(to, prove)] = guest.handle_message(MALLORY.did, answer)
    assert to == MALLORY.did
    assert keeper.handle_message(MALLORY.did, prove) == []
    assert keeper.burnt
    guessed = Exchange.begin(Side.B, "lemon-apple-tiger", BOB.did, MALLORY.did)
    other = Caller("lemon-river-stone", BOB.did)
    key = guessed.key(other.begin().element)
    other.handle_message(MALLORY.did, Answer(guessed.element))
    with pytest.raises(WrongCode):
        other.handle_message(MALLORY.did, GiveLink(proof(key, Side.B), "a link of mine"))


def test_asking_without_proving_gives_nothing_and_burns_nothing() -> None:
    keeper = Doorkeeper("lemon-river-stone", ALICE.did, "the link")
    for _ in range(1000):
        caller = Caller("lemon-river-tiger", MALLORY.did)
        [(_, answer)] = keeper.handle_message(MALLORY.did, caller.begin())
        assert isinstance(answer, Answer)
    assert keeper.handle_message(CAROL.did, Prove(b"x" * 32)) == []
    assert keeper.handle_message(CAROL.did, Speak(bytes(32))) == []
    assert not keeper.burnt


def test_a_door_follows_from_the_first_word_and_the_mediator_alone() -> None:
    door = door_of("lemon-river-stone", MEDIATOR)
    assert door.did == door_of("lemon-apple-tiger", MEDIATOR).did
    assert door.did != door_of("apple-river-stone", MEDIATOR).did
    assert door.did != door_of("lemon-river-stone", "did:web:other.example").did


def talk(keeper: Doorkeeper, caller: Caller) -> None:
    mail = [caller.begin()]
    while mail:
        message = mail.pop()
        for _, answer in keeper.handle_message(caller._me, message):
            mail += [again for _, again in caller.handle_message(keeper._me, answer)]
