"""A PostgreSQL database as the source of a copy, while mediators use it, or as its target."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import asyncpg

from mediator.errors import DatabaseError
from mediator.settings.places import Place, PostgresUrl
from mediator.stores.copying import (
    CHUNK,
    GROWING,
    NUMBERED,
    TABLES,
    Changes,
    Row,
    Source,
    Table,
    Target,
)
from mediator.stores.digests import digest_of
from mediator.stores.postgres_database import (
    APPLICATION,
    LOST,
    MOVED,
    NOTED,
    SCHEMA,
    TRIES,
    changing_tables,
    connected,
    noting_lock,
    prepare,
    stop_noting,
    words,
)

_SELECT = {
    "counter": "SELECT coalesce(sum(unknown_recipient), 0)::bigint,"
    " coalesce(sum(parcels), 0)::bigint, coalesce(sum(parcel_bytes), 0)::bigint FROM counter",
}
_ORDER = {"identity": " ORDER BY number"}
# Columns that only this kind has, and what is in those that come from elsewhere.
_OWN: Mapping[str, Sequence[tuple[str, Any]]] = {
    "counter": [("slot", 0)],
    "acted_on": [("call", b"")],
}
_SEQUENCES = {
    "account": "account_id_seq",
    "recipient": "recipient_id_seq",
    "queue": "queue_id",
    "parcel": "parcel_id_seq",
}
_NOTE = """
    CREATE TABLE {noted} (
        number bigint GENERATED ALWAYS AS IDENTITY, name text NOT NULL, key bigint NOT NULL
    );
    CREATE FUNCTION note_{key}() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' THEN
            INSERT INTO {noted} (name, key) VALUES (TG_ARGV[0], OLD.{key});
        ELSE
            INSERT INTO {noted} (name, key) VALUES (TG_ARGV[0], NEW.{key});
        END IF;
        RETURN NULL;
    END $$;
"""


@contextlib.asynccontextmanager
async def reading(place: PostgresUrl, target: Place) -> AsyncIterator[Source]:
    await prepare(place, leaving=True)
    try:
        async with (
            connected(place, command_timeout=None) as connection,
            noting_lock(connection) as alone,
        ):
            if not alone:
                raise DatabaseError(place, "it is being copied already", "wait for that")
            await _note(connection)
            try:
                yield _Source(connection, target)
            finally:
                await stop_noting(connection)
    except (*LOST, asyncpg.PostgresError) as error:
        raise DatabaseError(place, words(error)) from error


async def moved(place: PostgresUrl) -> None:
    """All that it had is at another place for good."""
    async with connected(place) as connection:
        await connection.execute(f"UPDATE {MOVED} SET finished = true")  # noqa: S608


@contextlib.asynccontextmanager
async def writing(place: PostgresUrl) -> AsyncIterator[Target]:
    """An empty database of today's schema that no mediator uses."""
    await prepare(place)
    try:
        async with connected(place, command_timeout=None) as connection:
            others = await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name = $1 AND pid <> pg_backend_pid()",
                APPLICATION,
            )
            if others:
                raise DatabaseError(
                    place, f"mediators use it ({others} connections)", "stop them first"
                )
            async with connection.transaction():
                if await connection.fetchval(
                    "SELECT EXISTS (SELECT FROM identity) OR EXISTS (SELECT FROM account)"
                ):
                    raise DatabaseError(
                        place,
                        "it has a mediator's data already",
                        "all of it, if a copy to it broke off at its end; else name a new database",
                    )
                yield _Target(connection)
            await connection.execute("ANALYZE")
    except (*LOST, asyncpg.PostgresError) as error:
        raise DatabaseError(place, words(error)) from error


async def _note(connection: Any) -> None:
    """From now on each change of a growing table is noted, whoever makes it."""
    table_and_id, _, function = _NOTE.format(noted=NOTED, key="id").partition(";")
    other = _NOTE.format(noted=NOTED, key="recipient").partition(";")[2]
    tables = [(table.name, table.key) for table in GROWING]
    await changing_tables(
        connection,
        f"{table_and_id};{function}{other}",
        *(
            f"CREATE TRIGGER {NOTED} AFTER INSERT OR UPDATE OR DELETE ON {name}"
            f" FOR EACH ROW EXECUTE FUNCTION note_{key}('{name}')"
            for name, key in tables
        ),
    )


async def _refuse_changes(connection: Any, target: Place) -> None:
    """From now on nobody changes anything: the statement of whoever tries is an error."""
    await connection.execute(
        f"CREATE TABLE {MOVED} (place text NOT NULL, finished boolean NOT NULL)"
    )
    await connection.execute(f"INSERT INTO {MOVED} VALUES ($1, false)", str(target))  # noqa: S608
    await connection.execute(f"""
        CREATE FUNCTION refuse_{MOVED}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'all that it had has moved to %', (SELECT place FROM {MOVED})
                USING ERRCODE = 'object_not_in_prerequisite_state';
        END $$
    """)  # noqa: S608
    for table in TABLES:
        await connection.execute(
            f"CREATE TRIGGER {MOVED} BEFORE INSERT OR UPDATE OR DELETE ON {table.name}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION refuse_{MOVED}()"
        )


