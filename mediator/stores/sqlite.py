"""The store in one SQLite file; every statement of the mediator is in this module.

One process uses a file (a lock says so), with two connections: one writes, in
grouped commits, and one reads what is committed. Anyone else may read along.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from mediator.config import Limits
from mediator.stores import sqlite_parcels as parcels
from mediator.stores.commits import GroupCommit
from mediator.stores.interface import (
    Change,
    IdentityRecord,
    InboxFull,
    Parcel,
    Queued,
    SenderLimit,
    TooManyRecipients,
    Waiting,
    Wake,
)
from mediator.stores.sqlite_file import connect, identities, locked, prepare

EXPIRY_BATCH = 500


class SqliteStore:
    """A Store; use as an async context manager.

    Raises: DataFileError if the file cannot be used, on entry.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._limits = limits

    async def __aenter__(self) -> SqliteStore:
        self._resources = contextlib.AsyncExitStack()
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(locked(self._path))
            writer = stack.enter_context(contextlib.closing(connect(self._path)))
            prepare(writer, self._path)
            self._reader = stack.enter_context(contextlib.closing(connect(self._path)))
            self._reader.execute("PRAGMA query_only = ON")
            self._commits = await stack.enter_async_context(GroupCommit(writer))
            self._resources = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._resources.aclose()

    async def identities(self) -> list[IdentityRecord]:
        return identities(self._reader)

    async def use_identity(self, record: IdentityRecord, now: int) -> IdentityRecord:
        row = (record.did, record.public_url, record.invitation, record.secrets, now)
        used = await self._commits.run(
            lambda db: db.execute(
                "INSERT INTO identity VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (public_url) DO UPDATE SET used = excluded.used, secrets ="
                " iif(did = excluded.did AND length(secrets) < length(excluded.secrets),"
                " excluded.secrets, secrets)"
                " RETURNING did, public_url, invitation, secrets",
                row,
            ).fetchone()
        )
        return IdentityRecord(*used)

    @contextlib.asynccontextmanager
    async def listening(self, _: Wake) -> AsyncIterator[None]:
        """There is no other process."""
        yield

    async def open_account(self, did: str, now: int) -> None:
        await self._commits.run(lambda db: _open_account(db, did, now))

    async def has_account(self, did: str) -> bool:
        return _account(self._reader, did) is not None

    async def rotate(self, old: str, new: str, *, issued: int) -> bool:
        return await self._commits.run(lambda db: _rotate(db, old, new, issued))

    async def bind(
        self, account: str, did: str, *, proven: bool, keys: Sequence[str] = ()
    ) -> Change:
        limit = self._limits.recipients
        return await self._commits.run(lambda db: _bind(db, account, did, proven, limit, keys))

    async def unbind(self, account: str, did: str) -> Change:
        return await self._commits.run(lambda db: _unbind(db, account, did))

    async def bound(self, account: str) -> list[str]:
        rows = self._reader.execute(
            "SELECT did FROM recipient WHERE account = (SELECT id FROM account WHERE did = ?)"
            " ORDER BY id",
            (account,),
        )
        return [did for (did,) in rows]

    async def enqueue(
        self,
        recipient: str,
        envelopes: Sequence[bytes],
        *,
        sender: str | None,
        expires: int,
        now: int,
    ) -> str | None:
        letters = [_Letter(envelope) for envelope in envelopes]
        sender_digest = None if sender is None else parcels.digest(sender.encode())
        return await self._commits.run(
            lambda db: _enqueue(db, recipient, letters, sender_digest, expires, now, self._limits)
        )

    async def waiting(self, account: str, *, now: int, recipient: str | None = None) -> Waiting:
        row = self._reader.execute(
            "SELECT count(*), coalesce(sum(q.size), 0), min(q.received), max(q.received),"
            " (SELECT coalesce(max(id), 0) FROM queue)"
            " FROM recipient r CROSS JOIN queue q ON q.recipient = r.id"
            " WHERE r.account = (SELECT id FROM account WHERE did = ?1)"
            " AND (?2 IS NULL OR r.did = ?2) AND q.expires > ?3",
            (account, recipient, now),
        ).fetchone()
        return Waiting(*row)

    async def fetch(
        self,
        account: str,
        *,
        now: int,
        limit: int,
        max_bytes: int,
        after: int = 0,
        recipient: str | None = None,
    ) -> list[Queued]:
        rows = self._reader.execute(
            "SELECT q.id, q.size FROM recipient r CROSS JOIN queue q ON q.recipient = r.id"
            " WHERE r.account = (SELECT id FROM account WHERE did = ?1)"
            " AND (?2 IS NULL OR r.did = ?2) AND q.id > ?3 AND q.expires > ?4"
            " ORDER BY q.id LIMIT ?5",
            (account, recipient, after, now, limit),
        ).fetchall()
        return [
            Queued(id_, envelope)
            for id_ in _fitting(rows, max_bytes)
            for (envelope,) in self._reader.execute(
                "SELECT envelope FROM queue WHERE id = ?", (id_,)
            )
        ]

    async def acknowledge(self, account: str, ids: Sequence[int]) -> None:
        if ids:
            await self._commits.run(lambda db: _acknowledge(db, account, ids))

    async def expire(self, now: int) -> int:
        (due,) = self._reader.execute(
            "SELECT EXISTS (SELECT 1 FROM queue WHERE expires <= ?)", (now,)
        ).fetchone()
        gone = await self._commits.run(lambda db: _expire(db, now)) if due else 0
        (due,) = self._reader.execute(
            "SELECT EXISTS (SELECT 1 FROM parcel WHERE expires <= ?)", (now,)
        ).fetchone()
        return gone + (await self._commits.run(lambda db: parcels.expire(db, now)) if due else 0)

    async def is_bound(self, did: str) -> bool:
        return _recipient(self._reader, did) is not None

    async def add_parcels(
        self,
        target: str,
        envelopes: Sequence[bytes],
        *,
        inbox: bool,
        due: int,
        expires: int,
        hops: int = 0,
        sender: str | None = None,
    ) -> None:
        await self._commits.run(
            lambda db: parcels.add(
                db,
                target,
                envelopes,
                inbox=inbox,
                due=due,
                expires=expires,
                hops=hops,
                sender=None if sender is None else parcels.digest(sender.encode()),
                limits=self._limits,
            )
        )

    async def take_parcels(self, now: int, *, until: int, limit: int) -> list[Parcel]:
        return await self._commits.run(lambda db: parcels.take(db, now, until, limit))

    async def put_off_parcels(self, ids: Sequence[int], due: int, *, tried: bool) -> None:
        await self._commits.run(lambda db: parcels.put_off(db, ids, due, tried))

    async def drop_parcels(self, ids: Sequence[int]) -> None:
        await self._commits.run(lambda db: parcels.drop(db, ids))

    async def deliver_parcel(self, id_: int, now: int) -> str | None:
        return await self._commits.run(lambda db: _deliver(db, id_, now, self._limits))

    async def next_parcel(self) -> int | None:
        row = self._reader.execute("SELECT due FROM parcel ORDER BY due LIMIT 1").fetchone()
        return None if row is None else int(row[0])


