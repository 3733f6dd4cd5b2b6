"""What a file keeps of its mailboxes beside their queue, and what it should keep."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

Mailboxes = tuple[list[Any], Any]  # rows of all mailboxes, and the sums of all


def mailboxes(path: Path) -> Mailboxes:
    return _read(
        path,
        "SELECT recipient, kind, key, number, size, expires, received FROM mailbox"
        " ORDER BY recipient, kind, key",
        "SELECT messages, bytes FROM counter",
    )


def what_follows_from_the_queue(path: Path) -> Mailboxes:
    return _read(
        path,
        """
        SELECT id, 0, 0, (SELECT count(*) FROM queue WHERE recipient = r.id),
            (SELECT coalesce(sum(size), 0) FROM queue WHERE recipient = r.id), NULL, NULL
            FROM recipient r
        UNION ALL SELECT recipient, 1, id, id, size, expires, received FROM queue
        UNION ALL SELECT recipient, 2, digest, id, NULL, NULL, NULL FROM queue
        UNION ALL SELECT recipient, 3, sender, count(*), NULL, NULL, NULL FROM queue
            WHERE sender NOT NULL GROUP BY recipient, sender
        ORDER BY 1, 2, 3
        """,
        "SELECT count(*), coalesce(sum(size), 0) FROM queue",
    )


def _read(path: Path, rows: str, sums: str) -> Mailboxes:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(rows).fetchall(), db.execute(sums).fetchone()
