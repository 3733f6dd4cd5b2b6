"""A lobby that requires claims: who is heard, what is shown to whom, and what nobody signs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from agent.claims import vouch
from agent.claims.evidence import Evidence
from agent.claims.login import commitment
from agent.lobby.claimants import MAX_EXAMINED, MAX_EXAMINED_OF_ONE, MAX_WAITING, MINUTE
from agent.lobby.echo import is_echo, sign
from agent.lobby.events import (
    Gathered,
    GuestState,
    HostState,
    Knocked,
    NotProven,
    Presented,
    Settling,
    Wanted,
)
from agent.lobby.seats import MAX_CLAIMS_OF_ALL
from messaging.protocols.lobby import (
    Claim,
    Knock,
    LobbyMessage,
    LoginClaim,
    Require,
    Requirement,
    Roster,
    Settle,
    VouchClaim,
    VouchRequired,
)
from tests.support import openid
from tests.support.lobbies import Lobby, draft_for
from tests.support.sessions import NOW, Party, make_parties

PARTIES = make_parties(5)
ANN, BEN, CY, DAN, EVE = PARTIES
THREE = (ANN, BEN, CY)
REQUIRED = VouchRequired((DAN.did,))
DAY = 86_400.0


def vouched(party: Party, issuer: Party = DAN, name: str = "", days: float = 1.0) -> VouchClaim:
    name = name or f"number {PARTIES.index(party)}"
    token = vouch.make(issuer.did, issuer.speaker, party.did, name, NOW - 10, days * DAY)
    return VouchClaim(token)


class Trusting(Lobby):
    """Dan's word is known to everybody, though Dan is not there."""

    def evidence(self) -> Evidence:
        return Evidence({party.did: party.document for party in PARTIES}, openid.KEYS)


def login_for(party: Party, lobby: str, email: str) -> LoginClaim:
    nonce = commitment(party.did, lobby, openid.SALT)
    return openid.login(party.did, nonce=nonce, email=email)


def with_logins(requires: tuple[Requirement, ...]) -> Trusting:
    """Everybody has logged in for this lobby, and is vouched for if that is required, too."""
    room = Trusting(THREE, requires=requires)
    for name, party in zip(("ann", "ben", "cy"), THREE, strict=True):
        login = login_for(party, room.link.lobby, f"{name}@uni.example")
        room.claims[party.did] = (vouched(party), login) if len(requires) > 1 else (login,)
    room.host = room.new_host("H" * 43)
    return room


def lobby(
    requires: tuple[Requirement, ...] = (REQUIRED,),
    parties: tuple[Party, ...] = THREE,
    obliging: bool = True,
    **claims: tuple[Claim, ...],
) -> Trusting:
    """Everybody is vouched for, unless `claims` say otherwise of Ann, Ben or Cy."""
    shown = {party.did: (vouched(party),) for party in parties}
    shown |= {{"ann": ANN, "ben": BEN, "cy": CY}[name].did: one for name, one in claims.items()}
    return Trusting(parties, obliging=obliging, requires=requires, claims=shown)


def gathered(room: Lobby) -> Lobby:
    for index in range(1, len(room.parties)):
        room.join(index)
        room.deliver_all()
    return room


# together


def test_everybody_who_is_vouched_for_signs_the_same_claims() -> None:
    room = gathered(lobby())
    began = [room.began(index) for index in range(3)]
    hashes = {one.gathered.claims_sha256 for one in began if one}
    assert None not in began
    assert len(hashes) == 1
    assert room.host.state is HostState.BEGUN
    told = [event for event in room.events[ANN.did] if isinstance(event, Knocked)]
    assert [event.proofs[0].who for event in told] == ["number 1", "number 2"]


def test_a_lobby_with_claims_costs_two_messages_more_a_guest() -> None:
    """The first knock, and what it hears: required."""
    assert gathered(lobby()).sent == (6 + 2) * 2


