"""What every store promises (run over SQLite, the one there is)."""

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mediator.config import Limits
from mediator.errors import DataFileError
from mediator.stores.interface import (
    Change,
    IdentityRecord,
    InboxFull,
    SenderLimit,
    TooManyRecipients,
)
from mediator.stores.sqlite import SqliteStore
from mediator.stores.sqlite_file import read_identities

ALICE, BOB, CAROL = "did:example:alice", "did:example:bob", "did:example:carol"
NOW = 1_000_000
LIMITS = Limits(inbox_messages=5, inbox_bytes=100, sender_messages=2, recipients=3)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with SqliteStore(tmp_path / "mediator.db", LIMITS) as store:
        await store.open_account(ALICE, NOW)
        await store.bind(ALICE, ALICE, proven=True)
        yield store


async def test_messages_are_fetched_in_the_order_they_were_accepted(store: SqliteStore) -> None:
    for envelope in (b"first", b"second", b"third"):
        await post(store, envelope)
    assert await fetched(store) == [b"first", b"second", b"third"]


async def test_what_is_handed_in_at_once_keeps_its_order(store: SqliteStore) -> None:
    await asyncio.gather(*(post(store, b"%d" % number) for number in range(5)))
    assert await fetched(store) == [b"0", b"1", b"2", b"3", b"4"]


async def test_messages_stay_until_they_are_acknowledged(store: SqliteStore) -> None:
    await post(store, b"letter")
    assert await fetched(store) == await fetched(store) == [b"letter"]
    [message] = await store.fetch(ALICE, now=NOW, limit=9, max_bytes=99)
    await store.acknowledge(ALICE, [message.id])
    assert await fetched(store) == []
    await store.acknowledge(ALICE, [message.id])  # once more does no harm


async def test_only_the_owner_can_acknowledge(store: SqliteStore) -> None:
    await post(store, b"letter")
    await store.open_account(BOB, NOW)
    [message] = await store.fetch(ALICE, now=NOW, limit=9, max_bytes=99)
    await store.acknowledge(BOB, [message.id])
    await store.acknowledge("did:example:nobody", [message.id])
    assert await fetched(store) == [b"letter"]


async def test_an_account_sees_nothing_of_another(store: SqliteStore) -> None:
    await post(store, b"letter")
    await store.open_account(BOB, NOW)
    assert await fetched(store, BOB) == []
    assert await store.fetch(BOB, now=NOW, limit=9, max_bytes=99, recipient=ALICE) == []
    assert (await store.waiting(BOB, now=NOW, recipient=ALICE)).messages == 0


async def test_an_id_is_never_used_again(store: SqliteStore) -> None:
    """A late acknowledgement must not delete the message that came after."""
    await post(store, b"old")
    [old] = await store.fetch(ALICE, now=NOW, limit=9, max_bytes=99)
    await store.acknowledge(ALICE, [old.id])
    await post(store, b"new")
    await store.acknowledge(ALICE, [old.id])
    assert await fetched(store) == [b"new"]


async def test_equal_bytes_are_stored_and_counted_once(store: SqliteStore) -> None:
    for _ in range(3):
        assert await post(store, b"same") == ALICE
    waiting = await store.waiting(ALICE, now=NOW)
    assert (waiting.messages, waiting.bytes) == (1, 4)


async def test_equal_bytes_for_two_recipients_reach_both(store: SqliteStore) -> None:
    await store.open_account(BOB, NOW)
    await store.bind(BOB, BOB, proven=True)
    await post(store, b"same")
    await post(store, b"same", to=BOB)
    assert await fetched(store) == await fetched(store, BOB) == [b"same"]


async def test_mail_for_nobody_is_counted_not_kept(store: SqliteStore, tmp_path: Path) -> None:
    assert await post(store, b"letter", to=BOB) is None
    with sqlite3.connect(tmp_path / "mediator.db") as file:
        assert file.execute("SELECT unknown_recipient FROM counter").fetchall() == [(1,)]
        assert file.execute("SELECT count(*) FROM queue").fetchone() == (0,)
    file.close()


async def test_an_inbox_full_of_messages_refuses(store: SqliteStore) -> None:
    for number in range(5):
        await post(store, b"%d" % number)
    with pytest.raises(InboxFull):
        await post(store, b"one more")
    assert await post(store, b"3") == ALICE  # a repetition of what was accepted is not refused
    assert len(await fetched(store)) == 5


async def test_an_inbox_full_of_bytes_refuses_all_or_nothing(store: SqliteStore) -> None:
    await post(store, b"x" * 90)
    with pytest.raises(InboxFull):
        await store.enqueue(ALICE, [b"small", b"y" * 20], sender=None, expires=NOW + 10, now=NOW)
    assert await fetched(store) == [b"x" * 90]


async def test_acknowledging_makes_room(store: SqliteStore) -> None:
    for number in range(5):
        await post(store, b"%d" % number)
    messages = await store.fetch(ALICE, now=NOW, limit=9, max_bytes=99)
    await store.acknowledge(ALICE, [messages[0].id, messages[1].id])
    await post(store, b"fits")
    assert await fetched(store) == [b"2", b"3", b"4", b"fits"]


async def test_a_known_sender_cannot_fill_an_inbox(store: SqliteStore) -> None:
    await post(store, b"1", sender=BOB)
    await post(store, b"2", sender=BOB)
    with pytest.raises(SenderLimit):
        await post(store, b"3", sender=BOB)
    assert await post(store, b"2", sender=BOB) == ALICE
    await post(store, b"4", sender=CAROL)
    assert await fetched(store) == [b"1", b"2", b"4"]


