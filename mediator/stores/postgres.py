"""The store in PostgreSQL, which any number of mediator processes share.

What must be decided and changed in one step is a function of the database
(`migrations/postgres`), called in one round trip; reads are single statements, so
each sees one moment.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence

from mediator.settings.config import Limits
from mediator.settings.places import PostgresUrl
from mediator.stores.digests import digest, digest_of
from mediator.stores.forward_groups import Forwarded, ForwardGroups
from mediator.stores.interface import (
    MAX_ACTED_ON,
    MAX_PARCEL_BYTES,
    MAX_PARCELS,
    Change,
    IdentityRecord,
    InboxFull,
    OutgoingFull,
    Parcel,
    Queued,
    SenderLimit,
    TooManyRecipients,
    Waiting,
    Wake,
)
from mediator.stores.postgres_database import IDENTITIES, Database, identities

EXPIRY_BATCH = 500

ACCOUNT = "(SELECT id FROM account WHERE digest = $1)"
# $2 is no digest when all recipients of the account are meant.
OF_RECIPIENT = "($2::bytea IS NULL OR recipient = (SELECT id FROM recipient WHERE digest = $2))"


class PostgresStore:
    """A Store; use as an async context manager.

    Raises: DatabaseError if the database cannot be used, on entry.
    """

    def __init__(self, place: PostgresUrl, limits: Limits) -> None:
        self._limits = limits
        self._database = Database(place)
        self._forwards = ForwardGroups(self._write)

    async def __aenter__(self) -> PostgresStore:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._database)
            await stack.enter_async_context(self._forwards)
            self._resources = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._resources.aclose()

    async def identities(self) -> list[IdentityRecord]:
        return identities(await self._database.call(IDENTITIES))

    async def use_identity(self, record: IdentityRecord, now: int) -> IdentityRecord:
        [used] = await self._database.call(
            "INSERT INTO identity AS i (did, public_url, invitation, secrets, used)"
            " VALUES ($1, $2, $3, $4, $5)"
            " ON CONFLICT (public_url) DO UPDATE SET used = excluded.used, secrets ="
            " CASE WHEN i.did = excluded.did AND length(i.secrets) < length(excluded.secrets)"
            " THEN excluded.secrets ELSE i.secrets END"
            " RETURNING did, public_url, invitation, secrets",
            record.did,
            record.public_url,
            record.invitation,
            record.secrets,
            now,
        )
        return IdentityRecord(*used)

    def listening(self, wake: Wake) -> contextlib.AbstractAsyncContextManager[None]:
        return self._database.listening(wake)

    async def open_account(self, did: str, now: int) -> None:
        await self._database.call("SELECT open_account($1, $2, $3)", digest_of(did), did, now)

    async def has_account(self, did: str) -> bool:
        rows = await self._database.call("SELECT FROM account WHERE digest = $1", digest_of(did))
        return bool(rows)

    async def rotate(self, old: str, new: str, *, issued: int) -> bool:
        [(moved,)] = await self._database.call(
            "SELECT rotate($1, $2, $3, $4, $5)", digest_of(old), old, digest_of(new), new, issued
        )
        return bool(moved)

    async def bind(
        self, account: str, did: str, *, proven: bool, keys: Sequence[str] = ()
    ) -> Change:
        [(change, bound)] = await self._database.call(
            "SELECT * FROM bind($1, $2, $3, $4, $5, $6, $7)",
            digest_of(account),
            digest_of(did),
            did,
            proven,
            [digest_of(key) for key in keys],
            list(keys),
            self._limits.recipients,
        )
        if change == "full":
            raise TooManyRecipients(bound)
        return Change(change)

    async def unbind(self, account: str, did: str) -> Change:
        [(deleted,)] = await self._database.call(
            "SELECT unbind($1, $2)", digest_of(account), digest_of(did)
        )
        return Change.SUCCESS if deleted else Change.NO_CHANGE

    async def bound(self, account: str) -> list[str]:
        rows = await self._database.call(
            f"SELECT did FROM recipient WHERE account = {ACCOUNT} ORDER BY id",  # noqa: S608
            digest_of(account),
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
        outcome, told, messages, size = await self._forwards.run(
            Forwarded(
                digest_of(recipient),
                envelopes,
                [digest(envelope) for envelope in envelopes],
                None if sender is None else digest_of(sender),
                expires,
                now,
            )
        )
        return _told(outcome, told, messages, size)

    async def waiting(self, account: str, *, now: int, recipient: str | None = None) -> Waiting:
        [row] = await self._database.call(
            "SELECT count(*), coalesce(sum(size), 0), min(received), max(received),"  # noqa: S608
            f" coalesce(max(id), 0) FROM queue WHERE account = {ACCOUNT}"
            f" AND {OF_RECIPIENT} AND expires > $3",
            digest_of(account),
            None if recipient is None else digest_of(recipient),
            now,
        )
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
        rows = await self._database.call(
            "SELECT id, envelope FROM (SELECT id, envelope,"  # noqa: S608
            " row_number() OVER in_order AS number, sum(size) OVER in_order AS total"
            f" FROM (SELECT id, envelope, size FROM queue WHERE account = {ACCOUNT}"
            f" AND {OF_RECIPIENT} AND expires > $3 AND id > $4 ORDER BY id LIMIT $5) AS first"
            " WINDOW in_order AS (ORDER BY id)) AS summed"
            " WHERE number = 1 OR total <= $6 ORDER BY id",
            digest_of(account),
            None if recipient is None else digest_of(recipient),
            now,
            after,
            limit,
            max_bytes,
        )
        return [Queued(id_, envelope) for id_, envelope in rows]

    async def acknowledge(self, account: str, ids: Sequence[int]) -> None:
        if ids:
            await self._database.call("SELECT acknowledge($1, $2)", digest_of(account), list(ids))

    async def expire(self, now: int) -> int:
        [(gone,)] = await self._database.call("SELECT expire($1, $2)", now, EXPIRY_BATCH)
        [(parcels,)] = await self._database.call("SELECT expire_parcels($1, $2)", now, EXPIRY_BATCH)
        await self._database.call("DELETE FROM acted_on WHERE until <= $1", now)
        return int(gone + parcels)

    async def act_once(self, who: str, proof: bytes, *, until: int) -> bool:
        [(new,)] = await self._database.call(
            "SELECT act_once($1, $2, $3, $4, $5)",
            digest_of(who),
            digest(proof),
            until,
            secrets.token_bytes(8),
            MAX_ACTED_ON,
        )
        return bool(new)

    async def is_bound(self, did: str) -> bool:
        return bool(await self._database.call("SELECT FROM find_recipient($1)", digest_of(did)))

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
        [(kept, there)] = await self._database.call(
            "SELECT * FROM"
            " add_parcels($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
            target,
            digest_of(target),
            inbox,
            due,
            expires,
            hops,
            None if sender is None else digest_of(sender),
            origin,
            list(envelopes),
            [digest(envelope) for envelope in envelopes],
            MAX_PARCELS,
            MAX_PARCEL_BYTES,
            self._limits.inbox_messages,
            self._limits.inbox_bytes,
        )
        if not kept:
            raise OutgoingFull(there)

    async def take_parcels(self, now: int, *, until: int, limit: int) -> list[Parcel]:
        rows = await self._database.call(
            "UPDATE parcel SET due = $1 WHERE id IN (SELECT id FROM parcel"
            " WHERE due <= $2 ORDER BY due, id LIMIT $3 FOR UPDATE SKIP LOCKED)"
            " RETURNING id, target, inbox, envelope, tries, expires, hops, origin",
            until,
            now,
            limit,
        )
        return sorted((Parcel(*row) for row in rows), key=lambda parcel: parcel.id)

    async def put_off_parcels(self, ids: Sequence[int], due: int, *, tried: bool) -> None:
        await self._database.call(
            "UPDATE parcel SET due = $1, tries = tries + $2 WHERE id = ANY ($3)",
            due,
            int(tried),
            list(ids),
        )

    async def drop_parcels(self, ids: Sequence[int]) -> None:
        await self._database.call("SELECT drop_parcels($1)", list(ids))

    async def deliver_parcel(self, id_: int, now: int) -> str | None:
        rows = await self._database.call(
            "SELECT * FROM deliver_parcel($1, $2, $3, $4, $5)",
            id_,
            now,
            self._limits.inbox_messages,
            self._limits.inbox_bytes,
            self._limits.sender_messages,
        )
        return _told(*rows[0]) if rows else None

    async def next_parcel(self) -> int | None:
        [(due,)] = await self._database.call("SELECT min(due) FROM parcel")
        return None if due is None else int(due)

    async def _write(self, group: Sequence[Forwarded]) -> Sequence[object]:
        return await self._database.call(
            "SELECT * FROM enqueue($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            [one.recipient for one in group],
            [len(one.envelopes) for one in group],
            [one.sender for one in group],
            [one.expires for one in group],
            [envelope for one in group for envelope in one.envelopes],
            [digest for one in group for digest in one.digests],
            max(one.now for one in group),
            self._limits.inbox_messages,
            self._limits.inbox_bytes,
            self._limits.sender_messages,
        )


def _told(outcome: str, told: str | None, messages: int, size: int) -> str | None:
    if outcome == "inbox full":
        raise InboxFull(messages, size)
    if outcome == "sender limit":
        raise SenderLimit(messages)
    return told
