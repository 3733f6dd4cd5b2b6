"""A file of any earlier schema is brought to today's, with all that it has.

`schemas/sqlite-1.sql` is the first schema as it was when files were made with it.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mediator.errors import DataFileError
from mediator.settings.config import Limits
from mediator.stores import sqlite_file
from mediator.stores.interface import IdentityRecord
from mediator.stores.opening import open_store, read_identities
from mediator.stores.sqlite_file import define_digest
from mediator.stores.versions import migrations
from tests.support.sqlite_files import mailboxes, what_follows_from_the_queue
from tests.support.stores import ALICE, NOW, fetched, post

FIRST = Path(__file__).with_name("schemas") / "sqlite-1.sql"
TODAY = len(migrations("sqlite"))
IDENTITY = IdentityRecord("did:example:mediator", "http://one", "i1", "{}")
# What a file had since version 1.
CONTENT = f"""
INSERT INTO identity VALUES ('{IDENTITY.did}', 'http://one', 'i1', '{{}}', {NOW});
INSERT INTO account (id, did, created) VALUES (7, '{ALICE}', {NOW});
INSERT INTO recipient (id, did, account, proven, messages, bytes)
    VALUES (9, '{ALICE}', 7, 1, 2, 10);
INSERT INTO queue (id, recipient, received, expires, size, digest, sender, envelope)
    VALUES (20, 9, {NOW}, {NOW + 99}, 5, x'01', x'aa', CAST('first' AS BLOB)),
           (21, 9, {NOW}, {NOW + 99}, 5, x'02', x'aa', CAST('again' AS BLOB));
DELETE FROM queue WHERE id = 21;
INSERT INTO queue (recipient, received, expires, size, digest, envelope)
    VALUES (9, {NOW}, {NOW + 99}, 5, x'03', CAST('later' AS BLOB)),
           (9, {NOW}, {NOW + 99}, 5, x'04', CAST('acknowledged' AS BLOB));
DELETE FROM queue WHERE id = 23;
UPDATE counter SET unknown_recipient = 3;
"""


@pytest.mark.parametrize("version", range(1, TODAY + 1))
async def test_a_file_of_each_version_goes_on_where_it_was(tmp_path: Path, version: int) -> None:
    path = tmp_path / "mediator.db"
    make(path, version)
    async with open_store(path, Limits()) as store:
        assert await fetched(store) == [b"first", b"later"]
        await post(store, b"new")
        [*_, newest] = await store.fetch(ALICE, now=NOW, limit=9, max_bytes=99)
        assert (newest.id, newest.envelope) == (24, b"new")
    assert mailboxes(path) == what_follows_from_the_queue(path)
    assert await read_identities(path) == [IDENTITY]
    assert (version_of(path), schema_of(path)) == (TODAY, schema_of(made_today(tmp_path)))


def test_the_first_migration_makes_what_the_first_mediator_made(tmp_path: Path) -> None:
    make(tmp_path / "then.db", 1)
    with closing(sqlite3.connect(tmp_path / "now.db")) as db:
        db.executescript(migrations("sqlite")[0])
    assert schema_of(tmp_path / "then.db") == schema_of(tmp_path / "now.db")


async def test_a_migration_that_fails_leaves_the_version_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mediator.db"
    make(path, 1)
    before = schema_of(path)
    broken = (migrations("sqlite")[0], "CREATE TABLE half (x INTEGER); SELECT nonsense;")
    with monkeypatch.context() as patched:
        patched.setattr(sqlite_file, "migrations", lambda _: broken)
        with pytest.raises(DataFileError, match="nonsense"):
            async with open_store(path, Limits()):
                pass
    assert (version_of(path), schema_of(path)) == (1, before)


def make(path: Path, version: int) -> None:
    """A file as a mediator of that version left it."""
    scripts = [FIRST.read_text(), CONTENT, *migrations("sqlite")[1:version]]
    with closing(sqlite3.connect(path)) as db:
        define_digest(db)
        for script in scripts:
            db.executescript(script)
        db.executescript(f"PRAGMA user_version = {version};")


def made_today(folder: Path) -> Path:
    path = folder / "today.db"
    with closing(sqlite3.connect(path)) as db:
        define_digest(db)
        for script in migrations("sqlite"):
            db.executescript(script)
    return path


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def schema_of(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as db:
        return {sql for (sql,) in db.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL")}