# Reading


def _account(db: sqlite3.Connection, did: str) -> int | None:
    row = db.execute("SELECT id FROM account WHERE did = ?", (did,)).fetchone()
    return None if row is None else int(row[0])


def _recipient(db: sqlite3.Connection, did: str) -> tuple[int, int, int, str] | None:
    """Its id, messages, bytes and account; by its DID, or by a key that its DID has."""
    row = db.execute(
        "SELECT r.id, r.messages, r.bytes, a.did FROM recipient r JOIN account a"
        " ON a.id = r.account WHERE r.did = ?",
        (did,),
    ).fetchone()
    if row is None and did.startswith("did:key:"):
        row = db.execute(
            "SELECT r.id, r.messages, r.bytes, a.did FROM recipient_key k JOIN recipient r"
            " ON r.id = k.recipient JOIN account a ON a.id = r.account WHERE k.key = ?"
            " ORDER BY r.proven DESC, r.id LIMIT 1",
            (did,),
        ).fetchone()
    found: tuple[int, int, int, str] | None = row
    return found


def _fitting(rows: Sequence[tuple[int, int]], max_bytes: int) -> Iterator[int]:
    total = 0
    for number, (id_, size) in enumerate(rows):
        total += size
        if number and total > max_bytes:
            return
        yield id_


# Changing: each function is one operation of a grouped commit


