"""The rules by which parties agree, run and stop: every one over machines that talk in memory."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.session.callers import MAX_PROPOSALS, VERDICT_DELAY
from agent.session.descriptor import differences
from agent.session.events import Agreed, Ended, Moved, Outcome, Released, State, Withdrew
from agent.session.statements import Kind, verify
from messaging.jws import sign_compact
from messaging.protocols.session import Candidates, Offer, Propose, Say, Withdraw
from tests.support.sessions import (
    KEM_KEY,
    NOW,
    Table,
    described,
    draft_of,
    finish,
    make_parties,
    meshing,
    offer_for,
    other_program,
    ready,
    running,
)

PARTIES = make_parties(3)


def table() -> Table:
    return Table(PARTIES, draft_of(PARTIES))


def test_parties_that_propose_the_same_agree_on_one_descriptor() -> None:
    found = described(PARTIES)
    ids = {machine.descriptor.id for machine in found.machines.values() if machine.descriptor}
    assert len(ids) == 1
    assert found.states() == [State.OFFERING] * 3


def test_nothing_is_signed_before_everybody_has_proposed() -> None:
    found = table()
    found.join(0)
    found.join(1)
    found.deliver_all()
    assert found.states() == [State.PROPOSING] * 2
    assert found.machine(0).waiting_for() == (PARTIES[2].did,)
    assert found.machine(0).statements() == []


def test_two_sessions_of_the_same_parties_have_different_names_and_addresses() -> None:
    first, second = (
        described(PARTIES).machine(0).descriptor,
        described(PARTIES).machine(0).descriptor,
    )
    assert first is not None
    assert second is not None
    assert first.id != second.id
    assert first.addresses != second.addresses


def test_signature_and_offer_go_to_each_other_party_in_one_message() -> None:
    found = described(PARTIES)
    assert found.mail == []
    found.make_offers()
    assert len(found.mail) == 6
    for sender, _, message in found.mail:
        assert isinstance(message, Offer)
        (said,) = found.machines[sender].statements()
        assert (said.kind, said.text) == (Kind.AGREE, message.statement)


def test_nobody_builds_a_mesh_before_everybody_has_signed() -> None:
    found = described(PARTIES)
    found.make_offers()
    while found.deliver():
        for machine, events in zip(found.machines.values(), found.events.values(), strict=True):
            if any(isinstance(event, Agreed) for event in events):
                said = [s for s in machine.statements() if s.kind is Kind.AGREE]
                assert len(said) == 3


def test_an_offer_without_its_sender_s_signature_is_not_enough() -> None:
    found = described(PARTIES)
    found.make_offers()
    for position, (sender, to, message) in enumerate(found.mail):
        if sender == PARTIES[0].did:
            found.mail[position] = (sender, to, replace(message, statement="a.b.c"))
    found.deliver_all()
    assert found.states() == [State.MESHING, State.SIGNING, State.SIGNING]
    assert found.machine(1).waiting_for() == (PARTIES[0].did,)


def test_offers_for_a_session_that_was_started_over_are_not_sent() -> None:
    found = described(PARTIES)
    machine, stale = found.machine(0), found.machine(0).descriptor
    assert stale is not None
    found.join(1)
    found.deliver_all()
    machine.offers_made({p.did: offer_for(stale.id) for p in PARTIES[1:]}, found.now)
    found.collect()
    assert found.mail == []
    found.make_offers()
    found.deliver_all()
    assert found.states() == [State.MESHING] * 3


def test_the_set_up_takes_two_messages_to_each_other_party() -> None:
    found = table()
    for index in range(3):
        found.join(index)
    sent = len(found.mail)
    found.deliver_all()
    found.make_offers()
    sent += len(found.mail)
    found.deliver_all()
    assert sent == 2 * 3 * 2
    for machine in found.machines.values():
        machine.mesh_ready(found.now)
    found.collect()
    assert found.mail == []


def test_addresses_of_a_new_network_reach_everybody_in_the_session_and_nobody_before() -> None:
    found = described(PARTIES)
    found.machine(0).moved([{"kind": "host"}])
    found.collect()
    assert found.mail == []
    found.make_offers()
    found.deliver_all()
    found.machine(0).moved([{"kind": "host"}])
    found.collect()
    found.deliver_all()
    for index in (1, 2):
        assert found.events[PARTIES[index].did][-1] == Moved(PARTIES[0].did, [{"kind": "host"}])
    stray = Candidates("0" * 64, ())
    found.machine(1).handle_message(PARTIES[0].did, stray, found.now)
    assert found.machine(1).next_event() is None


def test_other_relays_reach_the_party_they_are_for_alone() -> None:
    found = described(PARTIES)
    ben = PARTIES[1].did
    found.machine(0).relays_changed(ben, [{"port": 41000}])
    found.collect()
    assert found.mail == []
    found.make_offers()
    found.deliver_all()
    found.machine(0).relays_changed(ben, [{"port": 41000}])
    found.collect()
    assert [to for _, to, _ in found.mail] == [ben]
    found.deliver_all()
    assert found.events[ben][-1] == Moved(PARTIES[0].did, (), [{"port": 41000}])


def test_what_the_mesh_does_not_carry_is_mailed_once() -> None:
    found = meshing(PARTIES)
    for machine in found.machines.values():
        machine.mesh_ready(found.now)
        machine.say_by_mail([party.did for party in PARTIES])
        machine.say_by_mail([party.did for party in PARTIES])
    found.collect()
    assert len(found.mail) == 6
    found.deliver_all()
    assert found.states() == [State.RUNNING] * 3


def test_a_signature_that_came_with_an_offer_is_not_mailed_again_while_the_mesh_is_slow() -> None:
    found = meshing(PARTIES)
    for machine in found.machines.values():
        machine.say_by_mail([party.did for party in PARTIES])
    found.collect()
    assert found.mail == []


def test_an_offer_of_another_session_builds_no_mesh() -> None:
    found = described(PARTIES)
    found.make_offers()
    for position, (sender, to, message) in enumerate(found.mail):
        if sender == PARTIES[0].did and to == PARTIES[1].did:
            found.mail[position] = (sender, to, replace(message, session="0" * 64))
    found.deliver_all()
    assert found.machine(1).state is State.SIGNING
    assert found.machine(2).state is State.MESHING


def test_the_program_runs_when_everybody_is_ready_and_not_before() -> None:
    found = meshing(PARTIES)
    assert all(any(isinstance(e, Agreed) for e in es) for es in found.events.values())
    for index in (0, 1):
        found.machine(index).mesh_ready(found.now)
    found.beat()
    assert found.states() == [State.READY, State.READY, State.MESHING]
    found.machine(2).mesh_ready(found.now)
    found.beat()
    assert found.states() == [State.RUNNING] * 3
    assert all(any(isinstance(e, Released) for e in events) for events in found.events.values())


def test_equal_results_end_the_session_well_for_everybody() -> None:
    found = running(PARTIES)
    finish(found, "aa", "aa", "aa")
    assert [found.ended(index).outcome for index in range(3)] == [Outcome.DONE] * 3
    assert len(found.machine(0).statements()) == 9


@pytest.mark.parametrize(
    "results",
    [
        ("aa", "bb", "aa"),
        ("aa", "aa", "bb"),
        ("bb", "aa", "aa"),
        ("ab" * 32, "ab" * 32, "ab" * 31 + "ac"),
    ],
)
def test_different_results_are_told_to_everybody(results: tuple[str, ...]) -> None:
    found = running(PARTIES)
    finish(found, *results)
    assert {found.ended(index).outcome for index in range(3)} == {Outcome.MISMATCH}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sha256": "cd" * 32}, "program sha256: ours is"),
        ({"program": "sum"}, "program name: ours is second_price_auction, theirs is sum"),
        ({"adapter": "cicada"}, "adapter: ours is mpyc, theirs is cicada"),
        ({"threshold": 0}, "threshold: ours is 1, theirs is 0"),
        ({"runtime": {"mpyc": "0.10"}}, "runtime mpyc: ours is 0.11, theirs is 0.10"),
        ({"outputs": {"the winner": "party0"}}, "outputs the winner"),
        ({"parameters": {"rounds": 3}}, "parameters rounds: ours is missing, theirs is 3"),
        ({"parties": tuple(p.did for p in reversed(PARTIES))}, "order: ours is [0, 1, 2]"),
    ],
    ids=["program", "name", "adapter", "threshold", "runtime", "outputs", "parameters", "order"],
)
def test_who_wants_something_else_is_refused_by_name_before_anything_is_signed(
    change: dict[str, object], words: str
) -> None:
    found = table()
    found.join(0)
    found.join(1)
    found.join(2, replace(found.draft, **change))
    found.deliver_all()
    found.wait(VERDICT_DELAY)
    found.deliver_all()
    for index in (0, 1):
        ended = found.ended(index)
        assert (ended.outcome, ended.party) == (Outcome.REFUSED, PARTIES[2].did)
        assert words in ended.reason
    assert found.ended(2).outcome is Outcome.REFUSED
    assert all(machine.statements() == [] for machine in found.machines.values())


def test_only_those_who_learn_the_same_must_have_the_same_result() -> None:
    parties = make_parties(3)
    roles = replace(
        draft_of(parties), roles=("voter", "voter", "helper"), outputs={"a match": "voter"}
    )
    found = running(parties, roles)
    finish(found, "ab" * 32, "ab" * 32, "cd" * 32)
    assert {found.ended(index).outcome for index in range(3)} == {Outcome.DONE}
    found = running(parties, roles)
    finish(found, "ab" * 32, "cd" * 32, "cd" * 32)
    assert {found.ended(index).outcome for index in range(3)} == {Outcome.MISMATCH}


def test_results_are_compared_within_every_group_of_those_who_learn_the_same() -> None:
    parties = make_parties(4)
    outputs = {"a match": "voter", "how many": "counter"}
    roles = replace(
        draft_of(parties), roles=("voter", "voter", "counter", "counter"), outputs=outputs
    )
    for results, outcome in (
        (("aa", "aa", "bb", "bb"), Outcome.DONE),
        (("aa", "aa", "bb", "cc"), Outcome.MISMATCH),
    ):
        found = running(parties, roles)
        finish(found, *results)
        assert {found.ended(index).outcome for index in range(4)} == {outcome}


def test_a_session_is_over_a_day_after_the_oldest_call() -> None:
    found = table()
    first = found.join(0)
    called = found.now
    found.now += 600
    found.join(1)
    found.join(2)
    found.deliver_all()
    assert first.descriptor.deadline == int(called) + 24 * 3600


def test_every_party_has_an_address_and_a_port_of_its_own() -> None:
    descriptor = described(PARTIES).machine(0).descriptor
    for places in (descriptor.addresses, descriptor.addresses6, descriptor.ports):
        assert len({*places}) == len(PARTIES)


def test_who_wants_another_role_is_told_which() -> None:
    ours = replace(draft_of(make_parties(3)), roles=("voter", "voter", "helper"))
    theirs = replace(ours, roles=("helper", "voter", "voter"))
    assert differences(ours.to_json(), theirs.to_json()) == [
        "role of party0: ours is voter, theirs is helper",
        "role of party2: ours is helper, theirs is voter",
    ]


def test_a_party_whose_roster_is_larger_is_told_who_is_missing_from_ours() -> None:
    parties = make_parties(4)
    found = Table(parties, draft_of(parties[:3]))
    found.join(0)
    found.join(1, draft_of(parties))
    found.deliver_all()
    found.wait(VERDICT_DELAY)
    assert "ours is out, theirs is in" in found.ended(0).reason


def test_a_wrong_call_that_was_taken_back_does_not_spoil_the_right_one() -> None:
    found = table()
    mistaken = found.join(2, other_program(found.draft))
    mistaken.stop("wrong program", found.now)
    found.collect()
    found.join(2)
    found.join(0)
    found.join(1)
    found.deliver_all()
    found.wait(VERDICT_DELAY)
    assert found.states() == [State.OFFERING] * 3


def test_a_refusal_between_two_parties_ends_the_waiting_of_the_third() -> None:
    found = table()
    found.join(0)
    found.join(1)
    found.join(2, other_program(found.draft))
    found.deliver_all()
    found.now += VERDICT_DELAY
    found.machine(1).handle_timer(found.now)  # the first one to notice; its word comes before ours
    found.collect()
    found.deliver_all()
    for index in range(3):
        assert found.ended(index).outcome is Outcome.REFUSED
        assert "program sha256" in found.ended(index).reason


def test_a_party_that_starts_over_before_the_signatures_is_taken_at_its_newer_word() -> None:
    found = table()
    found.join(0)
    found.join(1)
    found.deliver_all()
    found.join(1)
    found.join(2)
    found.deliver_all()
    assert found.states() == [State.OFFERING] * 3


def test_a_right_call_after_a_wrong_one_hears_our_proposal_again() -> None:
    found = table()
    found.join(0)
    mistaken = found.join(2, other_program(found.draft))
    found.deliver_all()
    mistaken.stop("wrong program", found.now)
    found.collect()
    found.deliver_all()
    found.join(2)
    found.join(1)
    found.deliver_all()
    assert found.states() == [State.OFFERING] * 3


def test_a_party_that_starts_over_after_the_signatures_ends_the_session_for_all() -> None:
    found = meshing(PARTIES)
    found.join(1)
    found.deliver_all()
    assert found.ended(0).party == PARTIES[1].did
    assert "started over" in found.ended(0).reason
    assert found.ended(2) is not None


def test_who_goes_by_another_did_now_is_named_with_it_to_who_waits_for_the_one_before() -> None:
    """The descriptor names DIDs: the one that is waited for will not come."""
    found = table()
    found.join(0)
    found.join(1)
    found.deliver_all()
    found.machine(0).handle_rotation(PARTIES[1].did, "did:example:new", found.now)
    found.machine(0).handle_rotation("did:example:stranger", "did:example:new", found.now)
    assert found.machine(0).state is State.PROPOSING, "it has proposed, and goes on as it did"
    found.machine(0).handle_rotation(PARTIES[2].did, "did:example:new", found.now)
    found.collect()
    ended = found.ended(0)
    assert (ended.outcome, ended.party) == (Outcome.REFUSED, PARTIES[2].did)
    assert ended.reason.endswith("goes by another DID now: did:example:new")


def test_an_older_proposal_that_arrives_later_changes_nothing() -> None:
    found = table()
    found.join(1)
    late, found.mail = found.mail, []
    found.join(1)
    found.join(0)
    found.join(2)
    found.deliver_all()
    found.mail += [mail for mail in late if mail[1] != PARTIES[1].did]
    found.deliver_all()
    assert found.states().count(State.OFFERING) == 3


def test_who_leaves_before_the_signatures_is_waited_for_again() -> None:
    found = table()
    found.join(0)
    found.join(1)
    found.deliver_all()
    found.machine(1).stop("stopped by its owner", found.now)
    found.collect()
    found.deliver_all()
    assert found.machine(0).state is State.PROPOSING
    assert found.events[PARTIES[0].did][-1] == Withdrew(PARTIES[1].did, "stopped by its owner")
    assert PARTIES[1].did in found.machine(0).waiting_for()


@pytest.mark.parametrize("stage", [described, meshing, running])
def test_an_abort_reaches_everybody_with_its_reason_and_whom_it_is_about(stage) -> None:
    found = stage(PARTIES)
    found.machine(0).stop("lost party2", found.now, party=PARTIES[2].did)
    found.collect()
    found.deliver_all()
    ended = found.ended(1)
    assert (ended.outcome, ended.reason, ended.party) == (
        Outcome.FAILED,
        "lost party2",
        PARTIES[2].did,
    )


def test_a_statement_counts_only_for_the_party_that_signed_it_and_from_itself() -> None:
    """What Cy copies is neither Cy's word, who is not ready yet, nor Ben's."""
    found = ready(PARTIES)
    ann, copied = found.machine(0), found.machine(1).own_statement()
    assert copied is not None
    assert copied.kind is Kind.READY
    ann.handle_message(PARTIES[2].did, Say(copied.session, copied.text), found.now)
    ann.handle_pulse(PARTIES[2].did, copied.text, found.now)
    assert ann.waiting_for() == (PARTIES[1].did, PARTIES[2].did)
    assert copied.text not in [said.text for said in ann.statements()]


def test_an_insider_cannot_abort_in_another_partys_name() -> None:
    found = running(PARTIES)
    machine = found.machine(0)
    forged = PARTIES[2].speaker.say(
        Kind.ABORT, machine.descriptor.id, 1, int(found.now), {"reason": "no"}
    )
    for sender in (PARTIES[1].did, PARTIES[2].did):
        machine.handle_message(sender, Say(machine.descriptor.id, forged.text), found.now)
    assert machine.state is State.RUNNING


def test_statements_arrive_through_the_mesh_as_well() -> None:
    found = running(PARTIES)
    for machine in found.machines.values():
        machine.program_ended("aa", found.now)
    for did, machine in found.machines.items():
        for other, speaker in found.machines.items():
            if other != did:
                machine.handle_pulse(other, speaker.own_statement().text, found.now)
    found.collect()
    assert [found.ended(index).outcome for index in range(3)] == [Outcome.DONE] * 3


def test_a_stranger_is_not_heard() -> None:
    found = table()
    found.join(0)
    stranger = make_parties(1)[0]
    intruder = Table([*PARTIES, stranger], draft_of([*PARTIES, stranger]))
    intruder.join(3)
    message = next(message for _, to, message in intruder.mail if to == PARTIES[0].did)
    assert not found.machine(0).concerns(stranger.did, message)


def test_a_proposal_from_another_year_is_dropped() -> None:
    found = table()
    found.join(0)
    old = Table(PARTIES, found.draft, now=found.now - 10 * 86_400)
    old.join(1)
    for sender, to, message in old.mail:
        if to == PARTIES[0].did:
            found.machine(0).handle_message(sender, message, found.now)
    assert PARTIES[1].did in found.machine(0).waiting_for()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_in_whatever_order_mail_arrives_all_agree_or_all_stop(data: st.DataObject) -> None:
    """Random interleavings, duplicates, late joiners, restarts and a party that gives up."""
    found = table()
    joined: set[int] = set()
    for _ in range(data.draw(st.integers(5, 120))):
        action = data.draw(st.sampled_from(["join", "deliver", "twice", "offer", "ready", "stop"]))
        index = data.draw(st.integers(0, 2))
        if action == "join" and index not in joined:
            joined.add(index)
            found.join(index)
        elif action == "deliver":
            found.deliver(data.draw(st.integers(0, 50)))
        elif action == "twice" and found.mail:
            found.mail.append(data.draw(st.sampled_from(found.mail)))
        elif action == "offer":
            found.make_offers()
        elif action == "ready" and index in joined:
            found.machine(index).mesh_ready(found.now)
            found.collect()
        elif action == "stop" and index in joined and data.draw(st.integers(0, 20)) == 0:
            found.machine(index).stop("gave up", found.now)
            found.collect()
    for index in {0, 1, 2} - joined:
        found.join(index)
    for _ in range(6):
        found.deliver_all()
        found.make_offers()
        for machine in found.machines.values():
            machine.mesh_ready(found.now)
        found.beat()
    states = set(found.states())
    assert states == {State.RUNNING} or State.RUNNING not in states
    sessions = {machine.descriptor.id for machine in found.machines.values() if machine.descriptor}
    if State.RUNNING in states:
        assert len(sessions) == 1


def test_what_an_insider_says_last_changes_neither_our_clock_nor_our_record() -> None:
    """Its abort may name any time and its words may be any: ours stay valid, and say ours."""
    for reason in ("\U0001f600" * 100, "\x1b[2J" * 50, '"' * 300):
        found = running(PARTIES)
        machine = found.machine(0)
        assert machine.descriptor is not None
        facts = {"reason": reason[:120]}
        text = PARTIES[2].speaker.say(Kind.ABORT, machine.descriptor.id, 2, 7, facts).text
        machine.handle_message(PARTIES[2].did, Say(machine.descriptor.id, text), found.now)
        documents = {rank: party.document for rank, party in enumerate(PARTIES)}
        (ours,) = [s for s in machine.statements() if s.rank == 0 and s.kind is Kind.ABORT]
        assert verify(ours.text, documents).time == int(found.now)
        assert str(ours.facts["reason"]).isprintable()


def test_a_withdrawal_with_the_longest_words_leaves_a_valid_record() -> None:
    found = running(PARTIES)
    machine = found.machine(0)
    nonce = found.machine(2)._own.nonce
    words = "\U0001f600" * 300
    machine.handle_message(PARTIES[2].did, Withdraw(nonce, words), found.now)
    documents = {rank: party.document for rank, party in enumerate(PARTIES)}
    assert machine.state is State.ENDED
    assert [verify(said.text, documents) for said in machine.statements()]


def test_a_party_that_aborts_at_no_time_stops_nobodys_machine_by_an_error() -> None:
    found = running(PARTIES)
    machine = found.machine(0)
    assert machine.descriptor is not None
    content = {
        "kind": "abort",
        "session": machine.descriptor.id,
        "rank": 2,
        "facts": {},
        "epoch": 0,
    }
    text = sign_compact(json.dumps({**content, "time": 10**20}).encode(), PARTIES[2].key, "#key-2")
    machine.handle_message(PARTIES[2].did, Say(machine.descriptor.id, text), found.now)
    assert machine.state is State.RUNNING
    machine.stop("enough", found.now)
    assert machine.state is State.ENDED


def test_a_draft_with_endless_names_is_told_in_few_words() -> None:
    theirs = {"x" * 500_000: 1, "parties": list(draft_of(PARTIES).parties)}
    assert all(len(words) < 300 for words in differences(draft_of(PARTIES).to_json(), theirs))


def test_a_party_that_starts_over_for_ever_ends_the_session_by_its_own_name() -> None:
    """Each of its proposals would have everybody write to everybody."""
    found = table()
    for index in range(3):
        found.join(index)
    found.deliver_all()
    machine, sent = found.machine(0), 0
    for number in range(10 * MAX_PROPOSALS):
        nonce = f"{number:043d}"
        created = int(NOW * 1000) + 1000 + number
        content = Propose(found.draft.to_json(), nonce, created, KEM_KEY)
        machine.handle_message(PARTIES[2].did, content, found.now)
        sent += len(machine.messages_to_send())
    assert machine.state is State.ENDED
    found.collect()
    (ended,) = [e for e in found.events[PARTIES[0].did] if isinstance(e, Ended)]
    assert ended.party == PARTIES[2].did
    assert sent < 5 * MAX_PROPOSALS
