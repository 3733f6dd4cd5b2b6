"""A PostgreSQL database as the source or the target of a copy."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg

from mediator.errors import DatabaseError
from mediator.settings.places import PostgresUrl
from mediator.stores.copying import NUMBERED, Row, Source, Table, Target
from mediator.stores.forward_groups import digest
from mediator.stores.postgres_database import (
    APPLICATION,
    LOST,
    SCHEMA,
    connected,
    prepare,
    words,
)

PREFETCH = 500  # rows

_SELECT = {
    "identity": "SELECT did, public_url, invitation, secrets, used FROM identity ORDER BY number",
    "counter": "SELECT coalesce(sum(unknown_recipient), 0)::bigint,"
    " coalesce(sum(parcels), 0)::bigint, coalesce(sum(parcel_bytes), 0)::bigint FROM counter",
}
_SEQUENCES = {
    "account": "account_id_seq",
    "recipient": "recipient_id_seq",
    "queue": "queue_id",
    "parcel": "parcel_id_seq",
}


@contextlib.asynccontextmanager
async def reading(place: PostgresUrl) -> AsyncIterator[Source]:
    async with _quiet(place) as connection, connection.transaction(isolation="repeatable_read"):
        # A mediator that starts meanwhile waits, and accepts nothing that would be left behind.
        await connection.execute("LOCK TABLE account, recipient, queue, parcel IN SHARE MODE")
        yield _Source(connection)


@contextlib.asynccontextmanager
async def writing(place: PostgresUrl) -> AsyncIterator[Target]:
    async with _quiet(place) as connection, connection.transaction():
        if await connection.fetchval(
            "SELECT EXISTS (SELECT FROM identity) OR EXISTS (SELECT FROM account)"
        ):
            raise DatabaseError(place, "it has a mediator's data already", "name a new database")
        yield _Target(connection)


@contextlib.asynccontextmanager
async def _quiet(place: PostgresUrl) -> AsyncIterator[Any]:
    """A connection to a database of today's schema that no mediator uses."""
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
            yield connection
    except (*LOST, asyncpg.PostgresError) as error:
        raise DatabaseError(place, words(error)) from error


class _Source:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def rows(self, table: Table) -> AsyncIterator[Row]:
        names = ", ".join(table.columns)
        select = _SELECT.get(table.name, f"SELECT {names} FROM {table.name}")  # noqa: S608
        async for row in self._connection.cursor(select, prefetch=PREFETCH):
            yield tuple(row)

    async def last_ids(self) -> dict[str, int]:
        return {
            name: await self._connection.fetchval(
                f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {_SEQUENCES[name]}"  # noqa: S608
            )
            for name in NUMBERED
        }


class _Target:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def write(self, table: Table, rows: AsyncIterator[Row]) -> None:
        if table.name == "registration":  # the one row that there is
            await self._connection.execute("DELETE FROM registration")
        columns = [*table.columns, *(name for name, _ in table.digests)]
        if table.name == "counter":
            columns.append("slot")
        await self._connection.copy_records_to_table(
            table.name,
            records=_with_digests(table, rows),
            columns=columns,
            schema_name=SCHEMA,
            timeout=None,
        )

    async def set_last_ids(self, last: dict[str, int]) -> None:
        for name in NUMBERED:
            if last[name]:
                await self._connection.execute(
                    "SELECT setval($1::text::regclass, $2)", _SEQUENCES[name], last[name]
                )
        await self._connection.execute("ANALYZE")


async def _with_digests(table: Table, rows: AsyncIterator[Row]) -> AsyncIterator[Row]:
    places = [table.columns.index(column) for _, column in table.digests]
    slot = (0,) if table.name == "counter" else ()
    async for row in rows:
        yield (*row, *(digest(row[place].encode()) for place in places), *slot)
