"""Letters that come late, twice, or in another order than they were written: one rule each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.session.callers import VERDICT_DELAY
from agent.session.events import Agreed, Ended, Outcome, State
from agent.session.statements import Kind
from messaging.protocols.session import Offer, Propose, Say, Withdraw
from tests.support.sessions import (
    KEM_KEY,
    Table,
    described,
    draft_of,
    make_parties,
    meshing,
    offer_for,
    offered,
    other_program,
    running,
)

PARTIES = make_parties(3)
ANN, BEN, CY = PARTIES


def test_an_offer_of_a_session_that_was_started_over_does_not_replace_the_present_one() -> None:
    found = offered(PARTIES)
    late = [mail for mail in found.mail if mail[:2] == (BEN.did, ANN.did)]
    found.mail.clear()
    found.join(2)
    found.deliver_all()
    found.make_offers()
    last = take(found, lambda sender, to, message: (sender, to) == (CY.did, ANN.did))
    found.deliver_all()
    found.mail += late
    found.deliver_all()
    found.mail += last
    found.deliver_all()
    assert found.machine(0).state is State.MESHING


def test_an_offer_that_overtakes_the_proposal_that_it_follows_from_is_kept() -> None:
    """Ben hears of Cy's second call before Ann does."""
    found = described(PARTIES)
    found.join(2)
    late = take(found, lambda sender, to, message: (sender, to) == (CY.did, ANN.did))
    found.deliver_all()
    found.make_offers()
    found.deliver_all()
    found.mail += late
    found.deliver_all()
    found.make_offers()
    found.deliver_all()
    assert found.states() == [State.MESHING] * 3


def test_a_proposal_that_was_withdrawn_does_not_come_back_to_life() -> None:
    found = proposed_by_ben()
    again = [mail for mail in found.mail if mail[:2] == (BEN.did, ANN.did)]
    found.deliver_all()
    found.machine(1).stop("stopped by its owner", found.now)
    found.collect()
    found.deliver_all()
    found.mail += again
    found.deliver_all()
    assert BEN.did in found.machine(0).waiting_for()


def test_a_withdrawal_that_overtakes_its_proposal_counts_all_the_same() -> None:
    found = proposed_by_ben()
    late = take(found, lambda sender, to, message: (sender, to) == (BEN.did, ANN.did))
    found.machine(1).stop("stopped by its owner", found.now)
    found.collect()
    found.deliver_all()
    found.mail += late
    found.deliver_all()
    assert BEN.did in found.machine(0).waiting_for()


@pytest.mark.parametrize("first", ["the withdrawal", "the proposal"])
@pytest.mark.parametrize("before", ["right", "wrong"])
def test_who_called_again_and_left_is_waited_for_whichever_letter_came_first(
    first: str, before: str
) -> None:
    """Its process of before was killed: neither its signature nor its error counts any more."""
    found = described(PARTIES) if before == "right" else wrong_call_by_ben()
    ann, again = found.machine(0), proposal(found, 1)
    letters = [again, Withdraw(again.nonce, "stopped by its owner")]
    for message in letters if first == "the proposal" else reversed(letters):
        ann.handle_message(BEN.did, message, found.now)
    found.wait(VERDICT_DELAY)
    assert ann.state is State.PROPOSING
    assert ann.waiting_for() == (BEN.did,)


def test_who_was_killed_and_calls_for_another_program_is_refused() -> None:
    """Its newest word counts, although an older one would have done."""
    found = proposed_by_ben()
    found.deliver_all()
    found.join(1, other_program(found.draft))
    found.deliver_all()
    assert BEN.did in found.machine(0).waiting_for()
    found.wait(VERDICT_DELAY)
    ended = found.ended(0)
    assert ended is not None
    assert (ended.outcome, ended.party) == (Outcome.REFUSED, BEN.did)


