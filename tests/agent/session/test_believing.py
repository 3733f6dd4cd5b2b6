"""Whose word a machine takes, for which session, and what it says itself when it stops."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.session.callers import VERDICT_DELAY
from agent.session.events import Ended, Outcome, State
from agent.session.statements import MAX_WORDS, Kind
from messaging.protocols.session import Offer, Say, Withdraw
from tests.support.sessions import (
    Table,
    described,
    draft_of,
    make_parties,
    meshing,
    offered,
    other_program,
    running,
)

PARTIES = make_parties(3)
ANN, BEN, CY = PARTIES


def test_a_signature_for_a_session_that_was_started_over_counts_for_no_other() -> None:
    found = offered(PARTIES)
    take(found, lambda sender, to: CY.did in (sender, to))
    found.deliver_all()
    assert found.machine(0).waiting_for() == (CY.did,)
    found.join(2)
    found.deliver_all()
    found.make_offers()
    for place, (sender, to, message) in enumerate(found.mail):
        if sender == BEN.did and isinstance(message, Offer):
            found.mail[place] = sender, to, replace(message, statement="a.b.c")
    found.deliver_all()
    assert found.machine(0).state is State.SIGNING
    assert found.machine(0).waiting_for() == (BEN.did,)


def test_who_waits_for_a_proposal_again_has_nothing_on_record() -> None:
    found = offered(PARTIES)
    ann = found.machine(0)
    assert len(ann.statements()) == 1
    ann.handle_message(BEN.did, Withdraw(found.machine(1)._own.nonce, "gone"), found.now)
    assert ann.state is State.PROPOSING
    assert ann.statements() == []


@pytest.mark.parametrize("place", [0, 8, 31, 63])
def test_a_statement_for_a_session_whose_name_differs_in_one_letter_is_for_another(
    place: int,
) -> None:
    found = running(PARTIES)
    ann = found.machine(0)
    assert ann.descriptor is not None
    ours = ann.descriptor.id
    other = ours[:place] + ("0" if ours[place] != "0" else "1") + ours[place + 1 :]
    said = BEN.speaker.say(Kind.ABORT, other, 1, int(found.now), {"reason": "no"})
    for session in (ours, other):
        ann.handle_message(BEN.did, Say(session, said.text), found.now)
    ann.handle_pulse(BEN.did, said.text, found.now)
    assert ann.state is State.RUNNING


@pytest.mark.parametrize("kind", [Kind.READY, Kind.RESULT])
def test_no_other_statement_stands_for_a_signature_under_the_session(kind: Kind) -> None:
    found = offered(PARTIES)
    for place, (sender, to, message) in enumerate(found.mail):
        if sender == BEN.did and isinstance(message, Offer):
            said = BEN.speaker.say(kind, message.session, 1, int(found.now), {"sha256": "aa"})
            found.mail[place] = sender, to, replace(message, statement=said.text)
    found.deliver_all()
    assert found.machine(0).state is State.SIGNING
    assert found.machine(0).waiting_for() == (BEN.did,)


def test_what_a_party_says_first_of_a_kind_is_what_it_said() -> None:
    """It may sign two results; nobody is judged by the one that it thinks of later."""
    found = running(PARTIES)
    ann = found.machine(0)
    assert ann.descriptor is not None
    for sha256 in ("aa", "bb"):
        said = BEN.speaker.say(Kind.RESULT, ann.descriptor.id, 1, 9, {"sha256": sha256})
        ann.handle_message(BEN.did, Say(ann.descriptor.id, said.text), found.now)
    results = [said.facts["sha256"] for said in ann.statements() if said.kind is Kind.RESULT]
    assert results == ["aa"]


def test_a_stranger_s_message_changes_nothing_even_if_somebody_brings_it() -> None:
    found = described(PARTIES)
    stranger = make_parties(1)[0]
    ann = found.machine(0)
    for message in (Withdraw(ann._own.nonce, "no", refused=ann._own.nonce), Withdraw("A" * 43, "")):
        ann.handle_message(stranger.did, message, found.now)
    found.wait(VERDICT_DELAY)
    assert ann.state is State.OFFERING


@pytest.mark.parametrize("about", [-1, -3, 3, 10**9, "2", [2], 1.5, None])
@pytest.mark.parametrize("lost", ["yes", 1, [0], None])
def test_an_abort_about_nobody_is_about_who_says_it_and_nobody_is_lost(
    about: object, lost: object
) -> None:
    found = running(PARTIES)
    ann = found.machine(0)
    assert ann.descriptor is not None
    facts = {"reason": "no", "about": about, "lost": lost}
    said = BEN.speaker.say(Kind.ABORT, ann.descriptor.id, 1, int(found.now), facts)
    ann.handle_message(BEN.did, Say(ann.descriptor.id, said.text), found.now)
    found.collect()
    assert found.ended(0) == Ended(Outcome.FAILED, "no", BEN.did, lost=False)


def test_what_the_mesh_brings_after_the_end_changes_no_record() -> None:
    found = running(PARTIES)
    ann, ben = found.machine(0), found.machine(1)
    ben.program_ended("aa", found.now)
    ann.stop("enough", found.now)
    before, late = ann.statements(), ben.own_statement()
    assert late is not None
    ann.handle_pulse(BEN.did, late.text, found.now)
    assert ann.statements() == before


def test_who_stops_by_its_own_fault_is_stopped() -> None:
    found = running(PARTIES)
    ann = found.machine(0)
    ann.stop("its program failed", found.now, party=ANN.did)
    ann.program_ended("aa", found.now)
    found.collect()
    assert ann.state is State.ENDED
    assert found.ended(0) == Ended(Outcome.FAILED, "its program failed", ANN.did)
    assert not ann.has_result_of(ANN.did)


def test_who_stops_for_a_lost_party_says_so_in_every_message() -> None:
    found = running(PARTIES)
    found.machine(0).stop("lost party1", found.now, party=BEN.did, lost=True)
    found.collect()
    withdrawn = [message for _, _, message in found.mail if isinstance(message, Withdraw)]
    assert [message.lost for message in withdrawn] == [True, True]


def test_who_refuses_a_proposal_names_it_so_that_its_party_alone_is_refused() -> None:
    found = Table(PARTIES, draft_of(PARTIES))
    found.join(0)
    mistaken = found.join(2, other_program(found.draft))
    found.deliver_all()
    found.now += VERDICT_DELAY
    found.machine(0).handle_timer(found.now)
    found.collect()
    refused = [message.refused for _, _, message in found.mail if isinstance(message, Withdraw)]
    assert refused == [mistaken._own.nonce] * 2


def test_the_longest_reason_to_stop_fits_every_message_that_says_it() -> None:
    found = meshing(PARTIES)
    found.machine(0).stop("because " * 500, found.now)
    found.collect()
    reasons = [message.reason for _, _, message in found.mail if isinstance(message, Withdraw)]
    assert len(reasons) == 2
    assert all(0 < len(reason) <= MAX_WORDS for reason in reasons)


def take(found: Table, late) -> None:
    """Letters that are lost."""
    found.mail = [mail for mail in found.mail if not late(*mail[:2])]
