"""Messages that wait, in the SQLite file: each function is one operation of a grouped commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from mediator.settings.config import Limits
from mediator.stores import sqlite_parcels as parcels
from mediator.stores.interface import InboxFull, SenderLimit
from mediator.stores.sqlite_accounts import find_recipient

EXPIRY_BATCH = 500


class Letter:
    """An envelope with its digest, which is taken outside the group."""

    __slots__ = ("digest", "envelope", "size")

    def __init__(self, envelope: bytes) -> None:
        self.envelope = envelope
        self.size = len(envelope)
        self.digest = parcels.digest(envelope)


def enqueue(
    db: sqlite3.Connection,
    recipient: str,
    letters: Sequence[Letter],
    sender: bytes | None,
    expires: int,
    now: int,
    limits: Limits,
) -> str | None:
    row = find_recipient(db, recipient)
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


def deliver(db: sqlite3.Connection, id_: int, now: int, limits: Limits) -> str | None:
    row = db.execute(
        "SELECT target, envelope, sender, expires FROM parcel WHERE id = ?", (id_,)
    ).fetchone()
    if row is None:
        return None
    target, envelope, sender, expires = row
    account = enqueue(db, target, [Letter(envelope)], sender, expires, now, limits)
    parcels.drop(db, [id_])
    return account


def _make_room(
    db: sqlite3.Connection, recipient: int, letters: Sequence[Letter], now: int, limits: Limits
) -> list[Letter]:
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


def _is_queued(db: sqlite3.Connection, recipient: int, letter: Letter) -> bool:
    found = db.execute(
        "SELECT 1 FROM queue WHERE recipient = ? AND digest = ?", (recipient, letter.digest)
    )
    return found.fetchone() is not None


def _check_sender(
    db: sqlite3.Connection,
    recipient: int,
    sender: bytes,
    letters: Sequence[Letter],
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
    letters: Sequence[Letter],
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


def _repeat(db: sqlite3.Connection, recipient: int, letter: Letter, expires: int, now: int) -> bool:
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


def acknowledge(db: sqlite3.Connection, account: str, ids: Sequence[int]) -> None:
    marks = ",".join("?" * len(ids))
    _forget(
        db,
        db.execute(
            f"DELETE FROM queue WHERE id IN ({marks}) AND recipient IN (SELECT id FROM recipient"  # noqa: S608
            " WHERE account = (SELECT id FROM account WHERE did = ?)) RETURNING recipient, size",
            (*ids, account),
        ).fetchall(),
    )


def expire(db: sqlite3.Connection, now: int) -> int:
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
