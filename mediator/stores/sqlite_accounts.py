"""Accounts and the DIDs they take mail for, in the SQLite file.

What changes something is one operation of a grouped commit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from mediator.stores.digests import digest_of
from mediator.stores.interface import MAX_ACTED_ON, Change, TooManyRecipients


def find_account(db: sqlite3.Connection, did: str) -> int | None:
    row = db.execute("SELECT id FROM account WHERE digest = ?", (digest_of(did),)).fetchone()
    return None if row is None else int(row[0])


def find_recipient(db: sqlite3.Connection, did: str) -> tuple[int, int, int, str] | None:
    """Its id, messages, bytes and account; by its DID, or by a key that its DID has."""
    row = db.execute(
        "SELECT r.id, s.messages, s.bytes, a.did FROM recipient r JOIN account a"
        " ON a.id = r.account JOIN sums s ON s.recipient = r.id WHERE r.digest = ?",
        (digest_of(did),),
    ).fetchone()
    if row is None and did.startswith("did:key:"):
        row = db.execute(
            "SELECT r.id, s.messages, s.bytes, a.did FROM recipient_key k JOIN recipient r"
            " ON r.id = k.recipient JOIN account a ON a.id = r.account"
            " JOIN sums s ON s.recipient = r.id WHERE k.key = ?"
            " ORDER BY r.proven DESC, r.id LIMIT 1",
            (did,),
        ).fetchone()
    found: tuple[int, int, int, str] | None = row
    return found


def open_account(db: sqlite3.Connection, did: str, now: int) -> None:
    name = digest_of(did)
    db.execute(
        "INSERT OR IGNORE INTO account (digest, did, created) VALUES (?, ?, ?)", (name, did, now)
    )
    db.execute(
        "UPDATE recipient SET account = (SELECT id FROM account WHERE digest = ?1), proven = 1"
        " WHERE digest = ?1 AND proven = 0",
        (name,),
    )


def rotate(db: sqlite3.Connection, old: str, new: str, issued: int) -> bool:
    account = find_account(db, old)
    last = db.execute("SELECT issued FROM rotation WHERE old = ?", (old,)).fetchone()
    if account is None or (last is not None and issued <= last[0]):
        return False
    db.execute("INSERT OR REPLACE INTO rotation VALUES (?, ?, ?)", (old, new, issued))
    there = find_account(db, new)
    if there is None:
        db.execute(
            "UPDATE account SET digest = ?, did = ? WHERE id = ?", (digest_of(new), new, account)
        )
    else:
        db.execute("UPDATE recipient SET account = ? WHERE account = ?", (there, account))
        db.execute("DELETE FROM account WHERE id = ?", (account,))
    db.execute(
        "UPDATE recipient SET account = ?, proven = 1 WHERE digest = ? AND proven = 0",
        (account if there is None else there, digest_of(new)),
    )
    return True


def bind(
    db: sqlite3.Connection,
    account: str,
    did: str,
    proven: bool,
    limit: int,
    keys: Sequence[str],
) -> Change:
    owner = find_account(db, account)
    if owner is None:
        return Change.CLIENT_ERROR
    name = digest_of(did)
    row = db.execute("SELECT account, proven FROM recipient WHERE digest = ?", (name,)).fetchone()
    if row is None:
        (bound,) = db.execute(
            "SELECT count(*) FROM recipient WHERE account = ?", (owner,)
        ).fetchone()
        if bound >= limit:
            raise TooManyRecipients(bound)
        id_ = db.execute(
            "INSERT INTO recipient (digest, did, account, proven) VALUES (?, ?, ?, ?)",
            (name, did, owner, proven),
        ).lastrowid
        db.executemany(
            "INSERT OR IGNORE INTO recipient_key VALUES (?, ?)", [(key, id_) for key in keys]
        )
        return Change.SUCCESS
    if row[0] != owner and not proven:
        return Change.CLIENT_ERROR
    if proven:
        db.execute("UPDATE recipient SET account = ?, proven = 1 WHERE digest = ?", (owner, name))
    return Change.NO_CHANGE if row[0] == owner else Change.SUCCESS


def unbind(db: sqlite3.Connection, account: str, did: str) -> Change:
    deleted = db.execute(
        "DELETE FROM recipient WHERE digest = ?"
        " AND account = (SELECT id FROM account WHERE digest = ?)",
        (digest_of(did), digest_of(account)),
    ).rowcount
    return Change.SUCCESS if deleted else Change.NO_CHANGE


def act_once(db: sqlite3.Connection, who: bytes, proof: bytes, until: int) -> bool:
    new = db.execute(
        "INSERT OR IGNORE INTO acted_on VALUES (?, ?, ?)", (who, proof, until)
    ).rowcount
    db.execute(
        "DELETE FROM acted_on WHERE who = ?1 AND proof IN (SELECT proof FROM acted_on"
        " WHERE who = ?1 ORDER BY until DESC, proof LIMIT -1 OFFSET ?2)",
        (who, MAX_ACTED_ON),
    )
    return bool(new)