def test_whose_word_counts_comes_in_by_itself() -> None:
    required = VouchRequired((BEN.did, DAN.did))
    room = gathered(lobby((required,), ben=(), cy=(vouched(CY, issuer=BEN),)))
    assert room.began(1) is not None
    assert room.sent == 6 + 6 + 2


def test_nothing_is_shown_before_it_is_asked_for() -> None:
    room = lobby(obliging=False)
    room.join(1)
    [(_, _, knock)] = room.mail
    assert isinstance(knock, Knock)
    assert knock.claims == ()
    room.deliver_all()
    assert room.events[BEN.did] == [Wanted((REQUIRED,))]
    assert room.guest(1).state is GuestState.KNOCKING
    assert room.host.guests == {}


def test_who_needs_time_to_ask_its_owner_does_not_knock_meanwhile() -> None:
    room = lobby(obliging=False)
    room.join(1)
    room.deliver_all()
    sent = room.sent
    for _ in range(5):
        room.wait(600)
        room.deliver_all()
    assert room.sent == sent


def test_who_lacks_a_claim_is_told_what_is_required_as_often_as_it_knocks() -> None:
    room = lobby(ben=(), obliging=False)
    guest = room.join(1)
    mail = room.mail[0]
    room.deliver_all()
    for _ in range(3):
        room.hand_over(mail)
    assert [type(message) for *_, message in room.mail] == [Require] * 3
    room.deliver_all()
    assert room.events[BEN.did] == [Wanted((REQUIRED,))], "its owner is asked once"
    assert guest.state is GuestState.KNOCKING
    assert room.host.guests == {}


FALSE: dict[str, tuple[Callable[[], tuple[Claim, ...]], str]] = {
    "another's": (lambda: (vouched(CY),), "another DID"),
    "expired": (lambda: (vouched(BEN, days=0),), "expired"),
    "by somebody else": (lambda: (vouched(BEN, issuer=EVE),), "does not count"),
    "by itself": (lambda: (vouched(BEN, issuer=BEN),), "does not count"),
    "two": (lambda: (vouched(BEN), vouched(BEN)), "not what is required"),
    "no token": (lambda: (VouchClaim("a.b.c"),), "not a vouch"),
}


@pytest.mark.parametrize("name", FALSE)
def test_whose_claim_does_not_hold_is_refused_by_its_reason_and_not_heard_of(name: str) -> None:
    make, words = FALSE[name]
    room = lobby(ben=make())
    room.join(1)
    room.deliver_all()
    over = room.over(1)
    assert over is not None
    assert words in over.reason
    assert room.host.guests == {}
    presented, refused = room.events[ANN.did]
    assert presented == Presented(BEN.did)
    assert refused == NotProven(BEN.did, over.reason)


def test_who_was_refused_for_a_claim_comes_in_with_a_better_one() -> None:
    room = lobby(ben=(vouched(CY),))
    room.join(1)
    room.deliver_all()
    room.claims[BEN.did] = (vouched(BEN),)
    gathered(room)
    assert room.began(1) is not None


def test_admission_stays_the_hosts_whatever_is_proven() -> None:
    room = lobby(obliging=False)
    room.join(1)
    room.deliver_all()
    room.guest(1).present(room.claims[BEN.did], room.now)
    room.collect()
    room.deliver_all()
    room.host.examine(BEN.did, room.evidence(), room.now)
    assert [guest.did for guest in room.host.knocking()] == [BEN.did]
    room.host.refuse(BEN.did, "no", room.now)
    room.collect()
    room.deliver_all()
    assert room.guest(1).state is GuestState.LEFT


def test_claims_that_nobody_requires_are_not_kept_or_passed_on() -> None:
    room = lobby(requires=(), ann=(), obliging=False)
    link = room.link
    knock = Knock(link.lobby, link.token, "N" * 43, int(NOW * 1000), claims=(vouched(BEN),))
    room.host.handle_message(BEN.did, knock, NOW)
    assert room.host.guests[BEN.did].claims == ()


