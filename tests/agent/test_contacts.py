"""Contacts: names of our own, verified or not, that follow a party to its next DID."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.contacts import MAX_MET, Contacts, following, pair_id
from agent.errors import AgentError, UsageMistake
from messaging.rotation import PriorDid
from tests.support.sessions import make_parties

BOB, CAROL, NEW = (party.did for party in make_parties(3))


def test_a_name_stands_for_the_did(tmp_path: Path) -> None:
    contacts = Contacts(tmp_path)
    contacts.name(BOB, "bob")
    assert contacts.did("bob") == contacts.did(BOB) == BOB
    assert [(one.name, one.verified) for one in contacts.all()] == [("bob", False)]
    assert (tmp_path / "contacts.json").stat().st_mode & 0o777 == 0o600


def test_a_name_is_one_partys_and_a_party_has_one_name(tmp_path: Path) -> None:
    contacts = Contacts(tmp_path)
    contacts.name(BOB, "bob")
    with pytest.raises(UsageMistake, match="already"):
        contacts.name(CAROL, "bob")
    contacts.verify("bob")
    contacts.name(BOB, "robert")
    assert [(one.name, one.verified) for one in contacts.all()] == [("robert", True)]


def test_known_are_contacts_and_whom_we_computed_with_and_nobody_else(tmp_path: Path) -> None:
    contacts = Contacts(tmp_path)
    contacts.name(BOB, "bob")
    contacts.meet({CAROL: "Carol"})
    assert contacts.knows(BOB)
    assert contacts.knows(CAROL)
    assert not contacts.knows(NEW)


def test_whom_we_met_can_be_named_by_a_part_of_its_did(tmp_path: Path) -> None:
    contacts = Contacts(tmp_path)
    contacts.meet({BOB: "Bob", CAROL: "Carol"})
    contacts.name(BOB[11:24], "bob")
    assert contacts.did("bob") == BOB
    assert [one.did for one in contacts.met()] == [CAROL]
    for word in ("peer:2.", "z6", "nothing like it"):
        with pytest.raises(UsageMistake):
            contacts.name(word, "x")


def test_a_contact_that_moves_stays_who_it_is(tmp_path: Path) -> None:
    contacts = Contacts(tmp_path)
    contacts.name(BOB, "bob")
    contacts.verify("bob")
    moved = contacts.rotated(PriorDid(BOB, NEW, 1))
    assert moved is not None
    assert (moved.did, moved.verified, moved.former) == (NEW, True, (BOB,))
    assert contacts.of(BOB) is None


def test_a_move_of_a_stranger_or_onto_another_contact_changes_nothing(tmp_path: Path) -> None:
    contacts = Contacts(tmp_path)
    contacts.name(BOB, "bob")
    contacts.name(CAROL, "carol")
    assert contacts.rotated(PriorDid(NEW, BOB, 1)) is None
    assert contacts.rotated(PriorDid(BOB, CAROL, 1)) is None
    assert contacts.did("bob") == BOB


def test_whom_we_met_is_followed_too_and_a_contact_to_a_did_that_we_met(tmp_path: Path) -> None:
    contacts = Contacts(tmp_path)
    contacts.meet({CAROL: "Carol"})
    assert contacts.rotated(PriorDid(CAROL, NEW, 1)) is None
    assert [(one.did, one.called) for one in contacts.met()] == [(NEW, "Carol")]
    contacts.name(BOB, "bob")
    moved = contacts.rotated(PriorDid(BOB, NEW, 2))
    assert moved is not None
    assert contacts.met() == ()


def test_a_move_is_told_and_damaged_contacts_are_no_reason_to_stop(tmp_path: Path) -> None:
    told: list[str] = []
    contacts = Contacts(tmp_path)
    contacts.name(BOB, "bob")
    follow = following(contacts, told.append)
    follow(PriorDid(BOB, NEW, 1))
    follow(PriorDid(CAROL, BOB, 1))
    (tmp_path / "contacts.json").write_text("{}")
    follow(PriorDid(NEW, BOB, 1))
    assert told[0] == "bob has a new DID, signed with the old one"
    assert len(told) == 2
    assert "damaged" in told[1]


def test_those_we_met_are_bounded(tmp_path: Path) -> None:
    contacts = Contacts(tmp_path)
    for number in range(MAX_MET + 20):
        contacts.meet({f"did:example:{number}": ""})
    assert len(contacts.met()) == MAX_MET
    assert contacts.met()[-1].did == f"did:example:{MAX_MET + 19}"


@pytest.mark.parametrize("name", ["", "did:x", "a\nb", "\u202ebob", "x" * 41, "-bob"])
def test_what_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageMistake):
        Contacts(tmp_path).name(BOB, name)


def test_an_unknown_name_is_one_sentence(tmp_path: Path) -> None:
    for act in (Contacts(tmp_path).did, Contacts(tmp_path).verify, Contacts(tmp_path).remove):
        with pytest.raises(UsageMistake, match="no contact 'eve'"):
            act("eve")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"contacts": {"bob": 1}, "met": []}'])
def test_a_damaged_file_is_said_and_kept(tmp_path: Path, text: str) -> None:
    (tmp_path / "contacts.json").write_text(text)
    with pytest.raises(AgentError, match="damaged"):
        Contacts(tmp_path).all()
    assert (tmp_path / "contacts.json").read_text() == text


def test_two_parties_have_the_same_words_to_compare() -> None:
    assert pair_id(BOB, CAROL) == pair_id(CAROL, BOB) != pair_id(BOB, NEW)
