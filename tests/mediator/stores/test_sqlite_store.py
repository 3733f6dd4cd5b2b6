"""What is SQLite's own: the file, its lock, grouped commits, and the indexes in use."""

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mediator.errors import DataFileError
from mediator.settings.config import Limits
from mediator.stores.copying import BY_NAME
from mediator.stores.interface import StoreUnavailable
from mediator.stores.sqlite import SqliteStore
from mediator.stores.sqlite_administration import SqliteAdministration
from mediator.stores.sqlite_copying import reading
from tests.support.sqlite_files import mailboxes, what_follows_from_the_queue
from tests.support.stores import ALICE, BOB, CAROL, LIMITS, NOW, fetched, post


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with SqliteStore(tmp_path / "mediator.db", LIMITS) as store:
        await store.open_account(ALICE, NOW)
        await store.bind(ALICE, ALICE, proven=True)
        yield store


async def test_mail_for_nobody_is_counted_not_kept(store: SqliteStore, tmp_path: Path) -> None:
    assert await post(store, b"letter", to=BOB) is None
    with sqlite3.connect(tmp_path / "mediator.db") as file:
        assert file.execute("SELECT unknown_recipient FROM counter").fetchall() == [(1,)]
        assert file.execute("SELECT count(*) FROM queue").fetchone() == (0,)
    file.close()


async def test_an_operation_that_fails_takes_no_neighbour_with_it(store: SqliteStore) -> None:
    broken = store._commits.run(lambda db: db.execute("SELECT nonsense"))
    outcomes = await asyncio.gather(
        post(store, b"left"), broken, post(store, b"right"), return_exceptions=True
    )
    assert isinstance(outcomes[1], StoreUnavailable)
    assert await fetched(store) == [b"left", b"right"]


async def test_a_full_disk_refuses_and_loses_nothing(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "m.db", Limits()) as store:
        await store.open_account(ALICE, NOW)
        await store.bind(ALICE, ALICE, proven=True)
        await post(store, b"before")
        await store._commits.run(lambda db: db.execute("PRAGMA max_page_count = 40"))
        letters = [b"%d" % number + b"x" * 200_000 for number in range(3)]
        outcomes = await asyncio.gather(
            *(post(store, letter) for letter in letters), return_exceptions=True
        )
        assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
        assert await fetched(store) == [b"before"]
        assert (await store.waiting(ALICE, now=NOW)).messages == 1
        await store._commits.run(lambda db: db.execute("PRAGMA max_page_count = 100000"))
        await post(store, b"after")
        assert await fetched(store) == [b"before", b"after"]


async def test_no_statement_reads_a_whole_table(store: SqliteStore) -> None:
    """So a message costs the same however many others and however many mailboxes there are."""
    statements: list[str] = []
    for db in (store._reader, store._commits._connection):
        db.set_trace_callback(statements.append)
    await post(store, b"letter", sender=BOB)
    await store.bind(ALICE, CAROL, proven=False)
    await store.unbind(ALICE, CAROL)
    await store.bound(ALICE)
    await store.waiting(ALICE, now=NOW)
    [message] = await store.fetch(ALICE, now=NOW, limit=9, max_bytes=99)
    await store.acknowledge(ALICE, [message.id])
    await post(store, b"other", expires=NOW + 1)
    await store.expire(NOW + 1)
    for db in (store._reader, store._commits._connection):
        db.set_trace_callback(None)
    read = [s for s in statements if s.startswith(("SELECT", "UPDATE recipient", "DELETE"))]
    assert len(read) >= 10
    for statement in read:
        plan = store._reader.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
        assert not any("SCAN" in step[3] and "CONSTANT ROW" not in step[3] for step in plan)


async def test_what_a_mailbox_knows_follows_from_the_queue(
    store: SqliteStore, tmp_path: Path
) -> None:
    """However mail comes and goes; the sums decide what is refused, the digests what is new."""
    path = tmp_path / "mediator.db"
    await store.bind(ALICE, BOB, proven=True)
    await post(store, b"first", sender=CAROL)
    await post(store, b"second", sender=CAROL)
    await post(store, b"over soon", expires=NOW + 1)
    await post(store, b"for bob", to=BOB, sender=CAROL)
    assert mailboxes(path) == what_follows_from_the_queue(path)
    await post(store, b"first", expires=NOW + 2000)
    await post(store, b"over soon", now=NOW + 5)
    assert mailboxes(path) == what_follows_from_the_queue(path)
    await store.acknowledge(ALICE, [1, 1, 99])
    await store.expire(NOW + 1500)
    assert mailboxes(path) == what_follows_from_the_queue(path)
    await post(store, b"third", sender=CAROL, now=NOW + 1500, expires=NOW + 3000)
    await store.unbind(ALICE, BOB)
    assert mailboxes(path) == what_follows_from_the_queue(path)
    async with SqliteAdministration(path) as operator:
        assert await operator.close_account(ALICE) is not None
    assert mailboxes(path) == what_follows_from_the_queue(path) == ([], (0, 0))


async def test_mail_that_comes_while_the_store_is_copied_changes_its_recipients_sums_there(
    store: SqliteStore, tmp_path: Path
) -> None:
    async with reading(tmp_path / "mediator.db", tmp_path / "copy.db") as giver:
        await post(store, b"meanwhile")
        async with giver.moment():
            [recipient] = (await giver.changes()).keys["recipient"]
            [row] = [row async for row in giver.rows_of(BY_NAME["recipient"], [recipient])]
    assert row == [recipient, ALICE, 1, True, 1, len(b"meanwhile")]


async def test_everything_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "mediator.db"
    async with SqliteStore(path, LIMITS) as store:
        await store.open_account(ALICE, NOW)
        await store.bind(ALICE, ALICE, proven=True)
        await post(store, b"letter")
    async with SqliteStore(path, LIMITS) as store:
        assert await fetched(store) == [b"letter"]


async def test_what_was_handed_in_before_closing_is_committed(tmp_path: Path) -> None:
    path = tmp_path / "mediator.db"
    async with SqliteStore(path, LIMITS) as store:
        opening = asyncio.ensure_future(store.open_account(ALICE, NOW))
        await asyncio.sleep(0)
    await opening
    async with SqliteStore(path, LIMITS) as store:
        assert await store.has_account(ALICE)


async def test_the_file_is_for_its_owner_only(store: SqliteStore, tmp_path: Path) -> None:
    await post(store, b"letter")
    files = list(tmp_path.iterdir())
    assert len(files) >= 2  # the write-ahead log is one of them
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


async def test_two_mediators_cannot_share_a_file(store: SqliteStore, tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="another mediator runs on it"):
        async with SqliteStore(tmp_path / "mediator.db", LIMITS):
            pass
    assert await post(store, b"letter") == ALICE


async def test_a_newer_or_foreign_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    newer, foreign = tmp_path / "newer.db", tmp_path / "foreign.db"
    with sqlite3.connect(newer) as file:
        file.execute("PRAGMA user_version = 99")
    file.close()
    foreign.write_text("something else altogether, and long enough to be taken for a header" * 9)
    before = foreign.read_bytes()
    for path, words in ((newer, "schema 99"), (foreign, "not a database")):
        with pytest.raises(DataFileError, match=words):
            async with SqliteStore(path, LIMITS):
                pass
    assert foreign.read_bytes() == before
