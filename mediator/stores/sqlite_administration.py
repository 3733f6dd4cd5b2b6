"""An operator's view of a SQLite file, over a connection of its own beside the mediator's."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from mediator.errors import DataFileError
from mediator.stores.administration import (
    AccountSummary,
    Admission,
    Closed,
    InvitationRecord,
    Rule,
    Totals,
)
from mediator.stores.digests import digest_of
from mediator.stores.sqlite_file import check_here
from mediator.stores.versions import migrations

_T = TypeVar("_T")

BUSY = 10.0  # seconds to wait for the mediator, which writes a few milliseconds at a time
BATCH = 200  # messages deleted in one step, so that the mediator never waits long


class SqliteAdministration:
    """An Administration; use as an async context manager.

    Raises: DataFileError, on entry and in each call.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # One thread: a caller that gives up waiting leaves no half transaction to the next.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="administration")

    async def __aenter__(self) -> SqliteAdministration:
        if not self._path.exists():
            raise DataFileError(self._path, "there is no such file", "`mediator run` makes it")
        self._db = sqlite3.connect(
            self._path, timeout=BUSY, isolation_level=None, check_same_thread=False
        )
        try:
            await self._read(self._check_schema)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._thread.shutdown)
        self._db.close()

    async def check(self) -> None:
        await self._write(
            lambda db: db.execute("UPDATE counter SET unknown_recipient = unknown_recipient")
        )

    async def totals(self) -> Totals:
        return await self._read(_totals)

    async def accounts(self, limit: int | None = None) -> list[AccountSummary]:
        return await self._read(lambda db: _accounts(db, -1 if limit is None else limit))

    async def close_account(self, did: str) -> Closed | None:
        row = await self._read(
            lambda db: db.execute(
                "SELECT id FROM account WHERE digest = ?", (digest_of(did),)
            ).fetchone()
        )
        if row is None:
            return None
        messages = size = 0
        while gone := await self._write(lambda db: _delete_mail(db, row[0])):
            messages += len(gone)
            size += sum(gone)
        recipients = await self._write(lambda db: _delete_account(db, row[0]))
        return Closed(recipients, messages, size)

    async def admission(self) -> Admission:
        return await self._read(_admission)

    async def set_open(self, is_open: bool) -> None:
        await self._write(lambda db: db.execute("UPDATE registration SET is_open = ?", (is_open,)))

    async def set_passes_on(self, passes_on: bool) -> None:
        await self._write(
            lambda db: db.execute("UPDATE registration SET passes_on = ?", (passes_on,))
        )

    async def set_rule(self, rule: Rule, now: int) -> None:
        row = (rule.pattern, rule.allow, now)
        await self._write(lambda db: db.execute("REPLACE INTO rule VALUES (?, ?, ?)", row))

    async def remove_rule(self, pattern: str) -> bool:
        return await self._deleted("DELETE FROM rule WHERE pattern = ?", pattern)

    async def invitations(self) -> list[InvitationRecord]:
        return await self._read(
            lambda db: [InvitationRecord(*row) for row in db.execute(_INVITATIONS)]
        )

    async def add_invitation(self, invitation: InvitationRecord) -> None:
        row = (
            invitation.id,
            invitation.created,
            invitation.expires,
            invitation.uses,
            invitation.note,
        )
        await self._write(
            lambda db: db.execute("INSERT INTO invitation VALUES (?, ?, ?, ?, ?)", row)
        )

    async def revoke_invitation(self, id_: str) -> bool:
        return await self._deleted("DELETE FROM invitation WHERE id = ?", id_)

    async def follow_invitation(self, id_: str, did: str, now: int) -> bool:
        if not await self._read(lambda db: _known(db, id_)):
            return False  # whoever guesses makes nothing be written
        return await self._write(lambda db: _follow(db, id_, did, now))

    async def _deleted(self, statement: str, key: str) -> bool:
        return await self._write(lambda db: db.execute(statement, (key,)).rowcount > 0)

    async def _read(self, question: Callable[[sqlite3.Connection], _T]) -> _T:
        return await self._run(lambda: question(self._db))

    async def _write(self, operation: Callable[[sqlite3.Connection], _T]) -> _T:
        def run() -> _T:
            with _transaction(self._db):
                return operation(self._db)

        return await self._run(run)

    async def _run(self, work: Callable[[], _T]) -> _T:
        """In a thread: a scan of many mailboxes must not hold up the mail."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as error:
            raise DataFileError(self._path, str(error)) from error

    def _check_schema(self, db: sqlite3.Connection) -> None:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        today = len(migrations("sqlite"))
        if version < today:
            raise DataFileError(
                self._path,
                f"it has schema {version}, this command {today}",
                "run `mediator run` of this version once; it brings the file up to date",
            )
        if version > today:
            raise DataFileError(self._path, f"it has schema {version}, this command {today}")
        check_here(db, self._path)
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")


_INVITATIONS = (
    "SELECT id, created, expires, uses, note,"
    " (SELECT count(*) FROM invited WHERE invitation = id)"
    " FROM invitation ORDER BY created, id"
)


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


def _totals(db: sqlite3.Connection) -> Totals:
    (accounts,) = db.execute("SELECT count(*) FROM account").fetchone()
    (recipients,) = db.execute("SELECT count(*) FROM recipient").fetchone()
    oldest = db.execute("SELECT received FROM queue ORDER BY id LIMIT 1").fetchone()
    messages, size, unknown, parcels, parcel_bytes = db.execute(
        "SELECT messages, bytes, unknown_recipient, parcels, parcel_bytes FROM counter"
    ).fetchone()
    (passes_on,) = db.execute("SELECT passes_on FROM registration").fetchone()
    return Totals(
        accounts,
        recipients,
        messages,
        size,
        None if oldest is None else oldest[0],
        parcels,
        parcel_bytes,
        unknown,
        None if passes_on is None else bool(passes_on),
    )


def _accounts(db: sqlite3.Connection, limit: int) -> list[AccountSummary]:
    rows = db.execute(
        "SELECT a.id, a.did, a.created, count(r.id), coalesce(sum(s.messages), 0) AS waiting,"
        " coalesce(sum(s.bytes), 0) FROM account a LEFT JOIN recipient r ON r.account = a.id"
        " LEFT JOIN sums s ON s.recipient = r.id"
        " GROUP BY a.id ORDER BY waiting DESC, a.id LIMIT ?",
        (limit,),
    ).fetchall()
    return [
        AccountSummary(did, created, bound, waiting, size, _oldest(db, id_) if waiting else None)
        for id_, did, created, bound, waiting, size in rows
    ]


def _oldest(db: sqlite3.Connection, account: int) -> int | None:
    row = db.execute(
        "SELECT min((SELECT received FROM waiting WHERE recipient = r.id ORDER BY id LIMIT 1))"
        " FROM recipient r WHERE r.account = ?",
        (account,),
    ).fetchone()
    return None if row[0] is None else int(row[0])


def _admission(db: sqlite3.Connection) -> Admission:
    (is_open,) = db.execute("SELECT is_open FROM registration").fetchone()
    rules = db.execute("SELECT pattern, allow FROM rule ORDER BY pattern")
    return Admission(bool(is_open), tuple(Rule(pattern, bool(allow)) for pattern, allow in rules))


def _delete_mail(db: sqlite3.Connection, account: int) -> list[int]:
    """Some of it; the sizes of what went."""
    gone = db.execute(
        "DELETE FROM queue WHERE id IN (SELECT q.id FROM recipient r CROSS JOIN waiting q"
        " ON q.recipient = r.id WHERE r.account = ? LIMIT ?) RETURNING size",
        (account, BATCH),
    ).fetchall()
    return [size for (size,) in gone]


def _delete_account(db: sqlite3.Connection, account: int) -> int:
    (recipients,) = db.execute(
        "SELECT count(*) FROM recipient WHERE account = ?", (account,)
    ).fetchone()
    db.execute("DELETE FROM account WHERE id = ?", (account,))
    return int(recipients)


def _known(db: sqlite3.Connection, id_: str) -> bool:
    return db.execute("SELECT 1 FROM invitation WHERE id = ?", (id_,)).fetchone() is not None


def _follow(db: sqlite3.Connection, id_: str, did: str, now: int) -> bool:
    row = db.execute(f"SELECT * FROM ({_INVITATIONS}) WHERE id = ?", (id_,)).fetchone()  # noqa: S608
    if row is None:
        return False
    again = db.execute("SELECT 1 FROM invited WHERE invitation = ? AND did = ?", (id_, did))
    if again.fetchone() is not None:
        return True
    if not InvitationRecord(*row).usable(now):
        return False
    db.execute("INSERT INTO invited VALUES (?, ?, ?)", (id_, did, now))
    return True
