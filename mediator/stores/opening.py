"""From the place of a store to the store: a file is SQLite's, a URL PostgreSQL's."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from mediator.errors import DatabaseError
from mediator.settings.places import Place, PostgresUrl

if TYPE_CHECKING:
    from mediator.settings.config import Limits
    from mediator.stores.administration import Administration
    from mediator.stores.interface import IdentityRecord, Store


def open_store(place: Place, limits: Limits) -> AbstractAsyncContextManager[Store, bool | None]:
    """The store there, brought to today's schema on entry; made if it is not there.

    Raises: DataFileError or DatabaseError, on entry.
    """
    if isinstance(place, Path):
        from mediator.stores.sqlite import SqliteStore

        return SqliteStore(place, limits)
    try:
        from mediator.stores.postgres import PostgresStore
    except ModuleNotFoundError as error:
        raise driver_missing(place) from error
    return PostgresStore(place, limits)


def open_administration(
    place: Place,
) -> AbstractAsyncContextManager[Administration, bool | None]:
    """For an operator, beside a mediator that may be running there; never makes a store.

    Raises: DataFileError or DatabaseError, on entry and in each call.
    """
    if isinstance(place, Path):
        from mediator.stores.sqlite_administration import SqliteAdministration

        return SqliteAdministration(place)
    try:
        from mediator.stores.postgres_administration import PostgresAdministration
    except ModuleNotFoundError as error:
        raise driver_missing(place) from error
    return PostgresAdministration(place)


async def read_identities(place: Place) -> list[IdentityRecord]:
    """The mediator's DIDs, whether one runs there or not; changes nothing.

    Raises: DataFileError or DatabaseError.
    """
    if isinstance(place, Path):
        from mediator.stores import sqlite_file

        return sqlite_file.read_identities(place)
    try:
        from mediator.stores import postgres_database
    except ModuleNotFoundError as error:
        raise driver_missing(place) from error
    return await postgres_database.read_identities(place)


def driver_missing(place: PostgresUrl) -> DatabaseError:
    return DatabaseError(place, "asyncpg is not installed", "pip install 'didmesh[postgres]'")
