"""What several parties' transcripts prove together, and every way in which one can be wrong."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from agent.session.comparing import differences, merge
from agent.session.descriptor import descriptor_id
from agent.session.statements import Kind
from agent.session.transcript import NotATranscript, Record, Verdict, check, to_json
from tests.support.sessions import Table, draft_of, finish, make_parties, running

PARTIES = make_parties(3)
DOCUMENTS = {party.did: party.document for party in PARTIES}
Transcript = dict[str, Any]


def record_of(found: Table, index: int) -> Record:
    machine = found.machine(index)
    assert machine.descriptor is not None
    return Record(machine.descriptor.content, machine.statements())


def written(*records: Record) -> Transcript:
    transcript: Transcript = json.loads(json.dumps(to_json(records)))
    return transcript


def two_epochs() -> tuple[list[Transcript], Transcript]:
    """All three parties' transcripts after Ben was killed and came back, and another session's."""
    found = running(PARTIES)
    for index in (0, 2):
        found.machine(index).stop("lost party1", found.now, party=PARTIES[1].did, lost=True)
    before = {index: record_of(found, index) for index in (0, 2)}
    known = {index: found.machine(index).continuation() for index in (0, 2)}
    for machine in found.machines.values():
        machine.messages_to_send()
    for index in range(3):
        found.join(index, continues=known.get(index))
    found.deliver_all()
    found.make_offers()
    found.deliver_all()
    for machine in found.machines.values():
        machine.mesh_ready(found.now)
    found.beat()
    finish(found, "aa", "aa", "aa")
    records = [
        written(*([before[index]] if index in before else []), record_of(found, index))
        for index in range(3)
    ]
    other = running(PARTIES)
    finish(other, "aa", "aa", "aa")
    return records, written(record_of(other, 0))


(ANN, BEN, CY), OTHER = two_epochs()


def verdict(transcript: Transcript) -> Verdict:
    return check(transcript, DOCUMENTS)


def compared(*transcripts: Transcript) -> list[str]:
    return differences({name: verdict(t) for name, t in zip("ABC", transcripts, strict=False)})


def test_every_epoch_is_in_the_record_with_its_own_descriptor_and_signatures() -> None:
    found = verdict(ANN)
    assert found.complete
    assert (found.epoch, [epoch.epoch for epoch in found.earlier]) == (1, [0])
    (first,) = found.earlier
    assert all(party.agreed and party.ready for party in first.parties)
    assert first.parties[0].aborted == "lost party1"
    assert not first.complete


def test_who_was_killed_remembers_no_epoch_before_and_that_is_named() -> None:
    assert compared(ANN, BEN) == ["B does not remember epoch 0"]


def test_a_statement_that_only_one_has_is_named() -> None:
    assert compared(without(BEN, -1), BEN) == ["A lacks the result of party2 of epoch 1"]


def test_equal_transcripts_are_equal_in_whatever_order_the_statements_stand() -> None:
    assert compared(BEN, {**BEN, "statements": BEN["statements"][::-1]}, BEN) == []


def test_another_session_is_named() -> None:
    assert compared(ANN, OTHER) == ["B is of another session than A"]


def test_two_results_told_to_two_parties_show_when_put_together() -> None:
    lie = PARTIES[2].speaker.say(Kind.RESULT, BEN["session"], 2, 9, {"sha256": "bb"}, 1).text
    told = {**BEN, "statements": [*without(BEN, -1)["statements"], lie]}
    assert compared(BEN, told) == [
        "A has another result of party2 of epoch 1",
        "B has another result of party2 of epoch 1",
    ]
    assert verdict(merge([BEN, told])).summary() == "party2 signed different results"


def test_together_they_prove_what_none_proves_alone() -> None:
    one, two = without(BEN, -1), without(BEN, 0)
    assert not verdict(one).complete
    assert not verdict(two).complete
    assert verdict(merge([one, two])).complete


def test_only_results_of_those_who_learn_the_same_are_compared() -> None:
    voters = replace(
        draft_of(PARTIES), roles=("voter", "voter", "helper"), outputs={"a match": "voter"}
    )
    for results, sentence in {
        ("aa", "aa", "cc"): "complete: every party agreed, was ready and signed the result of",
        ("aa", "bb", "bb"): "party0 and party1 learn the same and signed different results",
    }.items():
        found = running(PARTIES, voters)
        finish(found, *results)
        transcripts = [written(record_of(found, index)) for index in range(3)]
        assert compared(*transcripts) == []
        assert verdict(transcripts[0]).summary().startswith(sentence)


def without(transcript: Transcript, position: int) -> Transcript:
    statements = list(transcript["statements"])
    del statements[position]
    return {**transcript, "statements": statements}


def edited(change: Callable[[Transcript], object]) -> Callable[[], Transcript]:
    def edit() -> Transcript:
        transcript = copy.deepcopy(ANN)
        change(transcript)
        return transcript

    return edit


def swap(texts: list[str], one: int, other: int, part: int) -> None:
    """Exchange the header (0), content (1) or signature (2) of two statements."""
    parts = [texts[one].split("."), texts[other].split(".")]
    parts[0][part], parts[1][part] = parts[1][part], parts[0][part]
    texts[one], texts[other] = map(".".join, parts)


FORGED: dict[str, Callable[[], Transcript]] = {
    "signatures swapped": edited(lambda t: swap(t["statements"], 0, 1, 2)),
    "contents swapped": edited(lambda t: swap(t["statements"], 0, 4, 1)),
    "a statement of another session": edited(
        lambda t: t["statements"].append(OTHER["statements"][0])
    ),
    "a statement of the epoch before": edited(
        lambda t: t["statements"].append(t["earlier"][0]["statements"][0])
    ),
    "a statement of the next epoch in the one before": edited(
        lambda t: t["earlier"][0]["statements"].append(t["statements"][0])
    ),
    "a signature cut off": edited(
        lambda t: t["statements"].__setitem__(0, t["statements"][0].rpartition(".")[0] + ".")
    ),
    "an epoch that its session is not of": edited(
        lambda t: t["statements"].append(
            PARTIES[0].speaker.say(Kind.RESULT, t["session"], 0, 9, {"sha256": "aa"}, 0).text
        )
    ),
    "words of one in the name of another": edited(
        lambda t: t["statements"].append(
            PARTIES[0].speaker.say(Kind.RESULT, t["session"], 1, 9, {"sha256": "aa"}, 1).text
        )
    ),
}


@pytest.mark.parametrize("attack", FORGED.values(), ids=FORGED)
def test_what_nobody_signed_is_counted_and_nothing_is_complete(
    attack: Callable[[], Transcript],
) -> None:
    found = verdict(attack())
    assert found.forged >= 1
    assert not found.complete
    assert found.summary().startswith("forged")


REFUSED: dict[str, Callable[[], Transcript]] = {
    "roster reordered": edited(lambda t: t["descriptor"]["parties"].reverse()),
    "roster reordered, and named anew": edited(lambda t: renamed(t, "parties", PARTIES[::-1])),
    "another threshold, named anew": edited(lambda t: renamed(t, "threshold", 0)),
    "an epoch of another session before": edited(lambda t: t.update(earlier=[OTHER])),
    "the epoch before twice": edited(lambda t: t.update(earlier=t["earlier"] * 2)),
    "the epoch itself before": edited(lambda t: t.update(earlier=[copy.deepcopy(t)])),
    "no list of epochs": edited(lambda t: t.update(earlier={})),
    "epochs that are none": edited(lambda t: t.update(earlier=[1])),
    "endless epochs": edited(lambda t: t.update(earlier=[{}] * 101)),
    "another key agreement": edited(lambda t: t["descriptor"].update(key_agreement="x25519")),
}


@pytest.mark.parametrize("attack", REFUSED.values(), ids=REFUSED)
def test_a_transcript_that_was_put_together_otherwise_is_none(
    attack: Callable[[], Transcript],
) -> None:
    with pytest.raises(NotATranscript):
        verdict(attack())


@pytest.mark.parametrize("position", range(9))
def test_whichever_statement_is_taken_away_it_is_missed(position: int) -> None:
    found = verdict(without(ANN, position))
    assert found.forged == 0
    assert not found.complete
    assert found.summary() == "incomplete: some statements are missing"


def renamed(transcript: Transcript, name: str, value: Any) -> None:
    """A changed descriptor whose hash fits again; then the epochs do not."""
    content = [party.did for party in value] if name == "parties" else value
    transcript["descriptor"][name] = content
    transcript["session"] = descriptor_id(transcript["descriptor"])
