"""What is PostgreSQL's own: its loss, several processes, which index each statement uses."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from mediator.errors import DatabaseError
from mediator.settings.config import Limits
from mediator.settings.places import PostgresUrl
from mediator.stores import postgres_database
from mediator.stores.interface import StoreUnavailable
from mediator.stores.opening import open_store, read_identities
from mediator.stores.postgres import PostgresStore
from mediator.stores.versions import migrations
from tests.support.postgres import Cluster
from tests.support.stores import ALICE, BOB, LIMITS, NOW, fetched, post

pytestmark = pytest.mark.slow


@pytest.fixture
def place(postgres: Cluster) -> PostgresUrl:
    return PostgresUrl(postgres.database())


@pytest.fixture
async def store(place: PostgresUrl) -> AsyncIterator[PostgresStore]:
    async with PostgresStore(place, LIMITS) as store:
        await store.open_account(ALICE, NOW)
        await store.bind(ALICE, ALICE, proven=True)
        yield store


async def test_a_restart_of_the_database_is_waited_for(
    store: PostgresStore, postgres: Cluster
) -> None:
    await post(store, b"before")
    postgres.stop(signal.SIGQUIT)
    posting = asyncio.create_task(post(store, b"meanwhile"))
    await asyncio.sleep(0.3)
    postgres.start()
    assert await posting == ALICE
    assert await fetched(store) == [b"before", b"meanwhile"]


async def test_a_database_that_stays_away_is_told_and_everything_works_when_it_is_back(
    store: PostgresStore, postgres: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_database, "PATIENCE", 0.3)
    postgres.stop()
    try:
        outcomes = await asyncio.gather(
            post(store, b"1"),
            fetched(store),
            store.acknowledge(ALICE, [1]),
            store.expire(NOW),
            return_exceptions=True,
        )
    finally:
        postgres.start()
    assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
    assert await post(store, b"2") == ALICE
    assert (await fetched(store))[-1] == b"2"


async def test_a_connection_that_is_cut_in_the_middle_doubles_and_loses_nothing(
    place: PostgresUrl, store: PostgresStore
) -> None:
    """All connections of the store are killed again and again while it writes."""
    done = asyncio.Event()

    async def kill() -> None:
        while not done.is_set():
            await killer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await asyncio.sleep(0.25)

    async def write(name: int) -> None:
        for number in range(25):
            await post(roomy, b"%d %d" % (name, number))
            await asyncio.sleep(0.02)

    async with connected(place) as killer, PostgresStore(place, Limits()) as roomy:
        killing = asyncio.create_task(kill())
        await asyncio.gather(*(write(name) for name in range(4)))
        done.set()
        await killing
        messages = await roomy.fetch(ALICE, now=NOW, limit=999, max_bytes=9_999)
        letters = [message.envelope for message in messages]
        assert len(letters) == len(set(letters)) == 100
        for name in range(4):
            mine = [letter for letter in letters if letter.startswith(b"%d " % name)]
            assert mine == [b"%d %d" % (name, number) for number in range(25)]
        assert (await roomy.waiting(ALICE, now=NOW)).messages == 100


async def test_others_mail_wakes_and_ones_own_does_not(
    place: PostgresUrl, store: PostgresStore
) -> None:
    woken: list[str | None] = []
    async with store.listening(woken.append), PostgresStore(place, LIMITS) as other:
        assert woken == [None]  # what came before is not known
        await post(store, b"own")
        await post(other, b"other's")
        await until(lambda: len(woken) > 1)
        assert woken == [None, ALICE]


async def test_a_listener_that_was_cut_off_listens_again_and_looks_at_everything(
    place: PostgresUrl, store: PostgresStore, postgres: Cluster
) -> None:
    woken: list[str | None] = []
    async with store.listening(woken.append):
        postgres.stop(signal.SIGQUIT)
        postgres.start()
        await until(lambda: woken == [None, None])
        async with PostgresStore(place, LIMITS) as other:
            await post(other, b"letter")
        await until(lambda: woken[-1] == ALICE)


async def test_more_dids_than_one_notification_holds_are_all_woken(place: PostgresUrl) -> None:
    dids = [f"did:example:{number}:{'x' * 3_000}" for number in range(12)]
    woken: list[str | None] = []
    async with PostgresStore(place, LIMITS) as store, PostgresStore(place, LIMITS) as other:
        for did in dids:
            await store.open_account(did, NOW)
            await store.bind(did, did, proven=True)
        async with store.listening(woken.append):
            await asyncio.gather(*(post(other, b"letter", to=did) for did in dids))
            await until(lambda: set(dids) <= set(woken))


async def test_of_processes_that_start_at_once_one_makes_the_schema(place: PostgresUrl) -> None:
    async def start() -> None:
        async with open_store(place, LIMITS):
            pass

    await asyncio.gather(*(start() for _ in range(6)))
    async with connected(place) as connection:
        versions = await connection.fetch("SELECT number FROM mediator.version")
    assert [tuple(row) for row in versions] == [(len(migrations("postgres")),)]


@pytest.mark.parametrize("version", range(1, len(migrations("postgres"))))
async def test_every_earlier_schema_is_brought_to_todays_by_one_of_those_who_start(
    place: PostgresUrl, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = migrations("postgres")
    with monkeypatch.context() as past:
        past.setattr(postgres_database, "migrations", lambda _: everything[:version])
        async with open_store(place, LIMITS) as store:
            await store.open_account(ALICE, NOW)
            await store.bind(ALICE, ALICE, proven=True)
            await post(store, b"letter")

    async def start() -> list[bytes]:
        async with open_store(place, LIMITS) as store:
            return await fetched(store)

    outcomes = await asyncio.gather(*(start() for _ in range(4)))
    assert outcomes == [[b"letter"]] * 4


async def test_a_newer_schema_is_refused(place: PostgresUrl) -> None:
    async with open_store(place, LIMITS):
        pass
    async with connected(place) as connection:
        await connection.execute("UPDATE mediator.version SET number = 99")
    with pytest.raises(DatabaseError, match="schema 99"):
        async with open_store(place, LIMITS):
            pass


async def test_what_is_wrong_is_said_without_the_password(place: PostgresUrl) -> None:
    gone = PostgresUrl("postgresql://me:secret@127.0.0.1:1/mediator")
    with pytest.raises(DatabaseError) as raised:
        async with open_store(gone, LIMITS):
            pass
    assert "127.0.0.1" in str(raised.value)
    assert "secret" not in str(raised.value) + repr(gone)
    with pytest.raises(DatabaseError, match="no mediator ever ran"):
        await read_identities(place)


async def test_no_statement_reads_a_whole_table(place: PostgresUrl) -> None:
    """Where sequential scans are forbidden the database makes one only for want of an index."""
    async with connected(place) as connection:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} SET enable_seqscan = off")
        async with PostgresStore(place, Limits()) as store:
            before = await scans(connection)
            await store.open_account(ALICE, NOW)
            for _ in range(8):  # so that plans for any parameters are in use, too
                await store.bind(ALICE, ALICE, proven=True)
                await post(store, b"letter", sender=BOB)
                await post(store, b"letter", sender=BOB, expires=NOW + 1)
                await store.bind(ALICE, BOB, proven=False, keys=["did:key:z1"])
                await post(store, b"letter", to="did:key:z1")
                await store.unbind(ALICE, BOB)
                await store.bound(ALICE)
                await store.waiting(ALICE, now=NOW)
                messages = await store.fetch(ALICE, now=NOW, limit=9, max_bytes=99)
                await store.acknowledge(ALICE, [message.id for message in messages])
                await post(store, b"short", expires=NOW + 1)
                await store.expire(NOW + 1)
                await store.add_parcels(BOB, [b"p"], inbox=True, due=1, expires=NOW)
                await store.take_parcels(2, until=3, limit=9)
                await store.next_parcel()
        await asyncio.sleep(1.2)  # a backend tells its counts a second later
        assert await scans(connection) == before


@asynccontextmanager
async def connected(place: PostgresUrl) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(place.url)
    try:
        yield connection
    finally:
        await connection.close()


async def scans(connection: asyncpg.Connection) -> dict[str, int]:
    rows = await connection.fetch(
        "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname LIKE 'queue%'"
        " OR relname IN ('account', 'recipient', 'recipient_key', 'parcel')"
    )
    return {row["relname"]: row["seq_scan"] for row in rows}


async def until(condition: object) -> None:
    async with asyncio.timeout(15):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.02)