def _open_account(db: sqlite3.Connection, did: str, now: int) -> None:
    db.execute("INSERT OR IGNORE INTO account (did, created) VALUES (?, ?)", (did, now))
    db.execute(
        "UPDATE recipient SET account = (SELECT id FROM account WHERE did = ?1), proven = 1"
        " WHERE did = ?1 AND proven = 0",
        (did,),
    )


def _rotate(db: sqlite3.Connection, old: str, new: str, issued: int) -> bool:
    account = _account(db, old)
    last = db.execute("SELECT issued FROM rotation WHERE old = ?", (old,)).fetchone()
    if account is None or (last is not None and issued <= last[0]):
        return False
    db.execute("INSERT OR REPLACE INTO rotation VALUES (?, ?, ?)", (old, new, issued))
    there = _account(db, new)
    if there is None:
        db.execute("UPDATE account SET did = ? WHERE id = ?", (new, account))
    else:
        db.execute("UPDATE recipient SET account = ? WHERE account = ?", (there, account))
        db.execute("DELETE FROM account WHERE id = ?", (account,))
    db.execute(
        "UPDATE recipient SET account = ?, proven = 1 WHERE did = ? AND proven = 0",
        (account if there is None else there, new),
    )
    return True


def _bind(
    db: sqlite3.Connection,
    account: str,
    did: str,
    proven: bool,
    limit: int,
    keys: Sequence[str],
) -> Change:
    owner = _account(db, account)
    if owner is None:
        return Change.CLIENT_ERROR
    row = db.execute("SELECT account, proven FROM recipient WHERE did = ?", (did,)).fetchone()
    if row is None:
        (bound,) = db.execute(
            "SELECT count(*) FROM recipient WHERE account = ?", (owner,)
        ).fetchone()
        if bound >= limit:
            raise TooManyRecipients(bound)
        id_ = db.execute(
            "INSERT INTO recipient (did, account, proven) VALUES (?, ?, ?)", (did, owner, proven)
        ).lastrowid
        db.executemany(
            "INSERT OR IGNORE INTO recipient_key VALUES (?, ?)", [(key, id_) for key in keys]
        )
        return Change.SUCCESS
    if row[0] != owner and not proven:
        return Change.CLIENT_ERROR
    if proven:
        db.execute("UPDATE recipient SET account = ?, proven = 1 WHERE did = ?", (owner, did))
    return Change.NO_CHANGE if row[0] == owner else Change.SUCCESS


def _unbind(db: sqlite3.Connection, account: str, did: str) -> Change:
    deleted = db.execute(
        "DELETE FROM recipient WHERE did = ? AND account = (SELECT id FROM account WHERE did = ?)",
        (did, account),
    ).rowcount
    return Change.SUCCESS if deleted else Change.NO_CHANGE


class _Letter:
    """An envelope with its digest, which is taken outside the group."""

    __slots__ = ("digest", "envelope", "size")

    def __init__(self, envelope: bytes) -> None:
        self.envelope = envelope
        self.size = len(envelope)
        self.digest = parcels.digest(envelope)


def _enqueue(
    db: sqlite3.Connection,
    recipient: str,
    letters: Sequence[_Letter],
    sender: bytes | None,
    expires: int,
    now: int,
    limits: Limits,
) -> str | None:
    row = _recipient(db, recipient)
    if row is None:
        db.execute("UPDATE counter SET unknown_recipient = unknown_recipient + 1")
        return None
    id_, messages, size, account = row
    added = sum(letter.size for letter in letters)
    if messages + len(letters) > limits.inbox_messages or size + added > limits.inbox_bytes:
        letters = _make_room(db, id_, letters, now, limits)
    if sender is not None:
        _check_sender(db, id_, sender, letters, limits)
    _insert(db, id_, letters, sender, expires, now)
    return str(account)


def _deliver(db: sqlite3.Connection, id_: int, now: int, limits: Limits) -> str | None:
    row = db.execute(
        "SELECT target, envelope, sender, expires FROM parcel WHERE id = ?", (id_,)
    ).fetchone()
    if row is None:
        return None
    target, envelope, sender, expires = row
    account = _enqueue(db, target, [_Letter(envelope)], sender, expires, now, limits)
    parcels.drop(db, [id_])
    return account


