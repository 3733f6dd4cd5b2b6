"""A SQLite file as the source of a copy, while a mediator uses it, or as its target."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from mediator.errors import DataFileError
from mediator.settings.places import Place
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
    chunks,
)
from mediator.stores.sqlite_file import MOVED, NOTED, connect, locked, prepare, stop_noting

BUSY = 30.0  # seconds to wait for a mediator, which writes a few milliseconds at a time

# Where SQLite's names or places differ from those that both kinds have.
_SELECT = {
    "recipient": "SELECT r.id, r.did, r.account, r.proven, s.messages, s.bytes FROM recipient r"
    " JOIN sums s ON s.recipient = r.id",
    "recipient_key": "SELECT key, recipient FROM recipient_key",
    "rotation": "SELECT old, new, issued FROM rotation",
    "queue": "SELECT r.account, q.id, q.recipient, q.received, q.expires, q.size, q.digest,"
    " q.sender, q.envelope FROM queue q CROSS JOIN recipient r ON r.id = q.recipient",
}
_KEYS = {"queue": "q.id", "recipient": "r.id"}
_ORDER = {"identity": " ORDER BY rowid", "queue": " ORDER BY q.id", "parcel": " ORDER BY id"}
_INSERT = {
    "account": "INSERT INTO account (id, digest, did, created) VALUES (?1, digest(?2), ?2, ?3)",
    # What follows from the queue comes with the queue.
    "recipient": "INSERT INTO recipient (id, digest, did, account, proven)"
    " SELECT ?1, digest(?2), ?2, ?3, ?4 WHERE ?5 + ?6 IS NOT NULL",
    "counter": "UPDATE counter SET unknown_recipient = ?, parcels = ?, parcel_bytes = ?",
    "recipient_key": "INSERT INTO recipient_key (key, recipient) VALUES (?, ?)",
    "rotation": "INSERT INTO rotation (old, new, issued) VALUES (?, ?, ?)",
    "queue": "INSERT INTO queue (id, recipient, received, expires, size, digest, sender, envelope)"
    " SELECT ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 WHERE ?1 IS NOT NULL",
}


_COLUMNS = {
    "account": ("id", "digest", "did", "created"),
    "recipient": ("id", "digest", "did", "account", "proven"),
}


@contextlib.asynccontextmanager
async def reading(path: Path, target: Place) -> AsyncIterator[Source]:
    if not path.exists():  # noqa: ASYNC240 - a command of its own: nobody waits
        raise DataFileError(path, "there is no such file")
    try:
        with contextlib.closing(connect(path, BUSY)) as db:
            prepare(db, path, leaving=True)
            _note(db)
            try:
                yield _FileSource(db, target)
            finally:
                stop_noting(db)
    except sqlite3.Error as error:
        raise DataFileError(path, str(error)) from error


async def moved(path: Path) -> None:
    """All that it had is at another place for good."""
    with contextlib.closing(connect(path, BUSY)) as db:
        db.execute(f"UPDATE {MOVED} SET finished = 1")  # noqa: S608


@contextlib.asynccontextmanager
async def writing(path: Path) -> AsyncIterator[Target]:
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


def _note(db: sqlite3.Connection) -> None:
    """From now on each change of a growing table is noted, by whichever connection."""
    db.execute("BEGIN IMMEDIATE")
    db.execute(f"CREATE TABLE {NOTED} (number INTEGER PRIMARY KEY AUTOINCREMENT, name, key)")
    for table in GROWING:
        for change, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
            db.execute(
                f"CREATE TRIGGER {NOTED}_{table.name}_{change} AFTER {change} ON {table.name}"  # noqa: S608
                f" BEGIN INSERT INTO {NOTED} (name, key)"
                f" VALUES ('{table.name}', {row}.{table.key}); END"
            )
    # The sums of a recipient are a column elsewhere.
    db.execute(
        f"CREATE TRIGGER {NOTED}_sums AFTER UPDATE ON mailbox WHEN NEW.kind = 0"  # noqa: S608
        f" BEGIN INSERT INTO {NOTED} (name, key) VALUES ('recipient', NEW.recipient); END"
    )
    db.execute("COMMIT")


def _refuse_changes(db: sqlite3.Connection, target: Place) -> None:
    """From now on nobody changes anything: the statement of whoever tries is an error."""
    db.execute(f"CREATE TABLE {MOVED} (place, finished)")
    db.execute(f"INSERT INTO {MOVED} VALUES (?, 0)", (str(target),))  # noqa: S608
    words = f"all that it had has moved to {target}".replace("'", "''")
    for table in TABLES:
        for change in ("INSERT", "UPDATE", "DELETE"):
            db.execute(
                f"CREATE TRIGGER {MOVED}_{table.name}_{change} BEFORE {change} ON {table.name}"
                f" BEGIN SELECT RAISE(ABORT, '{words}'); END"
            )


class _FileSource:
    def __init__(self, db: sqlite3.Connection, target: Place) -> None:
        self._db = db
        self._target = target

    @contextlib.asynccontextmanager
    async def moment(self) -> AsyncIterator[None]:
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("COMMIT")

    async def changes(self) -> Changes:
        return Changes.of(self._db.execute(f"SELECT number, name, key FROM {NOTED}"))  # noqa: S608

    async def forget(self, changes: Changes) -> None:
        last = max(changes.numbers, default=0)  # all before it were committed before it
        self._db.execute(f"DELETE FROM {NOTED} WHERE number <= ?", (last,))  # noqa: S608

    @contextlib.asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            _refuse_changes(self._db, self._target)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    async def rows(self, table: Table) -> AsyncIterator[Row]:
        for row in self._read(table, _ORDER.get(table.name, "")):
            yield row

    async def rows_of(self, table: Table, keys: Sequence[int]) -> AsyncIterator[Row]:
        column = _KEYS.get(table.name, table.key)
        for some in chunks(keys):
            marks = ", ".join("?" * len(some))
            for row in self._read(table, f" WHERE {column} IN ({marks})", some):
                yield row

    def _read(self, table: Table, which: str, values: Sequence[int] = ()) -> Iterator[Row]:
        names = ", ".join(table.columns)
        select = _SELECT.get(table.name, f"SELECT {names} FROM {table.name}")  # noqa: S608
        flags = [table.columns.index(flag) for flag in table.flags]
        for found in self._db.execute(select + which, values):
            row = list(found)
            for place in flags:
                row[place] = None if row[place] is None else bool(row[place])
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
        if table.name == "registration":  # the one row that there is
            self._db.execute("DELETE FROM registration")
        await self._execute(_INSERT.get(table.name, _insert(table)), rows)

    async def put(self, table: Table, rows: AsyncIterator[Row]) -> None:
        columns = _COLUMNS.get(table.name, table.columns)
        new = ", ".join(f"{name} = excluded.{name}" for name in columns[1:])
        insert = _INSERT.get(table.name, _insert(table))
        await self._execute(f"{insert} ON CONFLICT (id) DO UPDATE SET {new}", rows)

    async def _execute(self, statement: str, rows: AsyncIterator[Row]) -> None:
        batch: list[Row] = []
        async for row in rows:
            batch.append(row)
            if len(batch) == CHUNK:
                self._db.executemany(statement, batch)
                batch.clear()
        self._db.executemany(statement, batch)

    async def delete(self, table: Table, keys: Sequence[int]) -> None:
        self._db.executemany(
            f"DELETE FROM {table.name} WHERE {table.key} = ?",  # noqa: S608
            [(key,) for key in keys],
        )

    async def set_aside(self, table: Table, keys: Sequence[int]) -> None:
        self._db.executemany(
            f"UPDATE {table.name} SET digest = CAST('aside ' || id AS BLOB) WHERE id = ?",  # noqa: S608
            [(key,) for key in keys],
        )

    async def set_last_ids(self, last: dict[str, int]) -> None:
        for name in ("queue", "parcel"):
            self._db.execute("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
            self._db.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (name, last[name]))

    async def count(self, table: Table) -> int:
        row = self._db.execute(f"SELECT count(*) FROM {table.name}")  # noqa: S608
        return int(row.fetchone()[0])


def _insert(table: Table) -> str:
    marks = ", ".join("?" * len(table.columns))
    return f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES ({marks})"  # noqa: S608
