"""The connections to a PostgreSQL database: opened, retried when lost, listened to.

A call that a connection loss interrupts is made again, since every call of the store
may be: what it changed is the same afterwards. When the database does not come back
in time the caller is told so; nothing is ever taken for done before it answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg

from mediator.errors import DatabaseError
from mediator.settings.places import PostgresUrl
from mediator.stores.interface import IdentityRecord, StoreUnavailable, Wake
from mediator.stores.versions import migrations

log = logging.getLogger(__name__)

SCHEMA = "mediator"  # of PostgreSQL: a room of our own in a database that may have others
CHANNEL = "mediator_mail"
APPLICATION = "didmesh mediator"  # as the database names the connections of one that runs
MIGRATION_LOCK = (0x6469646D, 1)  # two numbers: the locks of accounts are one
NOTING_LOCK = (0x6469646D, 2)  # held for as long as a copy to another place is under way
NOTED = "noted"  # a table: what changed while all is copied to another place
MOVED = "moved"  # a table: that all was copied, and where to

CONNECTIONS = 8
CONNECT_TIMEOUT = 5.0  # seconds
COMMAND_TIMEOUT = 10.0
PATIENCE = 8.0  # seconds in which a lost database may come back before a caller is refused
RETRY = 0.1
HEARTBEAT = 15.0  # seconds between looks whether the listening connection is alive
TRIES = 10  # of taking locks that mediators take in another order

LOST = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # it stops, starts, or has crashed
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,  # it was the primary and is so no more
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.TargetServerAttributeNotMatched,
)
AGAIN = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
UNABLE = (
    asyncpg.InsufficientResourcesError,  # a full disk
    asyncpg.PostgresSystemError,
    asyncpg.ObjectNotInPrerequisiteStateError,  # all that it had has moved elsewhere
)


class Database:
    """Use as an async context manager, which also brings the schema to today's version.

    Raises: DatabaseError, on entry.
    """

    def __init__(self, place: PostgresUrl) -> None:
        self._place = place
        self._ours: set[int] = set()  # process ids of our connections, as notifications name them

    async def __aenter__(self) -> Database:
        await prepare(self._place)
        self._pool = await asyncpg.create_pool(
            self._place.url,
            min_size=0,
            max_size=CONNECTIONS,
            init=self._remember,
            reset=_nothing_to_reset,
            timeout=CONNECT_TIMEOUT,
            command_timeout=COMMAND_TIMEOUT,
            **_settings(APPLICATION),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(*LOST):
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await self._pool.close()
                return
        self._pool.terminate()

    async def call(self, query: str, *arguments: Any) -> list[Any]:
        """The rows of a query whose repetition does no harm.

        Raises: StoreUnavailable.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                async with self._pool.acquire(timeout=PATIENCE) as connection:
                    rows: list[Any] = await connection.fetch(query, *arguments)
                    return rows
            except AGAIN:
                log.debug("another process was faster")
                pause = 0.0
            except LOST as error:
                log.warning("the database is lost: %s", words(error))
                pause = RETRY
                if time.monotonic() + pause > deadline:
                    raise StoreUnavailable(words(error)) from error
            except UNABLE as error:
                log.error("the database cannot write: %s", words(error))  # noqa: TRY400
                raise StoreUnavailable(words(error)) from error
            await asyncio.sleep(pause)

    @contextlib.asynccontextmanager
    async def listening(self, wake: Wake) -> AsyncIterator[None]:
        ready = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            listener = tasks.create_task(self._listen(wake, ready))
            try:
                await ready.wait()
                yield
            finally:
                listener.cancel()

    async def _listen(self, wake: Wake, ready: asyncio.Event) -> None:
        def hear(_: object, pid: int, __: str, news: object) -> None:
            if pid not in self._ours:
                for account in str(news).splitlines():
                    wake(account)

        while True:
            try:
                async with connected(self._place, application=APPLICATION) as connection:
                    ended = asyncio.Event()
                    connection.add_termination_listener(lambda _, ended=ended: ended.set())
                    await connection.add_listener(CHANNEL, hear)
                    wake(None)  # whatever was said while nobody listened
                    ready.set()
                    await _stay_until(ended, connection)
            except (*LOST, asyncpg.PostgresError) as error:
                log.warning("not told of others' mail: %s", words(error))
            await asyncio.sleep(RETRY)

    async def _remember(self, connection: Any) -> None:
        pid = connection.get_server_pid()
        self._ours.add(pid)
        connection.add_termination_listener(lambda _: self._ours.discard(pid))


async def read_identities(place: PostgresUrl) -> list[IdentityRecord]:
    """Raises: DatabaseError."""
    try:
        async with connected(place) as connection:
            if await schema_version(connection) == 0:
                raise DatabaseError(place, "no mediator ever ran on it", "`mediator run` makes it")
            return identities(await connection.fetch(IDENTITIES))
    except (*LOST, asyncpg.PostgresError, ValueError) as error:
        raise DatabaseError(place, words(error)) from error