def _make_room(
    db: sqlite3.Connection, recipient: int, letters: Sequence[_Letter], now: int, limits: Limits
) -> list[_Letter]:
    """The letters that are not there yet, if they fit once the expired ones are gone."""
    _forget(
        db,
        db.execute(
            "DELETE FROM queue WHERE recipient = ? AND expires <= ? RETURNING recipient, size",
            (recipient, now),
        ).fetchall(),
    )
    new = [letter for letter in letters if not _is_queued(db, recipient, letter)]
    messages, size = db.execute(
        "SELECT messages, bytes FROM recipient WHERE id = ?", (recipient,)
    ).fetchone()
    added = sum(letter.size for letter in new)
    if new and (messages + len(new) > limits.inbox_messages or size + added > limits.inbox_bytes):
        raise InboxFull(messages, size)
    return new


def _is_queued(db: sqlite3.Connection, recipient: int, letter: _Letter) -> bool:
    found = db.execute(
        "SELECT 1 FROM queue WHERE recipient = ? AND digest = ?", (recipient, letter.digest)
    )
    return found.fetchone() is not None


def _check_sender(
    db: sqlite3.Connection,
    recipient: int,
    sender: bytes,
    letters: Sequence[_Letter],
    limits: Limits,
) -> None:
    (waiting,) = db.execute(
        "SELECT count(*) FROM queue WHERE recipient = ? AND sender = ?", (recipient, sender)
    ).fetchone()
    if waiting + len(letters) <= limits.sender_messages:
        return
    new = sum(not _is_queued(db, recipient, letter) for letter in letters)
    if new and waiting + new > limits.sender_messages:
        raise SenderLimit(waiting)


def _insert(
    db: sqlite3.Connection,
    recipient: int,
    letters: Sequence[_Letter],
    sender: bytes | None,
    expires: int,
    now: int,
) -> None:
    messages = size = 0
    for letter in letters:
        row = (recipient, now, expires, letter.size, letter.digest, sender, letter.envelope)
        if not db.execute(_INSERT, row).rowcount:
            if not _repeat(db, recipient, letter, expires, now):
                continue
            db.execute(_INSERT, row)
        messages += 1
        size += letter.size
    if messages:
        db.execute(
            "UPDATE recipient SET messages = messages + ?, bytes = bytes + ? WHERE id = ?",
            (messages, size, recipient),
        )


_INSERT = (
    "INSERT INTO queue (recipient, received, expires, size, digest, sender, envelope)"
    " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (recipient, digest) DO NOTHING"
)


def _repeat(
    db: sqlite3.Connection, recipient: int, letter: _Letter, expires: int, now: int
) -> bool:
    """Keep what is there as long as wanted now; delete it, and say so, if its time is over."""
    of_letter = (recipient, letter.digest)
    gone = db.execute(
        "DELETE FROM queue WHERE recipient = ? AND digest = ? AND expires <= ?"
        " RETURNING recipient, size",
        (*of_letter, now),
    ).fetchall()
    _forget(db, gone)
    if not gone:
        db.execute(
            "UPDATE queue SET expires = max(expires, ?) WHERE recipient = ? AND digest = ?",
            (expires, *of_letter),
        )
    return bool(gone)


def _acknowledge(db: sqlite3.Connection, account: str, ids: Sequence[int]) -> None:
    marks = ",".join("?" * len(ids))
    _forget(
        db,
        db.execute(
            f"DELETE FROM queue WHERE id IN ({marks}) AND recipient IN (SELECT id FROM recipient"  # noqa: S608
            " WHERE account = (SELECT id FROM account WHERE did = ?)) RETURNING recipient, size",
            (*ids, account),
        ).fetchall(),
    )


def _expire(db: sqlite3.Connection, now: int) -> int:
    gone = db.execute(
        "DELETE FROM queue WHERE id IN (SELECT id FROM queue WHERE expires <= ? LIMIT ?)"
        " RETURNING recipient, size",
        (now, EXPIRY_BATCH),
    ).fetchall()
    _forget(db, gone)
    return len(gone)


def _forget(db: sqlite3.Connection, gone: Sequence[tuple[int, int]]) -> None:
    """Take deleted messages, as (recipient, size), out of their recipients' sums."""
    totals: dict[int, tuple[int, int]] = {}
    for recipient, size in gone:
        messages, total = totals.get(recipient, (0, 0))
        totals[recipient] = (messages + 1, total + size)
    db.executemany(
        "UPDATE recipient SET messages = messages - ?, bytes = bytes - ? WHERE id = ?",
        [(messages, size, recipient) for recipient, (messages, size) in totals.items()],
    )