def test_a_refusal_of_an_hour_ago_does_not_end_what_all_agree_on_now() -> None:
    """Ben and Cy got it wrong, and then right; all of that waited for Ann."""
    found = Table(PARTIES, draft_of(PARTIES))
    found.join(1)
    found.join(2, other_program(found.draft))
    found.deliver_all()
    found.wait(VERDICT_DELAY)
    found.deliver_all()
    assert found.ended(1).outcome is Outcome.REFUSED
    found.now += 3600
    found.join(1)
    found.join(2)
    found.join(0)
    found.deliver_all()
    found.wait(VERDICT_DELAY)
    assert found.states() == [State.OFFERING] * 3


def test_a_refusal_that_nothing_takes_back_ends_it_by_its_own_words() -> None:
    found = proposed_by_ben()
    found.deliver_all()
    ann, nonce = found.machine(0), found.machine(1)._own.nonce
    ann.handle_message(BEN.did, Withdraw(nonce, "Cy wants another session", "C" * 43), found.now)
    found.collect()
    assert ann.state is State.PROPOSING
    found.wait(VERDICT_DELAY)
    assert found.ended(0) == Ended(Outcome.REFUSED, "Cy wants another session", BEN.did)


def test_who_called_twice_hears_our_proposal_in_whatever_order_the_calls_come() -> None:
    """The first process, which was killed, may have read what we sent."""
    found = Table(PARTIES, draft_of(PARTIES))
    found.join(0)
    found.join(1)
    first = take(found, lambda sender, to, message: sender == BEN.did)
    found.deliver_all()
    found.join(1)
    found.deliver_all()
    assert ANN.did in found.machine(1).waiting_for()
    found.mail += first
    found.deliver_all()
    assert ANN.did not in found.machine(1).waiting_for()


def test_the_newest_call_that_comes_while_a_session_ends_is_the_one_that_is_kept() -> None:
    found = running(PARTIES)
    found.machine(0).stop("lost party1", found.now, party=BEN.did, lost=True)
    first, second = (proposal(found, number) for number in (1, 2))
    for message in (second, first):
        found.machine(0).handle_message(BEN.did, message, found.now)
    continues = found.machine(0).continuation()
    assert continues is not None
    assert continues.early == {BEN.did: second}


def test_a_call_that_is_taken_back_while_a_session_ends_is_not_kept() -> None:
    found = running(PARTIES)
    machine = found.machine(0)
    machine.stop("lost party1", found.now, party=BEN.did, lost=True)
    message = proposal(found, 1)
    machine.handle_message(BEN.did, message, found.now)
    withdrawal = Withdraw(message.nonce, "stopped by its owner")
    assert machine.concerns(BEN.did, withdrawal)
    machine.handle_message(BEN.did, withdrawal, found.now)
    continues = machine.continuation()
    assert continues is not None
    assert continues.early == {}
    found.join(0, continues=continues)
    found.machine(0).handle_message(BEN.did, message, found.now)
    assert BEN.did in found.machine(0).waiting_for()


def test_two_that_stop_in_one_breath_end_it_once() -> None:
    """Both words were there before the descriptor was known."""
    found = Table(PARTIES, draft_of(PARTIES))
    for index in range(3):
        found.join(index)
    late = take(found, lambda sender, to, message: to == ANN.did)
    found.deliver_all()
    for index in (1, 2):
        found.machine(index).stop("enough", found.now)
    found.collect()
    found.mail = take(found, lambda sender, to, message: isinstance(message, Say)) + late
    found.deliver_all()
    endings = [event for event in found.events[ANN.did] if isinstance(event, Ended)]
    assert len(endings) == 1


def test_a_refusal_of_the_epoch_before_moves_nothing() -> None:
    found = running(PARTIES)
    nonce = found.machine(1)._own.nonce
    found.machine(0).stop("lost party1", found.now, party=BEN.did, lost=True)
    found.join(0, continues=found.machine(0).continuation())
    late = Withdraw(nonce, "party2 wants another session", "C" * 43)
    assert found.machine(0).concerns(BEN.did, late)
    found.machine(0).handle_message(BEN.did, late, found.now)
    found.wait(VERDICT_DELAY)
    assert found.machine(0).state is State.PROPOSING


