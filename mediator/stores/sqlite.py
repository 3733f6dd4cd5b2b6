"""The store in one SQLite file; the statements that change it are in the modules beside.

One process uses a file (a lock says so), with two connections: one writes, in
grouped commits, and one reads what is committed. Anyone else may read along.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from mediator.settings.config import Limits
from mediator.stores import sqlite_accounts as accounts
from mediator.stores import sqlite_parcels as parcels
from mediator.stores import sqlite_queue as queue
from mediator.stores.commits import GroupCommit
from mediator.stores.digests import digest, digest_of
from mediator.stores.interface import (
    Change,
    IdentityRecord,
    Parcel,
    Queued,
    Waiting,
    Wake,
)
from mediator.stores.sqlite_file import connect, identities, locked, prepare


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
        await self._commits.run(lambda db: accounts.open_account(db, did, now))

    async def has_account(self, did: str) -> bool:
        return accounts.find_account(self._reader, did) is not None

    async def rotate(self, old: str, new: str, *, issued: int) -> bool:
        return await self._commits.run(lambda db: accounts.rotate(db, old, new, issued))

    async def bind(
        self, account: str, did: str, *, proven: bool, keys: Sequence[str] = ()
    ) -> Change:
        limit = self._limits.recipients
        return await self._commits.run(
            lambda db: accounts.bind(db, account, did, proven, limit, keys)
        )

    async def unbind(self, account: str, did: str) -> Change:
        return await self._commits.run(lambda db: accounts.unbind(db, account, did))

    async def bound(self, account: str) -> list[str]:
        rows = self._reader.execute(
            "SELECT did FROM recipient WHERE account = (SELECT id FROM account WHERE digest = ?)"
            " ORDER BY id",
            (digest_of(account),),
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
        letters = [queue.Letter(envelope) for envelope in envelopes]
        sender_digest = _digest_of(sender)
        return await self._commits.run(
            lambda db: queue.enqueue(
                db, recipient, letters, sender_digest, expires, now, self._limits
            )
        )

    async def waiting(self, account: str, *, now: int, recipient: str | None = None) -> Waiting:
        row = self._reader.execute(
            "SELECT count(*), coalesce(sum(q.size), 0), min(q.received), max(q.received),"
            " (SELECT coalesce(max(id), 0) FROM queue)"
            " FROM recipient r CROSS JOIN waiting q ON q.recipient = r.id"
            " WHERE r.account = (SELECT id FROM account WHERE digest = ?1)"
            " AND (?2 IS NULL OR r.digest = ?2) AND q.expires > ?3",
            (digest_of(account), _digest_of(recipient), now),
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
            "SELECT q.id, q.size FROM recipient r CROSS JOIN waiting q ON q.recipient = r.id"
            " WHERE r.account = (SELECT id FROM account WHERE digest = ?1)"
            " AND (?2 IS NULL OR r.digest = ?2) AND q.id > ?3 AND q.expires > ?4"
            " ORDER BY q.id LIMIT ?5",
            (digest_of(account), _digest_of(recipient), after, now, limit),
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
            await self._commits.run(lambda db: queue.acknowledge(db, account, ids))

    async def expire(self, now: int) -> int:
        (due,) = self._reader.execute(
            "SELECT EXISTS (SELECT 1 FROM queue WHERE expires <= ?)", (now,)
        ).fetchone()
        gone = await self._commits.run(lambda db: queue.expire(db, now)) if due else 0
        (due,) = self._reader.execute(
            "SELECT EXISTS (SELECT 1 FROM parcel WHERE expires <= ? AND origin IS NULL)", (now,)
        ).fetchone()
        gone += await self._commits.run(lambda db: parcels.expire(db, now)) if due else 0
        (due,) = self._reader.execute(
            "SELECT EXISTS (SELECT 1 FROM acted_on WHERE until <= ?)", (now,)
        ).fetchone()
        if due:
            await self._commits.run(
                lambda db: db.execute("DELETE FROM acted_on WHERE until <= ?", (now,))
            )
        return gone

    async def act_once(self, who: str, proof: bytes, *, until: int) -> bool:
        row = (digest_of(who), digest(proof), until)
        return await self._commits.run(lambda db: accounts.act_once(db, *row))

    async def is_bound(self, did: str) -> bool:
        return accounts.find_recipient(self._reader, did) is not None

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
        origin: str | None = None,
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
                sender=_digest_of(sender),
                origin=origin,
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
        return await self._commits.run(lambda db: queue.deliver(db, id_, now, self._limits))

    async def next_parcel(self) -> int | None:
        row = self._reader.execute("SELECT due FROM parcel ORDER BY due LIMIT 1").fetchone()
        return None if row is None else int(row[0])


def _digest_of(did: str | None) -> bytes | None:
    return None if did is None else digest_of(did)


def _fitting(rows: Sequence[tuple[int, int]], max_bytes: int) -> Iterator[int]:
    total = 0
    for number, (id_, size) in enumerate(rows):
        total += size
        if number and total > max_bytes:
            return
        yield id_
