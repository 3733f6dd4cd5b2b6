"""A party that was lost comes back, and the same parties begin again: the next epoch."""

from dataclasses import replace
from typing import Any

import pytest

from agent.session.events import Continuation, Ended, Outcome, State
from agent.session.statements import Kind
from messaging.protocols.session import MAX_EPOCH, Propose, Say, Withdraw
from tests.support.sessions import (
    Table,
    described,
    draft_of,
    finish,
    make_parties,
    meshing,
    offered,
    ready,
    running,
    start,
)

PARTIES = make_parties(3)
ANN, BEN, CY = PARTIES


def lost_ben(stage: Any = running) -> Table:
    """Ann notices that Ben is gone, and Cy hears it from her."""
    found: Table = stage(PARTIES)
    found.machine(0).stop("lost party1", found.now, party=BEN.did, lost=True)
    found.collect()
    found.mail = [mail for mail in found.mail if mail[1] != BEN.did]
    found.deliver_all()
    return found


def again(found: Table, index: int) -> Continuation:
    """This party was told to try again, and does."""
    continues = found.machine(index).continuation()
    assert continues is not None
    found.join(index, continues=continues)
    return continues


def everybody_again() -> tuple[Table, list[Continuation]]:
    """Ben was killed and calls `agent run` once more; the others have waited for him."""
    found = lost_ben()
    known = [again(found, 0), again(found, 2)]
    found.join(1)
    found.deliver_all()
    return found, known


def to_the_end(found: Table) -> None:
    found.make_offers()
    found.deliver_all()
    for machine in found.machines.values():
        machine.mesh_ready(found.now)
    found.beat()
    finish(found, "aa", "aa", "aa")


def test_who_was_killed_comes_back_by_the_same_command_and_all_end_well() -> None:
    found, _ = everybody_again()
    assert found.states() == [State.OFFERING] * 3
    to_the_end(found)
    assert [found.ended(index).outcome for index in range(3)] == [Outcome.DONE] * 3
    assert {m.descriptor.epoch for m in found.machines.values()} == {1}


def test_the_next_epoch_has_another_name_other_addresses_and_ports() -> None:
    before = running(PARTIES).machine(0).descriptor
    found, _ = everybody_again()
    after = found.machine(0).descriptor
    assert after.id != before.id
    assert after.addresses != before.addresses
    assert not {*after.ports} & {*before.ports}
    assert not {*after.content["nonces"]} & {*before.content["nonces"]}


def test_the_next_epoch_names_the_one_before() -> None:
    found, known = everybody_again()
    assert {continues.previous for continues in known} == {found.machine(1).descriptor.previous}


def test_every_statement_names_its_epoch() -> None:
    found, _ = everybody_again()
    to_the_end(found)
    assert {said.epoch for said in found.machine(1).statements()} == {1}


def test_an_abort_says_who_was_lost_so_that_all_know_whom_to_wait_for() -> None:
    ended = lost_ben().ended(2)
    assert ended == Ended(Outcome.FAILED, "lost party1", BEN.did, lost=True)


def test_a_withdrawal_that_comes_first_says_so_too() -> None:
    found = running(PARTIES)
    nonce = found.machine(0)._own.nonce
    found.machine(2).handle_message(ANN.did, Withdraw(nonce, "lost", lost=True), found.now)
    found.collect()
    assert found.ended(2).lost


@pytest.mark.parametrize("stage", [described, offered, meshing, ready, running])
def test_a_party_that_begins_again_is_as_good_as_lost_and_back(stage: Any) -> None:
    """Faster than anybody noticed; before its signature is out nothing is lost at all."""
    found: Table = stage(PARTIES)
    found.join(1)
    found.deliver_all()
    if stage is described:
        assert found.states() == [State.OFFERING] * 3
        return
    assert found.ended(0).lost
    assert found.ended(2).lost
    for index in (0, 2):
        assert BEN.did in again(found, index).early
    found.deliver_all()
    assert found.states() == [State.OFFERING] * 3
    assert {m.descriptor.epoch for m in found.machines.values()} == {1}


def test_who_comes_back_while_the_others_tear_down_is_not_overheard() -> None:
    found = lost_ben()
    found.join(1)
    found.deliver_all()
    again(found, 0)
    again(found, 2)
    found.deliver_all()
    assert found.states() == [State.OFFERING] * 3


def test_a_second_loss_makes_epoch_2_and_the_epochs_may_be_known_to_different_parties() -> None:
    found, _ = everybody_again()
    found.machine(2).stop("lost party1", found.now, party=BEN.did, lost=True)
    found.collect()
    found.deliver_all()
    again(found, 0)
    again(found, 2)
    found.join(1)
    found.deliver_all()
    assert {m.descriptor.epoch for m in found.machines.values()} == {2}


