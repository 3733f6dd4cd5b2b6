"""`mediator migrate`: a store copied into another kind and back is the same store."""

from pathlib import Path

import pytest

from mediator.errors import DatabaseError, DataFileError, MediatorError
from mediator.settings.config import Limits
from mediator.settings.places import Place, PostgresUrl
from mediator.stores.administration import InvitationRecord, Rule
from mediator.stores.copying import copy_store
from mediator.stores.interface import Change, IdentityRecord
from mediator.stores.opening import open_administration, open_store, read_identities
from tests.support.postgres import Cluster
from tests.support.stores import ALICE, BOB, CAROL, NOW, fetched, post

IDENTITIES = [
    IdentityRecord("did:example:1", "http://one", "i1", '{"k":1}'),
    IdentityRecord("did:example:2", "http://two", "i2", "{}"),
]
LETTERS = [b"%d" % number for number in range(2_500)]  # more than a batch
ROOMY = Limits(inbox_messages=9_999, sender_messages=9_999)


@pytest.fixture
async def filled(tmp_path: Path) -> Path:
    path = tmp_path / "old.db"
    await fill(path)
    return path


@pytest.mark.slow
async def test_a_store_goes_to_postgres_and_back_with_all_it_knows(
    filled: Path, postgres: Cluster, tmp_path: Path
) -> None:
    database, back = PostgresUrl(postgres.database()), tmp_path / "back.db"
    first = await copy_store(filled, database)
    await check(database)
    assert (first["queue"], first["account"], first["identity"]) == (2_501, 2, 2)
    assert await copy_store(database, back) == first
    await check(back)


async def test_a_store_is_copied_into_another_file(filled: Path, tmp_path: Path) -> None:
    await copy_store(filled, tmp_path / "new.db")
    await check(tmp_path / "new.db")
    assert {path.name for path in tmp_path.iterdir()} == {"old.db", "new.db"}
    assert (tmp_path / "new.db").stat().st_mode & 0o777 == 0o600


async def test_what_has_data_is_not_written_over(filled: Path, tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="there already"):
        await copy_store(filled, tmp_path / ".." / tmp_path.name / "old.db")
    with pytest.raises(MediatorError, match="into itself"):
        await copy_store(filled, filled)
    assert not (tmp_path / "new.db").exists()


@pytest.mark.slow
async def test_a_database_in_use_or_with_data_is_no_target(filled: Path, postgres: Cluster) -> None:
    database = PostgresUrl(postgres.database())
    async with open_store(database, ROOMY) as store:
        await store.open_account(ALICE, NOW)
        with pytest.raises(DatabaseError, match="mediators use it"):
            await copy_store(filled, database)
    with pytest.raises(DatabaseError, match="data already"):
        await copy_store(filled, database)
    await check(filled)


@pytest.mark.slow
async def test_a_copy_that_breaks_off_leaves_the_target_empty(
    filled: Path, postgres: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mediator.stores import sqlite_copying

    async def broken(self: object) -> dict[str, int]:
        raise DataFileError(filled, "the disk is gone")

    database = PostgresUrl(postgres.database())
    with monkeypatch.context() as patched:
        patched.setattr(sqlite_copying._FileSource, "last_ids", broken)
        for target in (database, filled.with_name("new.db")):
            with pytest.raises(DataFileError, match="the disk is gone"):
                await copy_store(filled, target)
    assert [path.name for path in filled.parent.iterdir()] == ["old.db"]
    await check(filled)
    await copy_store(filled, database)
    await check(database)


async def fill(place: Place) -> None:
    async with open_store(place, ROOMY) as store:
        for number, record in enumerate(IDENTITIES):
            await store.use_identity(record, NOW + number)
        for did in (ALICE, BOB):
            await store.open_account(did, NOW)
        await store.bind(ALICE, ALICE, proven=True)
        await store.bind(BOB, CAROL, proven=False, keys=["did:key:z1"])
        await store.rotate("did:example:nobody", BOB, issued=NOW)
        for start in range(0, len(LETTERS), 100):
            await store.enqueue(
                ALICE, LETTERS[start : start + 100], sender=BOB, expires=NOW + 100, now=NOW
            )
        await post(store, b"for carol", to=CAROL)
        await post(store, b"gone", to="did:example:nobody")
        await post(store, b"acknowledged")
        last = (await store.fetch(ALICE, now=NOW, limit=9_999, max_bytes=99_999))[-1]
        await store.acknowledge(ALICE, [last.id])
        await store.add_parcels("https://there", [b"p"], inbox=False, due=7, expires=NOW)
    async with open_administration(place) as office:
        await office.set_open(False)
        await office.set_rule(Rule("did:web:*", allow=True), NOW)
        await office.add_invitation(InvitationRecord("secret", NOW, None, 1, "for a friend"))
        await office.follow_invitation("secret", ALICE, NOW)


async def check(place: Place) -> None:
    """Everything is there, works, and no id is given again."""
    assert await read_identities(place) == IDENTITIES
    async with open_store(place, ROOMY) as store:
        messages = await store.fetch(ALICE, now=NOW, limit=9_999, max_bytes=99_999)
        assert [message.envelope for message in messages] == LETTERS
        assert (await store.waiting(ALICE, now=NOW)).messages == len(LETTERS)
        assert await fetched(store, BOB) == [b"for carol"]
        assert await store.is_bound("did:key:z1")
        assert await store.bind(ALICE, CAROL, proven=False) is Change.CLIENT_ERROR
        assert await store.next_parcel() == 7
        assert await post(store, LETTERS[0]) == ALICE
        await post(store, b"new")
        newest = (await store.fetch(ALICE, now=NOW, limit=9_999, max_bytes=99_999))[-1]
        assert newest.envelope == b"new"
        assert newest.id > messages[-1].id + 2  # one was acknowledged, one is Carol's
        await store.acknowledge(ALICE, [newest.id])
    async with open_administration(place) as office:
        assert (await office.totals()).unknown_recipient == 1
        admission = await office.admission()
        assert not admission.is_open
        assert admission.admits("did:web:example.com")
        [invitation] = await office.invitations()
        assert (invitation.id, invitation.used) == ("secret", 1)
        assert not await office.follow_invitation("secret", BOB, NOW)
