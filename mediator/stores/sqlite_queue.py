"""Messages that wait, in the SQLite file: each function is one operation of a grouped commit.

What follows from the queue (`sums`, `waiting`, `equal`, `sent`) is kept by triggers, and read here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from mediator.settings.config import Limits
from mediator.stores import sqlite_parcels as parcels
from mediator.stores.digests import digest, digest_of
from mediator.stores.interface import InboxFull, SenderLimit
from mediator.stores.sqlite_accounts import find_recipient

EXPIRY_BATCH = 500


class Letter:
    """An envelope with its digest, which is taken outside the group."""

    __slots__ = ("digest", "envelope", "size")

    def __init__(self, envelope: bytes) -> None:
        self.envelope = envelope
        self.size = len(envelope)
        self.digest = digest(envelope)


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
        _make_room(db, id_, letters, now, limits)
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
) -> None:
    """Delete the expired ones. Raises: InboxFull, if what is not there yet does not fit even so."""
    db.execute(
        "DELETE FROM queue WHERE id IN"
        " (SELECT id FROM waiting WHERE recipient = ? AND expires <= ?)",
        (recipient, now),
    )
    new = [letter for letter in letters if not _is_queued(db, recipient, letter)]
    messages, size = db.execute(
        "SELECT messages, bytes FROM sums WHERE recipient = ?", (recipient,)
    ).fetchone()
    added = sum(letter.size for letter in new)
    if new and (messages + len(new) > limits.inbox_messages or size + added > limits.inbox_bytes):
        raise InboxFull(messages, size)


def _is_queued(db: sqlite3.Connection, recipient: int, letter: Letter) -> bool:
    found = db.execute(
        "SELECT 1 FROM equal WHERE recipient = ? AND digest = ?", (recipient, letter.digest)
    )
    return found.fetchone() is not None


def _check_sender(
    db: sqlite3.Connection,
    recipient: int,
    sender: bytes,
    letters: Sequence[Letter],
    limits: Limits,
) -> None:
    row = db.execute(
        "SELECT messages FROM sent WHERE recipient = ? AND sender = ?", (recipient, sender)
    ).fetchone()
    waiting = 0 if row is None else row[0]
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
    for letter in letters:
        row = (recipient, now, expires, letter.size, letter.digest, sender, letter.envelope)
        if not db.execute(_INSERT, row).rowcount and _repeat(db, recipient, letter, expires, now):
            db.execute(_INSERT, row)


_INSERT = (
    "INSERT INTO queue (recipient, received, expires, size, digest, sender, envelope)"
    " SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7"
    " WHERE NOT EXISTS (SELECT 1 FROM equal WHERE recipient = ?1 AND digest = ?5)"
)


def _repeat(db: sqlite3.Connection, recipient: int, letter: Letter, expires: int, now: int) -> bool:
    """Keep what is there as long as wanted now; delete it, and say so, if its time is over."""
    of_letter = "(SELECT id FROM equal WHERE recipient = ?2 AND digest = ?3)"
    gone = db.execute(
        f"DELETE FROM queue WHERE id = {of_letter} AND expires <= ?1",  # noqa: S608
        (now, recipient, letter.digest),
    ).rowcount
    if not gone:
        db.execute(
            f"UPDATE queue SET expires = ?1 WHERE id = {of_letter} AND expires < ?1",  # noqa: S608
            (expires, recipient, letter.digest),
        )
    return bool(gone)


def acknowledge(db: sqlite3.Connection, account: str, ids: Sequence[int]) -> None:
    marks = ",".join("?" * len(ids))
    db.execute(
        f"DELETE FROM queue WHERE id IN ({marks}) AND recipient IN (SELECT id FROM recipient"  # noqa: S608
        " WHERE account = (SELECT id FROM account WHERE digest = ?))",
        (*ids, digest_of(account)),
    )


def expire(db: sqlite3.Connection, now: int) -> int:
    return db.execute(
        "DELETE FROM queue WHERE id IN (SELECT id FROM queue WHERE expires <= ? LIMIT ?)",
        (now, EXPIRY_BATCH),
    ).rowcount