def test_a_login_and_a_vouch_together_are_shown_kept_and_signed_like_one() -> None:
    requires = (openid.REQUIRED, REQUIRED)
    room = with_logins(requires)
    gathered(room)
    began = room.began(1)
    assert began is not None
    assert [len(claims) for claims in began.gathered.claims] == [2, 2, 2]
    told = [event for event in room.events[ANN.did] if isinstance(event, Knocked)]
    assert [proof.who for proof in told[0].proofs] == ["number 1", "ben@uni.example"]


def test_a_login_of_another_lobby_gets_nobody_in_here() -> None:
    room = with_logins((openid.REQUIRED,))
    claims = login_for(BEN, "M" * 22, "ben@uni.example")
    room.claims[BEN.did] = (claims,)
    room.join(1)
    room.deliver_all()
    over = room.over(1)
    assert over is not None
    assert "another lobby" in over.reason


def test_a_host_cannot_bring_in_a_puppet_of_its_own_where_logins_are_required() -> None:
    """Nobody at the issuer has logged in for the puppet's DID: whatever Ann shows fails at Ben."""
    for stolen in (lambda room: room.claims[BEN.did], lambda room: room.claims[ANN.did]):
        room = with_logins((openid.REQUIRED,))
        hostile(room, {BEN.did: claims_of_cy(*stolen(room))})
        over = room.over(1)
        assert over is not None
        assert re.search("party2 .* another DID", over.reason)


# what comes back


def test_a_guest_that_is_in_and_lost_everything_need_not_prove_itself_again() -> None:
    room = lobby()
    room.join(1)
    room.deliver_all()
    room.claims[BEN.did] = ()
    gathered(room)
    assert [room.began(index) is not None for index in range(3)] == [True] * 3


def test_claims_outlive_both_sides_processes() -> None:
    room = lobby(obliging=False)
    guest = room.join(1)
    room.deliver_all()
    guest.present(room.claims[BEN.did], room.now)
    room.collect()
    room.deliver_all()
    room.host.examine(BEN.did, room.evidence(), room.now)
    kept, kept_guest = kept_json(room.host), kept_json(guest)
    room.host = room.new_host(kept["nonce"])
    room.host.restore(kept, room.now)
    assert room.host.guests[BEN.did].claims == room.claims[BEN.did]
    assert room.host.guests[BEN.did].proofs[0].who == "number 1"
    assert type(room.host.terms).from_json(kept["terms"]) == room.host.terms
    again = room.restart(1, kept_guest)
    again.messages_to_send()
    room.host.guests.clear()  # as if it had never got there
    again.handle_message(ANN.did, Require(room.link.lobby, (REQUIRED,)), room.now)
    sent = [message for _, message in again.messages_to_send()]
    assert isinstance(sent[-1], Knock)
    assert sent[-1].claims == room.claims[BEN.did]
    again = room.restart(1, kept_guest)
    again.handle_message(ANN.did, Require(room.link.lobby, (VouchRequired((EVE.did,)),)), NOW)
    assert again.state is GuestState.LEFT, "what was required stays pinned"


# a host that is hostile

Change = Callable[[LobbyMessage], LobbyMessage]


def other_requires(message: LobbyMessage) -> LobbyMessage:
    return (
        replace(message, requires=(VouchRequired((EVE.did,)),))
        if isinstance(message, Roster)
        else message
    )


def no_requires(message: LobbyMessage) -> LobbyMessage:
    return replace(message, requires=()) if isinstance(message, Roster) else message


def claims_of_cy(*claims: Claim) -> Change:
    def change(message: LobbyMessage) -> LobbyMessage:
        if isinstance(message, Settle):
            rank = message.draft["parties"].index(CY.did)
            shown = [*message.claims]
            shown[rank] = claims
            return replace(message, claims=tuple(shown))
        return message

    return change


