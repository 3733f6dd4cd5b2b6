"""Parcels in the SQLite file: each function is one operation of a grouped commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from mediator.settings.config import Limits
from mediator.stores.digests import digest
from mediator.stores.interface import MAX_PARCEL_BYTES, MAX_PARCELS, OutgoingFull, Parcel

EXPIRY_BATCH = 500


def add(
    db: sqlite3.Connection,
    target: str,
    envelopes: Sequence[bytes],
    *,
    inbox: bool,
    due: int,
    expires: int,
    hops: int,
    sender: bytes | None,
    origin: str | None,
    limits: Limits,
) -> None:
    parcels = [
        (target, inbox, due, expires, hops, len(e), digest(e), sender, origin, e) for e in envelopes
    ]
    _check_room(db, target, inbox, len(parcels), sum(len(e) for e in envelopes), limits)
    added = size = 0
    for parcel in parcels:
        inserted = db.execute(
            "INSERT INTO parcel"
            " (target, inbox, due, expires, hops, size, digest, sender, origin, envelope)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (target, inbox, digest, size) DO NOTHING",
            parcel,
        ).rowcount
        added += inserted
        size += inserted * parcel[5]
    _count(db, added, size)


def _check_room(
    db: sqlite3.Connection, target: str, inbox: bool, added: int, size: int, limits: Limits
) -> None:
    parcels, total = db.execute("SELECT parcels, parcel_bytes FROM counter").fetchone()
    if parcels + added > MAX_PARCELS or total + size > MAX_PARCEL_BYTES:
        raise OutgoingFull(parcels)
    waiting, waiting_bytes = db.execute(
        "SELECT count(*), coalesce(sum(size), 0) FROM parcel WHERE target = ? AND inbox = ?",
        (target, inbox),
    ).fetchone()
    if waiting + added > limits.inbox_messages or waiting_bytes + size > limits.inbox_bytes:
        raise OutgoingFull(waiting)


def take(db: sqlite3.Connection, now: int, until: int, limit: int) -> list[Parcel]:
    rows = db.execute(
        "UPDATE parcel SET due = ?"
        " WHERE id IN (SELECT id FROM parcel WHERE due <= ? ORDER BY due, id LIMIT ?)"
        " RETURNING id, target, inbox, envelope, tries, expires, hops, origin",
        (until, now, limit),
    ).fetchall()
    return [Parcel(r[0], r[1], bool(r[2]), *r[3:]) for r in sorted(rows)]


def put_off(db: sqlite3.Connection, ids: Sequence[int], due: int, tried: bool) -> None:
    db.executemany(
        "UPDATE parcel SET due = ?, tries = tries + ? WHERE id = ?",
        [(due, tried, id_) for id_ in ids],
    )


def drop(db: sqlite3.Connection, ids: Sequence[int]) -> None:
    for id_ in ids:
        _forget(db, db.execute("DELETE FROM parcel WHERE id = ? RETURNING size", (id_,)).fetchall())


def expire(db: sqlite3.Connection, now: int) -> int:
    gone = db.execute(
        "DELETE FROM parcel WHERE id IN"
        " (SELECT id FROM parcel WHERE expires <= ? AND origin IS NULL LIMIT ?)"
        " RETURNING size",
        (now, EXPIRY_BATCH),
    ).fetchall()
    _forget(db, gone)
    return len(gone)


def _forget(db: sqlite3.Connection, gone: Sequence[tuple[int]]) -> None:
    if gone:
        _count(db, -len(gone), -sum(size for (size,) in gone))


def _count(db: sqlite3.Connection, parcels: int, size: int) -> None:
    db.execute(
        "UPDATE counter SET parcels = parcels + ?, parcel_bytes = parcel_bytes + ?",
        (parcels, size),
    )
