"""A store copied into another, of the same kind or not: all of it, or nothing.

Ids come along, so what clients hold of the old store (ids not yet acknowledged, their
place in live delivery) is good for the new one. Neither store may be in use.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from mediator.errors import DataFileError, MediatorError
from mediator.settings.places import Place, PostgresUrl
from mediator.stores.opening import driver_missing
from mediator.stores.sqlite_file import connect, locked, prepare

BATCH = 1_000  # rows in memory


@dataclass(frozen=True)
class Table:
    """What both kinds can give and take."""

    name: str
    columns: Sequence[str]
    flags: Sequence[str] = ()  # columns that are true or false
    digests: Sequence[tuple[str, str]] = ()  # PostgreSQL's, and of which column


TABLES = (
    Table("identity", ("did", "public_url", "invitation", "secrets", "used")),
    Table("account", ("id", "did", "created"), digests=[("digest", "did")]),
    Table(
        "recipient",
        ("id", "did", "account", "proven", "messages", "bytes"),
        flags=["proven"],
        digests=[("digest", "did")],
    ),
    Table("recipient_key", ("did", "recipient"), digests=[("key", "did")]),
    Table("rotation", ("did", "new", "issued"), digests=[("old", "did")]),
    Table(
        "queue",
        (
            *("account", "id", "recipient", "received", "expires", "size", "digest", "sender"),
            "envelope",
        ),
    ),
    Table(
        "parcel",
        (
            *("id", "target", "inbox", "due", "expires", "tries", "hops", "size", "digest"),
            *("sender", "envelope"),
        ),
        flags=["inbox"],
        digests=[("goal", "target")],
    ),
    Table("counter", ("unknown_recipient", "parcels", "parcel_bytes")),
    Table("registration", ("is_open",), flags=["is_open"]),
    Table("rule", ("pattern", "allow", "created"), flags=["allow"]),
    Table("invitation", ("id", "created", "expires", "uses", "note")),
    Table("invited", ("invitation", "did", "followed"), digests=[("name", "did")]),
)
# Of these the highest id that was ever given, so that none is given again.
NUMBERED = ("account", "recipient", "queue", "parcel")

Row = Sequence[Any]


class Source(Protocol):
    def rows(self, table: Table) -> AsyncIterator[Row]: ...

    async def last_ids(self) -> dict[str, int]: ...


class Target(Protocol):
    async def write(self, table: Table, rows: AsyncIterator[Row]) -> None: ...

    async def set_last_ids(self, last: dict[str, int]) -> None: ...


async def copy_store(source: Place, target: Place) -> dict[str, int]:
    """How many rows of each table were copied.

    Raises: DataFileError, DatabaseError; the target is then as it was.
    """
    if source == target:
        raise MediatorError("a store is not copied into itself")
    async with _reading(source) as giver:
        return await copy_into(target, giver)


async def copy_into(target: Place, giver: Source) -> dict[str, int]:
    """Raises: DataFileError, DatabaseError."""
    counts: dict[str, int] = {}

    async def counted(table: Table, rows: AsyncIterator[Row]) -> AsyncIterator[Row]:
        counts[table.name] = 0
        async for row in rows:
            counts[table.name] += 1
            yield row

    async with _writing(target) as taker:
        for table in TABLES:
            await taker.write(table, counted(table, giver.rows(table)))
        await taker.set_last_ids(await giver.last_ids())
    return counts


def _reading(place: Place) -> contextlib.AbstractAsyncContextManager[Source, bool | None]:
    if isinstance(place, Path):
        return _reading_file(place)
    source: contextlib.AbstractAsyncContextManager[Source, bool | None]
    source = _of_postgres(place).reading(place)
    return source


def _writing(place: Place) -> contextlib.AbstractAsyncContextManager[Target, bool | None]:
    if isinstance(place, Path):
        return _writing_file(place)
    target: contextlib.AbstractAsyncContextManager[Target, bool | None]
    target = _of_postgres(place).writing(place)
    return target


def _of_postgres(place: PostgresUrl) -> ModuleType:
    try:
        from mediator.stores import postgres_copying
    except ModuleNotFoundError as error:
        raise driver_missing(place) from error
    return postgres_copying


# A file


@contextlib.asynccontextmanager
async def _reading_file(path: Path) -> AsyncIterator[Source]:
    if not path.exists():  # noqa: ASYNC240 - a command of its own: nobody waits
        raise DataFileError(path, "there is no such file")
    with locked(path), contextlib.closing(connect(path)) as db:
        prepare(db, path)
        yield _FileSource(db)


@contextlib.asynccontextmanager
async def _writing_file(path: Path) -> AsyncIterator[Target]:
    """Written under another name, which goes when something goes wrong."""
    if path.exists():  # noqa: ASYNC240
        raise DataFileError(path, "it is there already", "name a new file")
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    try:
        with locked(unfinished), contextlib.closing(connect(unfinished)) as db:
            prepare(db, unfinished)
            db.execute("PRAGMA journal_mode = DELETE")
            db.execute("BEGIN")
            yield _FileTarget(db)
            db.execute("COMMIT")
        _put_in_place(unfinished, path)
    except sqlite3.Error as error:
        raise DataFileError(path, str(error)) from error
    finally:
        for leftover in path.parent.glob(f"{unfinished.name}*"):
            leftover.unlink()


def _put_in_place(unfinished: Path, path: Path) -> None:
    unfinished.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


# Where SQLite's names or places differ from those above.
_SELECT = {
    "identity": "SELECT did, public_url, invitation, secrets, used FROM identity ORDER BY rowid",
    "recipient_key": "SELECT key, recipient FROM recipient_key",
    "rotation": "SELECT old, new, issued FROM rotation",
    "queue": "SELECT r.account, q.id, q.recipient, q.received, q.expires, q.size, q.digest,"
    " q.sender, q.envelope FROM queue q CROSS JOIN recipient r ON r.id = q.recipient ORDER BY q.id",
}
_INSERT = {
    "recipient_key": "INSERT INTO recipient_key (key, recipient) VALUES (?, ?)",
    "rotation": "INSERT INTO rotation (old, new, issued) VALUES (?, ?, ?)",
    "queue": "INSERT INTO queue (id, recipient, received, expires, size, digest, sender, envelope)"
    " SELECT ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 WHERE ?1 IS NOT NULL",
}


class _FileSource:
    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    async def rows(self, table: Table) -> AsyncIterator[Row]:
        names = ", ".join(table.columns)
        select = _SELECT.get(table.name, f"SELECT {names} FROM {table.name}")  # noqa: S608
        flags = [table.columns.index(flag) for flag in table.flags]
        for found in self._db.execute(select):
            row = list(found)
            for place in flags:
                row[place] = bool(row[place])
            yield row

    async def last_ids(self) -> dict[str, int]:
        given = dict(self._db.execute("SELECT name, seq FROM sqlite_sequence"))
        for name in NUMBERED:
            if name not in given:
                row = self._db.execute(f"SELECT coalesce(max(id), 0) FROM {name}")  # noqa: S608
                (given[name],) = row.fetchone()
        return given


class _FileTarget:
    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    async def write(self, table: Table, rows: AsyncIterator[Row]) -> None:
        if table.name in {"counter", "registration"}:  # the one row that there is
            self._db.execute(f"DELETE FROM {table.name}")  # noqa: S608
        marks = ", ".join("?" * len(table.columns))
        names = ", ".join(table.columns)
        insert = _INSERT.get(
            table.name,
            f"INSERT INTO {table.name} ({names}) VALUES ({marks})",  # noqa: S608
        )
        batch: list[Row] = []
        async for row in rows:
            batch.append(row)
            if len(batch) == BATCH:
                self._db.executemany(insert, batch)
                batch.clear()
        self._db.executemany(insert, batch)

    async def set_last_ids(self, last: dict[str, int]) -> None:
        for name in ("queue", "parcel"):
            self._db.execute("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
            self._db.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (name, last[name]))