async def test_expired_messages_are_neither_fetched_nor_counted(store: SqliteStore) -> None:
    await post(store, b"short", expires=NOW + 5)
    await post(store, b"long", expires=NOW + 50)
    assert await fetched(store, now=NOW + 5) == [b"long"]
    assert (await store.waiting(ALICE, now=NOW + 5)).messages == 1


async def test_expired_messages_are_deleted_and_make_room(store: SqliteStore) -> None:
    for number in range(5):
        await post(store, b"%d" % number, expires=NOW + 5)
    assert await store.expire(NOW + 4) == 0
    assert await store.expire(NOW + 5) == 5
    assert await store.expire(NOW + 5) == 0
    for number in range(5):
        await post(store, b"%d" % number, now=NOW + 5)


async def test_a_full_inbox_looks_for_expired_messages_before_it_refuses(
    store: SqliteStore,
) -> None:
    for number in range(5):
        await post(store, b"%d" % number, expires=NOW + 5)
    await post(store, b"new", now=NOW + 6)
    assert await fetched(store, now=NOW + 6) == [b"new"]


async def test_a_batch_has_at_most_the_bytes_asked_for_but_at_least_one_message(
    store: SqliteStore,
) -> None:
    await post(store, b"x" * 30)
    await post(store, b"y" * 30)
    assert [m.envelope for m in await store.fetch(ALICE, now=NOW, limit=9, max_bytes=59)] == [
        b"x" * 30
    ]
    assert len(await store.fetch(ALICE, now=NOW, limit=9, max_bytes=1)) == 1
    assert len(await store.fetch(ALICE, now=NOW, limit=1, max_bytes=99)) == 1


async def test_nothing_falls_between_counting_and_what_comes_after(store: SqliteStore) -> None:
    await post(store, b"before")
    waiting = await store.waiting(ALICE, now=NOW)
    await post(store, b"after")
    after = await store.fetch(ALICE, now=NOW, limit=9, max_bytes=99, after=waiting.position)
    assert waiting.messages == 1
    assert [message.envelope for message in after] == [b"after"]


async def test_an_unproven_did_belongs_to_who_came_first(store: SqliteStore) -> None:
    await store.open_account(BOB, NOW)
    assert await store.bind(ALICE, CAROL, proven=False) is Change.SUCCESS
    assert await store.bind(ALICE, CAROL, proven=False) is Change.NO_CHANGE
    assert await store.bind(BOB, CAROL, proven=False) is Change.CLIENT_ERROR
    assert await store.bound(BOB) == []


async def test_a_proof_takes_a_did_with_its_mail_from_who_had_none(store: SqliteStore) -> None:
    await store.open_account(BOB, NOW)
    await store.bind(BOB, CAROL, proven=False)
    await post(store, b"for carol", to=CAROL)
    assert await store.bind(ALICE, CAROL, proven=True) is Change.SUCCESS
    assert await store.bind(BOB, CAROL, proven=False) is Change.CLIENT_ERROR
    assert await fetched(store, BOB) == []
    assert await fetched(store) == [b"for carol"]


async def test_opening_an_account_frees_its_did_from_a_squatter(store: SqliteStore) -> None:
    await store.bind(ALICE, CAROL, proven=False)
    await store.open_account(CAROL, NOW)
    assert await store.bound(ALICE) == [ALICE]
    assert await store.bound(CAROL) == [CAROL]


async def test_opening_an_account_twice_changes_nothing(store: SqliteStore) -> None:
    await post(store, b"letter")
    await store.open_account(ALICE, NOW + 1)
    assert await fetched(store) == [b"letter"]


async def test_binding_needs_an_account_and_has_a_limit(store: SqliteStore) -> None:
    assert await store.bind(BOB, BOB, proven=True) is Change.CLIENT_ERROR
    await store.bind(ALICE, BOB, proven=False)
    await store.bind(ALICE, CAROL, proven=False)
    with pytest.raises(TooManyRecipients):
        await store.bind(ALICE, "did:example:dave", proven=False)


async def test_only_the_owner_unbinds_and_the_mail_goes_too(store: SqliteStore) -> None:
    await post(store, b"letter")
    await store.open_account(BOB, NOW)
    assert await store.unbind(BOB, ALICE) is Change.NO_CHANGE
    assert await fetched(store) == [b"letter"]
    assert await store.unbind(ALICE, ALICE) is Change.SUCCESS
    assert await post(store, b"letter") is None


async def test_an_operation_that_fails_takes_no_neighbour_with_it(store: SqliteStore) -> None:
    broken = store._commits.run(lambda db: db.execute("SELECT nonsense"))
    outcomes = await asyncio.gather(
        post(store, b"left"), broken, post(store, b"right"), return_exceptions=True
    )
    assert isinstance(outcomes[1], sqlite3.Error)
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
        assert all(isinstance(outcome, sqlite3.OperationalError) for outcome in outcomes)
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


async def test_the_identity_used_last_is_the_last_one(store: SqliteStore, tmp_path: Path) -> None:
    one = IdentityRecord("did:example:1", "http://one", "i1", "{}")
    two = IdentityRecord("did:example:2", "http://two", "i2", "{}")
    await store.use_identity(one, NOW)
    await store.use_identity(two, NOW + 1)
    assert await store.identities() == [one, two]
    await store.use_identity(one, NOW + 2)
    assert read_identities(tmp_path / "mediator.db") == [two, one]


async def post(
    store: SqliteStore,
    envelope: bytes,
    *,
    to: str = ALICE,
    sender: str | None = None,
    expires: int = NOW + 1000,
    now: int = NOW,
) -> str | None:
    return await store.enqueue(to, [envelope], sender=sender, expires=expires, now=now)


async def fetched(store: SqliteStore, account: str = ALICE, now: int = NOW) -> list[bytes]:
    messages = await store.fetch(account, now=now, limit=100, max_bytes=10_000)
    return [message.envelope for message in messages]