IDENTITIES = "SELECT did, public_url, invitation, secrets FROM identity ORDER BY used, number"


def identities(rows: Sequence[Sequence[str]]) -> list[IdentityRecord]:
    return [IdentityRecord(*row) for row in rows]


@contextlib.asynccontextmanager
async def connected(
    place: PostgresUrl,
    command_timeout: float | None = COMMAND_TIMEOUT,
    application: str = "didmesh",
) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(
        place.url,
        timeout=CONNECT_TIMEOUT,
        command_timeout=command_timeout,
        **_settings(application),
    )
    try:
        yield connection
    finally:
        connection.terminate()


def _settings(application: str) -> dict[str, Any]:
    return {
        "target_session_attrs": "read-write",  # of several hosts, the primary
        "server_settings": {
            "search_path": SCHEMA,
            "synchronous_commit": "on",  # whatever the database says
            "application_name": application,
        },
    }


async def prepare(place: PostgresUrl, *, leaving: bool = False) -> None:
    """The schema of today, in a database that keeps what it says; `leaving` to copy all elsewhere.

    Raises: DatabaseError.
    """
    try:
        async with connected(place) as connection:
            if await connection.fetchval("SHOW fsync") != "on":
                raise DatabaseError(place, "its fsync is off, so that it may lose what it accepted")
            await _migrate(connection, place)
            await check_here(connection, place, leaving)
            async with noting_lock(connection) as alone:
                if alone:
                    await stop_noting(connection)
    except (*LOST, asyncpg.PostgresError, ValueError) as error:
        raise DatabaseError(place, words(error)) from error


async def _migrate(connection: Any, place: PostgresUrl) -> None:
    """All steps in one transaction, under a lock: of processes that start at once, one does it."""
    scripts = migrations("postgres")
    if await schema_version(connection) == len(scripts):
        return
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1, $2)", *MIGRATION_LOCK)
        version = await schema_version(connection)
        if version > len(scripts):
            raise DatabaseError(place, f"it has schema {version}, this mediator {len(scripts)}")
        if version == 0:
            await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            await connection.execute("CREATE TABLE version (number int NOT NULL)")
            await connection.execute("INSERT INTO version VALUES (0)")
        for script in scripts[version:]:
            await connection.execute(script, timeout=None)
        await connection.execute("UPDATE version SET number = $1", len(scripts))


async def check_here(connection: Any, place: PostgresUrl, leaving: bool = False) -> None:
    """Raises: DatabaseError, if all that it had has moved; a move that broke off may go on."""
    if not await _has_table(connection, MOVED):
        return
    there, finished = await connection.fetchrow(f"SELECT place, finished FROM {MOVED}")  # noqa: S608
    if finished:
        raise DatabaseError(
            place,
            f"all that it had has moved to {there}",
            "run on that, or copy it to a new database",
        )
    if not leaving:
        raise DatabaseError(
            place, f"moving to {there} broke off", "run `mediator migrate` again, as before"
        )
    await changing_tables(connection, f"DROP FUNCTION refuse_{MOVED} CASCADE; DROP TABLE {MOVED}")


@contextlib.asynccontextmanager
async def noting_lock(connection: Any) -> AsyncIterator[bool]:
    """Whether nobody else has it: then no copy to another place is under way."""
    held = await connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", *NOTING_LOCK)
    try:
        yield held
    finally:
        if held and not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock($1, $2)", *NOTING_LOCK)


async def stop_noting(connection: Any) -> None:
    if await _has_table(connection, NOTED):
        await changing_tables(
            connection, f"DROP FUNCTION note_id, note_recipient CASCADE; DROP TABLE {NOTED}"
        )


async def changing_tables(connection: Any, *statements: str) -> None:
    """All or nothing; once more if a mediator held the locks in another order."""
    for left in reversed(range(TRIES)):
        try:
            async with connection.transaction():
                for statement in statements:
                    await connection.execute(statement)
                return
        except asyncpg.DeadlockDetectedError:
            if not left:
                raise


async def _has_table(connection: Any, name: str) -> bool:
    return bool(await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{SCHEMA}.{name}"))


async def schema_version(connection: Any) -> int:
    if not await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{SCHEMA}.version"):
        return 0
    return int(await connection.fetchval("SELECT number FROM version"))


async def _stay_until(ended: asyncio.Event, connection: Any) -> None:
    while not ended.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT):
                await ended.wait()
                return
        await connection.execute("SELECT 1", timeout=CONNECT_TIMEOUT)


async def _nothing_to_reset(_: object) -> None:
    """Calls leave nothing behind in a connection, so a round trip is saved."""


def words(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