LIES: dict[str, tuple[Change, str]] = {
    "it says that others vouch": (other_requires, "requires something else"),
    "it drops what it required": (no_requires, "requires something else"),
    "it lets in who shows nothing": (claims_of_cy(), "party2 .* not what is required"),
    "it shows a vouch for somebody else": (claims_of_cy(vouched(BEN)), "party2 .* another DID"),
    "it signs a vouch itself": (claims_of_cy(vouched(CY, issuer=ANN)), "party2 .* not count"),
    "it shows an old vouch": (claims_of_cy(vouched(CY, days=0)), "party2 .* expired"),
    "it shows one more": (claims_of_cy(vouched(CY), vouched(CY)), "party2 .* not what is required"),
    "it shows nobodys": (
        lambda message: replace(message, claims=()) if isinstance(message, Settle) else message,
        "party0 .* not what is required",
    ),
    "it shows too few": (
        lambda message: (
            replace(message, claims=message.claims[:2]) if isinstance(message, Settle) else message
        ),
        "incomplete",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_guest_leaves_a_host_that_lies_about_claims_naming_whom_and_why(name: str) -> None:
    change, words = LIES[name]
    room = play(change)
    over = room.over(1)
    assert over is not None
    assert re.search(words, over.reason), over.reason
    assert room.began(1) is None


def test_a_host_that_swaps_one_valid_claim_for_another_cannot_begin() -> None:
    """Ben is shown that Cy is called Cyrus: true or not, Cy signs something else."""
    room = play(claims_of_cy(vouched(CY, name="Cyrus")))
    room.settle_down()
    assert room.guest(1).state is GuestState.SETTLED
    assert [room.began(index) for index in range(3)] == [None] * 3


def test_a_host_cannot_show_other_requirements_to_one_guest_than_to_another() -> None:
    """Both vouch for everybody, so each guest is content: and they sign different things."""
    both = VouchRequired((DAN.did, EVE.did))
    room = Trusting(
        THREE,
        requires=(both,),
        claims={party.did: (vouched(party),) for party in THREE},
    )
    hostile(room, {BEN.did: lambda message: with_requires(message, (REQUIRED,))})
    room.settle_down()
    assert {guest.state for guest in room.guests.values()} == {GuestState.SETTLED}
    assert [room.began(index) for index in range(3)] == [None] * 3


def test_an_echo_for_other_claims_is_none() -> None:
    draft = draft_for([party.did for party in THREE], ())
    nonces = ("A" * 43, "B" * 43, "C" * 43)
    claims = tuple((vouched(party),) for party in THREE)
    whole = Gathered(draft, nonces, int(NOW * 1000), (REQUIRED,), claims)
    documents = {party.did: party.document for party in THREE}
    echo = sign("L" * 22, whole, BEN.did, BEN.speaker)
    assert is_echo(echo, "L" * 22, whole, BEN.did, documents)
    for other in (
        replace(whole, requires=()),
        replace(whole, requires=(VouchRequired((DAN.did, EVE.did)),)),
        replace(whole, claims=((), *claims[1:])),
        replace(whole, claims=(claims[0], (vouched(BEN, name="Benno"),), claims[2])),
        replace(whole, claims=(claims[1], claims[0], claims[2])),
    ):
        assert other.descriptor.id == whole.descriptor.id
        assert not is_echo(echo, "L" * 22, other, BEN.did, documents)


def test_the_hash_of_all_claims_stays_what_it_is() -> None:
    draft = draft_for([party.did for party in THREE], ())
    required = VouchRequired(("did:example:dan",))
    claims = ((VouchClaim("a.b.c"),), (), (VouchClaim("d.e.f"),))
    whole = Gathered(draft, ("A" * 43,) * 3, 1, (required,), claims)
    text = (
        '{"claims":[[{"kind":"vouch","token":"a.b.c"}],[],[{"kind":"vouch","token":"d.e.f"}]],'
        '"requires":[{"issuers":["did:example:dan"],"kind":"vouch"}]}'
    )
    assert whole.claims_sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_a_settle_with_the_same_session_and_other_claims_is_settled_anew() -> None:
    """So an owner who has looked at one list of names never signs another."""
    room = lobby(obliging=False)
    settles: list[Settle] = []
    for index in (1, 2):
        come_in(room, index)
    for _, to, message in room.mail:
        if to == BEN.did and isinstance(message, Settle):
            settles.append(message)
    room.deliver_all()
    guest = room.guest(1)
    [first] = [event for event in room.events[BEN.did] if isinstance(event, Settling)]
    room.knows(guest)
    other = claims_of_cy(vouched(CY, name="Cyrus"))(settles[0])
    guest.handle_message(ANN.did, replace(other, seq=99), room.now)  # type: ignore[type-var]
    assert not guest.is_settled_on(first.gathered)
    assert not guest._confirmed


# strangers


def test_strangers_with_the_link_make_little_work() -> None:
    room = lobby(obliging=False)
    link, now = room.link, NOW

    def knock(did: str) -> None:
        claims = (VouchClaim("a.b.c"),)
        message = Knock(link.lobby, link.token, "N" * 43, int(now * 1000), claims=claims)
        room.host.handle_message(did, message, now)

    def presented() -> int:
        count = 0
        while (event := room.host.next_event()) is not None:
            count += isinstance(event, Presented)
        return count

    for number in range(1000):
        knock(f"did:example:{number}")
    assert presented() == MAX_WAITING, "no more look-ups than that at a time"
    for number in range(MAX_WAITING):
        room.host.examine(f"did:example:{number}", room.evidence(), now)
    for number in range(1000):
        knock(f"did:example:{number}")
    assert presented() == MAX_EXAMINED - MAX_WAITING, "nor in a minute"
    now += MINUTE
    for number in range(1000):
        room.host.examine(f"did:example:{number}", room.evidence(), now)
    while room.host.next_event() is not None:
        pass
    for _ in range(10):
        knock(EVE.did)
        room.host.examine(EVE.did, room.evidence(), now)
    assert presented() == MAX_EXAMINED_OF_ONE
    assert room.host.guests == {}


def test_claims_of_all_that_would_not_fit_a_message_are_not_let_in() -> None:
    room = lobby(obliging=False)
    room.host._claims = (VouchClaim("x" * MAX_CLAIMS_OF_ALL),)
    knock_with(room, 1)
    with pytest.raises(ValueError, match="too long"):
        room.host.admit(BEN.did, room.now)


def kept_json(machine: Any) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(json.dumps(machine.to_json()))
    return value


def knock_with(room: Lobby, index: int) -> None:
    did = room.parties[index].did
    room.join(index)
    room.deliver_all()
    room.guest(index).present(room.claims[did], room.now)
    room.collect()
    room.deliver_all()
    room.host.examine(did, room.evidence(), room.now)
    room.collect()


def come_in(room: Lobby, index: int) -> None:
    knock_with(room, index)
    room.host.admit(room.parties[index].did, room.now)
    room.collect()
    room.mail = [mail for mail in room.mail if not isinstance(mail[2], Settle)] + [
        mail for mail in room.mail if isinstance(mail[2], Settle)
    ]
    while room.mail and not isinstance(room.mail[0][2], Settle):
        room.deliver()
    room.guest(index).approve(draft_for, room.now)
    room.collect()
    while room.mail and not isinstance(room.mail[0][2], Settle):
        room.deliver()


def with_requires(message: LobbyMessage, requires: tuple[Requirement, ...]) -> LobbyMessage:
    return replace(message, requires=requires) if isinstance(message, Roster | Require) else message


def hostile(room: Lobby, changes: dict[str, Change]) -> None:
    """Everybody joins; what the host sends to these is changed on its way."""
    for index in (1, 2):
        room.join(index)
        while room.mail:
            sender, to, message = room.mail.pop(0)
            change = changes.get(to, lambda message: message)
            room.hand_over((sender, to, change(message)))


def play(change: Change) -> Lobby:
    """Ben is lied to, after the host has asked for what it requires."""
    room = lobby()
    hostile(room, {BEN.did: change})
    return room