def test_parties_that_begin_again_at_different_times_find_each_other() -> None:
    """Ann and Cy give up a session that Ben is not in, with the proposal that he still makes."""
    found = described(PARTIES)
    ben = found.machine(1)
    found.make_offers()
    found.mail.clear()
    for index in (0, 2):
        found.machine(index).stop("lost party1", found.now, party=BEN.did, lost=True)
    found.collect()
    take(found, lambda sender, to, message: isinstance(message, Say))
    assert found.machine(1) is ben
    for index in (0, 2):
        found.join(index, continues=found.machine(index).continuation())
    found.deliver_all()
    assert found.states() == [State.OFFERING] * 3
    assert {machine.descriptor.epoch for machine in found.machines.values()} == {1}


def test_a_party_that_tells_two_stories_may_get_two_agreements_and_nobody_ready() -> None:
    """Cy's two nonces reach Ann and Ben in opposite order, and each signs both sessions.

    What binds is `ready`, which a process signs once: for the session that it ended up in.
    """
    found = Table(PARTIES, draft_of(PARTIES))
    ann, ben = found.join(0), found.join(1)
    found.deliver_all()
    stories = {"x": proposal(found, 1), "y": proposal(found, 2)}
    orders = {ann: "xy", ben: "yx"}
    offers: dict[str, dict[str, Offer]] = {}
    for turn in (0, 1):
        for machine, party, other in ((ann, ANN, BEN), (ben, BEN, ANN)):
            story = orders[machine][turn]
            content = replace(stories[story], created=stories["x"].created + turn)
            machine.handle_message(CY.did, content, found.now)
            session = machine.descriptor.id
            both = {one.did: offer_for(session) for one in (other, CY)}
            machine.offers_made(both, found.now)
            sent = [message for _, message in machine.messages_to_send()]
            offers.setdefault(party.did, {})[session] = next(
                message for message in sent if isinstance(message, Offer)
            )
    for machine, other in ((ann, BEN), (ben, ANN)):
        session = machine.descriptor.id
        machine.handle_message(other.did, offers[other.did][session], found.now)
        agree = CY.speaker.say(Kind.AGREE, session, 2, int(found.now), {})
        machine.handle_message(CY.did, replace(offer_for(session), statement=agree.text), found.now)
        machine.mesh_ready(found.now)
        ready = CY.speaker.say(Kind.READY, session, 2, int(found.now), {})
        machine.handle_message(CY.did, Say(session, ready.text), found.now)
    assert ann.descriptor.id != ben.descriptor.id
    for machine, sender in ((ann, ben), (ben, ann)):
        did = ANN.did if sender is ann else BEN.did
        machine.handle_message(did, Say(sender.descriptor.id, sender.own_statement().text), 0.0)
        assert machine.state is State.READY
        assert did in machine.waiting_for()
    found.collect()
    assert any(isinstance(event, Agreed) for event in found.events[ANN.did])


@pytest.mark.parametrize("stage", [meshing, running])
def test_another_program_that_is_called_for_after_the_signatures_changes_nothing(stage) -> None:
    found = stage(PARTIES)
    before = found.machine(0).state
    found.join(1, other_program(found.draft))
    found.deliver_all()
    found.wait(VERDICT_DELAY)
    assert found.machine(0).state is before


def proposed_by_ben() -> Table:
    """Ann and Ben have called, and nothing was brought yet."""
    found = Table(PARTIES, draft_of(PARTIES))
    found.join(0)
    found.join(1)
    return found


def wrong_call_by_ben() -> Table:
    """Everybody has called, Ben for another program; no verdict is spoken yet."""
    found = Table(PARTIES, draft_of(PARTIES))
    for index, draft in enumerate((None, other_program(found.draft), None)):
        found.join(index, draft)
    found.deliver_all()
    return found


def proposal(found: Table, number: int) -> Propose:
    created = int(found.now * 1000) + 1000 * number
    return Propose(found.draft.to_json(), f"{number:043d}", created, KEM_KEY)


def take(found: Table, wanted) -> list:
    """Letters that are late: out of the mail for now."""
    late = [mail for mail in found.mail if wanted(*mail)]
    found.mail = [mail for mail in found.mail if mail not in late]
    return late
