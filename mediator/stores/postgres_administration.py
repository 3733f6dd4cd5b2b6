"""An operator's view of a PostgreSQL database, over a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import asyncpg

from mediator.errors import DatabaseError
from mediator.settings.places import PostgresUrl
from mediator.stores.administration import (
    AccountSummary,
    Admission,
    Closed,
    InvitationRecord,
    Rule,
    Totals,
)
from mediator.stores.digests import digest_of
from mediator.stores.postgres_database import LOST, check_here, connected, schema_version, words
from mediator.stores.versions import migrations


class PostgresAdministration:
    """An Administration; use as an async context manager.

    Raises: DatabaseError, on entry and in each call.
    """

    def __init__(self, place: PostgresUrl) -> None:
        self._place = place
        self._lock = asyncio.Lock()
        self._connection: Any = None
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> PostgresAdministration:
        async with self._lock:
            try:
                await self._connect()
                version = await schema_version(self._connection)
            except (*LOST, asyncpg.PostgresError, ValueError) as error:
                raise DatabaseError(self._place, words(error)) from error
        today = len(migrations("postgres"))
        if version != today:
            await self._resources.aclose()
            raise DatabaseError(
                self._place,
                f"it has schema {version}, this command {today}",
                "run `mediator run` of this version once; it brings the database up to date",
            )
        try:
            await check_here(self._connection, self._place)
        except DatabaseError:
            await self._resources.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._resources.aclose()

    async def check(self) -> None:
        await self._ask("SELECT count_up(0, 0, 0)")

    async def totals(self) -> Totals:
        [row] = await self._ask(_TOTALS)
        return Totals(*row)

    async def accounts(self, limit: int | None = None) -> list[AccountSummary]:
        return [AccountSummary(*row) for row in await self._ask(_ACCOUNTS, limit)]

    async def close_account(self, did: str) -> Closed | None:
        rows = await self._ask("SELECT * FROM close_account($1)", digest_of(did))
        return Closed(*rows[0]) if rows else None

    async def admission(self) -> Admission:
        [(is_open,)] = await self._ask("SELECT is_open FROM registration")
        rules = await self._ask("SELECT pattern, allow FROM rule ORDER BY pattern")
        return Admission(is_open, tuple(Rule(*row) for row in rules))

    async def set_open(self, is_open: bool) -> None:
        await self._ask("UPDATE registration SET is_open = $1", is_open)

    async def set_passes_on(self, passes_on: bool) -> None:
        await self._ask("UPDATE registration SET passes_on = $1", passes_on)

    async def set_rule(self, rule: Rule, now: int) -> None:
        await self._ask(
            "INSERT INTO rule VALUES ($1, $2, $3)"
            " ON CONFLICT (pattern) DO UPDATE SET allow = excluded.allow",
            rule.pattern,
            rule.allow,
            now,
        )

    async def remove_rule(self, pattern: str) -> bool:
        return bool(await self._ask("DELETE FROM rule WHERE pattern = $1 RETURNING 1", pattern))

    async def invitations(self) -> list[InvitationRecord]:
        return [InvitationRecord(*row) for row in await self._ask(_INVITATIONS)]

    async def add_invitation(self, invitation: InvitationRecord) -> None:
        await self._ask(
            "INSERT INTO invitation VALUES ($1, $2, $3, $4, $5)",
            invitation.id,
            invitation.created,
            invitation.expires,
            invitation.uses,
            invitation.note,
        )

    async def revoke_invitation(self, id_: str) -> bool:
        return bool(await self._ask("DELETE FROM invitation WHERE id = $1 RETURNING 1", id_))

    async def follow_invitation(self, id_: str, did: str, now: int) -> bool:
        [(followed,)] = await self._ask(
            "SELECT follow_invitation($1, $2, $3, $4)", id_, digest_of(did), did, now
        )
        return bool(followed)

    async def _ask(self, query: str, *arguments: Any) -> Sequence[Any]:
        """Once more, when the connection was lost: each query may be repeated."""
        async with self._lock:
            try:
                if self._connection.is_closed():
                    await self._connect()
                rows: Sequence[Any] = await self._connection.fetch(query, *arguments)
            except (*LOST, asyncpg.PostgresError) as error:
                raise DatabaseError(self._place, words(error)) from error
            return rows

    async def _connect(self) -> None:
        await self._resources.aclose()
        self._connection = await self._resources.enter_async_context(connected(self._place))


# The oldest of all is the one that expires first: the index has that without a scan.
_TOTALS = """
SELECT (SELECT count(*) FROM account), b.recipients, b.messages, b.bytes,
    (SELECT received FROM queue ORDER BY expires LIMIT 1), c.parcels, c.parcel_bytes, c.unknown,
    (SELECT passes_on FROM registration)
FROM (SELECT count(*) AS recipients, coalesce(sum(messages), 0)::bigint AS messages,
          coalesce(sum(bytes), 0)::bigint AS bytes FROM recipient) b,
     (SELECT coalesce(sum(parcels), 0)::bigint AS parcels,
          coalesce(sum(parcel_bytes), 0)::bigint AS parcel_bytes,
          coalesce(sum(unknown_recipient), 0)::bigint AS unknown FROM counter) c
"""
_ACCOUNTS = """
SELECT t.did, t.created, t.recipients, t.messages, t.bytes,
    (SELECT received FROM queue WHERE account = t.id ORDER BY id LIMIT 1)
FROM (SELECT a.id, a.did, a.created, count(r.id) AS recipients,
          coalesce(sum(r.messages), 0)::bigint AS messages,
          coalesce(sum(r.bytes), 0)::bigint AS bytes
      FROM account a LEFT JOIN recipient r ON r.account = a.id
      GROUP BY a.id ORDER BY messages DESC, a.id LIMIT $1::bigint) t
ORDER BY t.messages DESC, t.id
"""
_INVITATIONS = """
SELECT i.id, i.created, i.expires, i.uses, i.note,
    (SELECT count(*) FROM invited WHERE invitation = i.id)
FROM invitation i ORDER BY i.created, i.id
"""
