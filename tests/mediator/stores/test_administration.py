"""What an operator sees and changes, beside a mediator that uses the same store."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mediator.errors import DataFileError
from mediator.settings.config import Limits
from mediator.settings.places import Place, PostgresUrl
from mediator.stores.administration import (
    Administration,
    Admission,
    Closed,
    InvitationRecord,
    Rule,
)
from mediator.stores.interface import Store
from mediator.stores.opening import open_administration, open_store
from tests.support.postgres import Cluster

ALICE, BOB, CAROL = "did:peer:2.alice", "did:peer:2.bob", "did:web:carol.example"
NOW = 1_000_000


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return tmp_path / "mediator.db"
    cluster: Cluster = request.getfixturevalue("postgres")
    return PostgresUrl(cluster.database())


@pytest.fixture
async def store(place: Place) -> AsyncIterator[Store]:
    async with open_store(place, Limits()) as store:
        for did in (ALICE, BOB):
            await store.open_account(did, NOW)
            await store.bind(did, did, proven=True)
        yield store


@pytest.fixture
async def operator(store: Store, place: Place) -> AsyncIterator[Administration]:
    async with open_administration(place) as operator:
        yield operator


async def queue(store: Store, did: str, count: int, now: int = NOW) -> None:
    for number in range(count):
        await store.enqueue(did, [b"%06d" % number], sender=None, expires=now + 999, now=now)


async def test_totals_count_all_that_waits(store: Store, operator: Administration) -> None:
    await queue(store, BOB, 1, NOW - 50)
    await queue(store, ALICE, 2)
    await store.enqueue(CAROL, [b"nobody's"], sender=None, expires=NOW + 9, now=NOW)
    totals = await operator.totals()
    assert (totals.accounts, totals.recipients) == (2, 2)
    assert (totals.messages, totals.bytes, totals.oldest) == (3, 18, NOW - 50)
    assert (totals.parcels, totals.parcel_bytes, totals.unknown_recipient) == (0, 0, 1)


async def test_accounts_with_most_mail_come_first(store: Store, operator: Administration) -> None:
    await queue(store, BOB, 3, NOW + 5)
    await queue(store, ALICE, 1)
    first, second = await operator.accounts()
    assert (first.did, first.messages, first.bytes, first.oldest) == (BOB, 3, 18, NOW + 5)
    assert (second.did, second.recipients, second.created) == (ALICE, 1, NOW)
    assert await operator.accounts(1) == [first]


async def test_a_closed_account_is_gone_with_its_mail_and_nobody_elses(
    store: Store, operator: Administration
) -> None:
    await queue(store, ALICE, 450)
    await queue(store, BOB, 1)
    assert await operator.close_account(ALICE) == Closed(1, 450, 2700)
    assert not await store.has_account(ALICE)
    assert await store.bound(ALICE) == []
    assert (await operator.totals()).messages == 1
    assert await operator.close_account(ALICE) is None


async def test_registration_is_open_until_it_is_closed(operator: Administration) -> None:
    assert (await operator.admission()).admits(ALICE)
    await operator.set_open(False)
    assert not (await operator.admission()).admits(ALICE)
    await operator.set_open(True)
    assert (await operator.admission()).admits(ALICE)


async def test_rules_are_kept_replaced_and_removed(operator: Administration) -> None:
    await operator.set_rule(Rule(ALICE, allow=False), NOW)
    await operator.set_rule(Rule(ALICE, allow=True), NOW)
    assert (await operator.admission()).rules == (Rule(ALICE, allow=True),)
    assert await operator.remove_rule(ALICE)
    assert not await operator.remove_rule(ALICE)


@pytest.mark.parametrize(
    ("rules", "did", "admitted"),
    [
        ([], ALICE, False),
        ([Rule(ALICE, True)], ALICE, True),
        ([Rule(ALICE, True)], BOB, False),
        ([Rule("did:peer:*", True)], ALICE, True),
        ([Rule("did:peer:*", True), Rule(ALICE, False)], ALICE, False),
        ([Rule("did:*", False), Rule("did:web:*", True)], CAROL, True),
        ([Rule("*", True)], CAROL, True),
    ],
)
def test_the_most_specific_rule_decides(rules: list[Rule], did: str, admitted: bool) -> None:
    assert Admission(False, rules).admits(did) is admitted


async def test_an_invitation_admits_as_many_as_it_says_and_each_again(
    operator: Administration,
) -> None:
    await operator.add_invitation(InvitationRecord("secret", NOW, None, 1, "for Alice"))
    assert not await operator.follow_invitation("guess", ALICE, NOW)
    assert await operator.follow_invitation("secret", ALICE, NOW)
    assert await operator.follow_invitation("secret", ALICE, NOW)
    assert not await operator.follow_invitation("secret", BOB, NOW)
    [shown] = await operator.invitations()
    assert (shown.used, shown.note) == (1, "for Alice")


async def test_an_invitation_ends_when_its_time_is_over_or_it_is_revoked(
    operator: Administration,
) -> None:
    await operator.add_invitation(InvitationRecord("short", NOW, NOW + 10, None))
    assert await operator.follow_invitation("short", ALICE, NOW + 9)
    assert not await operator.follow_invitation("short", BOB, NOW + 10)
    assert await operator.revoke_invitation("short")
    assert not await operator.revoke_invitation("short")
    assert not await operator.follow_invitation("short", ALICE, NOW)


def test_an_invitation_is_not_shown_whole_by_accident() -> None:
    assert "secret" not in repr(InvitationRecord("secret", NOW, None, None))


async def test_the_check_writes(operator: Administration) -> None:
    await operator.check()


async def test_a_file_of_an_older_version_is_named_and_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "old.db") as db:
        db.execute("PRAGMA user_version = 1")
    db.close()
    with pytest.raises(DataFileError, match="it has schema 1"):
        async with open_administration(tmp_path / "old.db"):
            pass


async def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="no such file"):
        async with open_administration(tmp_path / "none.db"):
            pass
    assert not (tmp_path / "none.db").exists()