class _Source:
    def __init__(self, connection: Any, target: Place) -> None:
        self._connection = connection
        self._target = target

    @contextlib.asynccontextmanager
    async def moment(self) -> AsyncIterator[None]:
        async with self._connection.transaction(isolation="repeatable_read", readonly=True):
            yield

    async def changes(self) -> Changes:
        return Changes.of(await self._connection.fetch(f"SELECT number, name, key FROM {NOTED}"))  # noqa: S608

    async def forget(self, changes: Changes) -> None:
        """These alone: what has a smaller number may have been committed later."""
        await self._connection.execute(
            f"DELETE FROM {NOTED} WHERE number = ANY ($1)",  # noqa: S608
            changes.numbers,
        )

    @contextlib.asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        async with self._connection.transaction():
            await self._lock()
            yield
            await _refuse_changes(self._connection, self._target)

    async def _lock(self) -> None:
        """As soon as nobody writes; in between others are let through."""
        names = ", ".join(table.name for table in TABLES)
        for left in reversed(range(TRIES)):
            try:
                async with self._connection.transaction():  # a savepoint
                    await self._connection.execute(f"LOCK TABLE {names} IN EXCLUSIVE MODE")
                    return
            except asyncpg.DeadlockDetectedError:
                if not left:
                    raise

    async def rows(self, table: Table) -> AsyncIterator[Row]:
        select = _select(table) + _ORDER.get(table.name, "")
        async for row in self._connection.cursor(select, prefetch=CHUNK):
            yield tuple(row)

    async def rows_of(self, table: Table, keys: Sequence[int]) -> AsyncIterator[Row]:
        """In one statement: messages have no index of their ids alone."""
        which = f"{_select(table)} WHERE {table.key} = ANY ($1)"
        async for row in self._connection.cursor(which, keys, prefetch=CHUNK):
            yield tuple(row)

    async def last_ids(self) -> dict[str, int]:
        return {
            name: await self._connection.fetchval(
                f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {_SEQUENCES[name]}"  # noqa: S608
            )
            for name in NUMBERED
        }


def _select(table: Table) -> str:
    names = ", ".join(table.columns)
    return _SELECT.get(table.name, f"SELECT {names} FROM {table.name}")  # noqa: S608


class _Target:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def write(self, table: Table, rows: AsyncIterator[Row]) -> None:
        if table.name == "registration":  # the one row that there is
            await self._connection.execute("DELETE FROM registration")
        columns = [*table.columns, *(name for name, _ in table.digests)]
        columns += [name for name, _ in _OWN.get(table.name, ())]
        await self._connection.copy_records_to_table(
            table.name,
            records=_with_digests(table, rows),
            columns=columns,
            schema_name=SCHEMA,
            timeout=None,
        )

    async def put(self, table: Table, rows: AsyncIterator[Row]) -> None:
        columns = [*table.columns, *(name for name, _ in table.digests)]
        marks = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
        new = ", ".join(f"{name} = excluded.{name}" for name in columns if name != "id")
        putting = [row async for row in _with_digests(table, rows)]
        if table.name == "recipient":
            await self._move_mail({row[0]: row[table.columns.index("account")] for row in putting})
        await self._connection.executemany(
            f"INSERT INTO {table.name} ({', '.join(columns)}) OVERRIDING SYSTEM VALUE"  # noqa: S608
            f" VALUES ({marks}) ON CONFLICT (id) DO UPDATE SET {new}",
            putting,
        )

    async def _move_mail(self, accounts: Mapping[int, int]) -> None:
        """The mail of recipients goes with them; in a file it does not name the account."""
        before = await self._connection.fetch(
            "SELECT account, id FROM recipient WHERE id = ANY ($1)", list(accounts)
        )
        await self._connection.executemany(
            "UPDATE queue SET account = $3 WHERE account = $1 AND recipient = $2",
            [(old, id_, accounts[id_]) for old, id_ in before if old != accounts[id_]],
        )

    async def delete(self, table: Table, keys: Sequence[int]) -> None:
        await self._connection.execute(
            f"DELETE FROM {table.name} WHERE {table.key} = ANY ($1)",  # noqa: S608
            keys,
        )

    async def set_aside(self, table: Table, keys: Sequence[int]) -> None:
        await self._connection.execute(
            f"UPDATE {table.name} SET digest = int8send(id) WHERE id = ANY ($1)",  # noqa: S608
            keys,
        )

    async def set_last_ids(self, last: dict[str, int]) -> None:
        for name in NUMBERED:
            if last[name]:
                await self._connection.execute(
                    "SELECT setval($1::text::regclass, $2)", _SEQUENCES[name], last[name]
                )

    async def count(self, table: Table) -> int:
        if table.name == "counter":
            return 1
        return int(await self._connection.fetchval(f"SELECT count(*) FROM {table.name}"))  # noqa: S608


async def _with_digests(table: Table, rows: AsyncIterator[Row]) -> AsyncIterator[Row]:
    places = [table.columns.index(column) for _, column in table.digests]
    own = [value for _, value in _OWN.get(table.name, ())]
    async for row in rows:
        yield (*row, *(digest_of(row[place]) for place in places), *own)