def test_a_proposal_of_an_epoch_before_is_dropped() -> None:
    found = table_with_first_proposals()
    late = [mail for mail in found.mail if mail[0] == BEN.did]
    found.deliver_all()
    found.make_offers()
    found.deliver_all()
    found.machine(0).stop("lost party1", found.now, party=BEN.did, lost=True)
    again(found, 0)
    machine = found.machine(0)
    for sender, to, message in late:
        if to == ANN.did:
            machine.handle_message(sender, message, found.now)
    assert BEN.did in machine.waiting_for()


@pytest.mark.parametrize("state", ["proposing", "offering", "meshing", "running"])
@pytest.mark.parametrize("kind", ["propose", "withdraw", "offer", "abort", "pulse"])
def test_no_message_of_the_epoch_before_moves_the_next(state: str, kind: str) -> None:
    first = running(PARTIES)
    old = first.machine(1)
    stale = {
        "propose": to_propose(old),
        "withdraw": Withdraw(old._own.nonce, "stopped by its owner"),
        "offer": first.machine(0)._board.offers(old.descriptor.id)[BEN.did],
    }
    old.stop("gone", first.now, lost=True)
    abort = old.own_statement()
    first.machine(0).stop("lost party1", first.now, party=BEN.did, lost=True)
    first.machine(2).stop("lost party1", first.now, party=BEN.did, lost=True)
    first.mail.clear()
    for machine in first.machines.values():
        machine.messages_to_send()
    again(first, 0)
    again(first, 2)
    if state != "proposing":
        first.join(1)
        first.deliver_all()
    if state in ("meshing", "running"):
        first.make_offers()
        first.deliver_all()
    if state == "running":
        for machine in first.machines.values():
            machine.mesh_ready(first.now)
        first.beat()
    machine = first.machine(0)
    before = machine.state, machine.waiting_for(), machine.descriptor
    assert machine.state == state
    if kind == "pulse":
        machine.handle_pulse(BEN.did, abort.text, first.now)
    else:
        message = Say(old.descriptor.id, abort.text) if kind == "abort" else stale[kind]
        assert machine.concerns(BEN.did, message), "or it would wait in the mailbox"
        machine.handle_message(BEN.did, message, first.now)
    assert (machine.state, machine.waiting_for(), machine.descriptor) == before
    assert machine.next_event() is None or state != "proposing"


def test_a_statement_of_this_session_that_names_another_epoch_is_dropped() -> None:
    found = running(PARTIES)
    machine = found.machine(0)
    session = machine.descriptor.id
    forged = BEN.speaker.say(Kind.ABORT, session, 1, 9, {"reason": "no"}, epoch=1)
    machine.handle_message(BEN.did, Say(session, forged.text), found.now)
    assert machine.state is State.RUNNING


def test_who_stops_for_any_other_reason_is_not_waited_for() -> None:
    found = running(PARTIES)
    found.machine(0).stop("party0 was stopped by its owner", found.now, party=ANN.did)
    found.collect()
    found.deliver_all()
    assert not any(found.ended(index).lost for index in range(3))


def test_epochs_end() -> None:
    found = Table(PARTIES, draft_of(PARTIES))
    last = Continuation(MAX_EPOCH, "ab" * 32)
    for index in range(3):
        found.join(index, continues=last)
    found.deliver_all()
    assert found.machine(0).descriptor.epoch == MAX_EPOCH
    assert found.machine(0).continuation() is None
    assert max(found.machine(0).descriptor.ports) < 65536


def test_before_there_was_a_descriptor_there_is_nothing_to_continue() -> None:
    assert start(ANN, PARTIES, draft_of(PARTIES)).continuation() is None


def test_an_insider_that_claims_a_late_epoch_changes_its_number_and_nothing_else() -> None:
    found = table_with_first_proposals()
    for position, (sender, to, message) in enumerate(found.mail):
        if sender == CY.did and isinstance(message, Propose):
            claims = replace(message, epoch=7, previous="cd" * 32)
            found.mail[position] = sender, to, claims
    found.deliver_all()
    ids = {found.machine(index).descriptor.id for index in (0, 1)}
    assert len(ids) == 1
    assert found.machine(0).descriptor.epoch == 7


def table_with_first_proposals() -> Table:
    found = Table(PARTIES, draft_of(PARTIES))
    for index in range(3):
        found.join(index)
    return found


def to_propose(machine: Any) -> Propose:
    own = machine._own
    return Propose(own.draft, own.nonce, own.created, own.encapsulation_key)
