"""The file of a mediator: who may use it, how it is opened, and what anyone may read of it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from mediator.errors import DataFileError
from mediator.stores.digests import digest_of
from mediator.stores.interface import IdentityRecord
from mediator.stores.versions import migrations

# Pages of the write-ahead log that are gathered before they go into the file itself.
CHECKPOINT_PAGES = 4_000
NOTED = "noted"  # a table: what changed while all is copied to another place
MOVED = "moved"  # a table: that all was copied, and where to
CACHE_KIB = 32 * 1024  # so that the indexes of many mailboxes are not read again for each message


def read_identities(path: Path) -> list[IdentityRecord]:
    """The mediator's DIDs in a file that a running mediator may be using.

    Raises: DataFileError.
    """
    if not path.exists():
        raise DataFileError(path, "there is no such file", "`mediator run` makes it")
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("PRAGMA query_only = ON")
            return identities(db)
    except sqlite3.Error as error:
        raise DataFileError(path, str(error)) from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other mediators off the file; made if missing, for its owner only.

    The descriptor stays open until the connections are closed: closing it earlier
    would release SQLite's own locks.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DataFileError(path, error.strerror or str(error)) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise DataFileError(
            path, "another mediator runs on it", "one process per data file; stop the other first"
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)


def connect(path: Path, busy: float = 5.0) -> sqlite3.Connection:
    """`busy`: seconds to wait for another connection that writes."""
    # Commits run in a thread of their own, and nothing else runs beside them.
    db = sqlite3.connect(path, timeout=busy, isolation_level=None, check_same_thread=False)
    define_digest(db)
    return db


def define_digest(db: sqlite3.Connection) -> None:
    """`digest(text)` in statements: migrations and copies write what DIDs are looked up by."""
    db.create_function("digest", 1, digest_of, deterministic=True)


def prepare(db: sqlite3.Connection, path: Path, *, leaving: bool = False) -> None:
    """Full synchronisation, and the schema of today; `leaving` to copy all to another place.

    A copy that was under way is not: what it would have noted is lost to it.

    Raises: DataFileError, for what is not a mediator's file, or a newer one's, or has moved.
    """
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        _migrate(db, path)
        db.execute("PRAGMA foreign_keys = ON")
        check_here(db, path, leaving)
        stop_noting(db)
    except sqlite3.Error as error:
        raise DataFileError(path, str(error)) from error


def check_here(db: sqlite3.Connection, path: Path, leaving: bool = False) -> None:
    """Raises: DataFileError, if all that it had has moved; a move that broke off may go on."""
    if not _tables(db, MOVED):
        return
    place, finished = db.execute(f"SELECT place, finished FROM {MOVED}").fetchone()  # noqa: S608
    if finished:
        raise DataFileError(
            path, f"all that it had has moved to {place}", "run on that, or copy it to a new file"
        )
    if not leaving:
        raise DataFileError(
            path, f"moving to {place} broke off", "run `mediator migrate` again, as before"
        )
    _drop(db, MOVED)


def stop_noting(db: sqlite3.Connection) -> None:
    if _tables(db, NOTED):
        _drop(db, NOTED)


def _tables(db: sqlite3.Connection, name: str) -> list[str]:
    """The table of this name, if it is there, and the triggers that belong to it."""
    found = db.execute(
        "SELECT name FROM sqlite_master WHERE (type = 'table' AND name = ?1)"
        " OR (type = 'trigger' AND name GLOB ?1 || '_*')",
        (name,),
    )
    return [name for (name,) in found]


def _drop(db: sqlite3.Connection, table: str) -> None:
    db.execute("BEGIN IMMEDIATE")
    for name in _tables(db, table):
        db.execute(f"DROP {'TABLE' if name == table else 'TRIGGER'} {name}")
    db.execute("COMMIT")


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    """Each step is a transaction with its number, so a crash leaves one version or the next.

    Foreign keys are off: dropping a table that is made anew would empty those that refer to it.
    """
    scripts = migrations("sqlite")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(scripts):
        raise DataFileError(path, f"it has schema {version}, this mediator {len(scripts)}")
    db.execute("PRAGMA foreign_keys = OFF")
    for number, script in enumerate(scripts[version:], version + 1):
        db.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")


def identities(db: sqlite3.Connection) -> list[IdentityRecord]:
    rows = db.execute(
        "SELECT did, public_url, invitation, secrets FROM identity ORDER BY used, rowid"
    )
    return [IdentityRecord(*row) for row in rows]
