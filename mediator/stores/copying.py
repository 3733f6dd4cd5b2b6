"""A store copied into another, of the same kind or not, while mediators go on using it.

First comes what is there at one moment, while the store notes what is changed after it;
then what was changed, again and again, until little is left. For that rest the store
stands still, and afterwards it takes nothing more: whatever was accepted is in the copy,
and nothing is accepted that would not be. The target is one transaction until then.

Ids come along, so what clients hold of the old store (ids not yet acknowledged, their
place in live delivery) is good for the new one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from mediator.errors import MediatorError
from mediator.settings.places import Place, PostgresUrl
from mediator.stores.opening import driver_missing

FEW = 500  # changes for which the store may stand still
ROUNDS = 20  # of catching up, before it stands still for however many there are
CHUNK = 100  # rows in memory, each of up to 1 MiB


@dataclass(frozen=True)
class Table:
    """What both kinds can give and take."""

    name: str
    columns: Sequence[str]
    flags: Sequence[str] = ()  # columns that are true or false
    digests: Sequence[tuple[str, str]] = ()  # PostgreSQL's, and of which column
    key: str | None = None  # column by whose numbers changes are noted; None: copied at the end


TABLES = (
    Table("identity", ("did", "public_url", "invitation", "secrets", "used")),
    Table("account", ("id", "did", "created"), digests=[("digest", "did")], key="id"),
    Table(
        "recipient",
        ("id", "did", "account", "proven", "messages", "bytes"),
        flags=["proven"],
        digests=[("digest", "did")],
        key="id",
    ),
    Table("recipient_key", ("did", "recipient"), digests=[("key", "did")], key="recipient"),
    Table("rotation", ("did", "new", "issued"), digests=[("old", "did")]),
    Table(
        "queue",
        (
            *("account", "id", "recipient", "received", "expires", "size", "digest", "sender"),
            "envelope",
        ),
        key="id",
    ),
    Table(
        "parcel",
        (
            *("id", "target", "inbox", "due", "expires", "tries", "hops", "size", "digest"),
            *("sender", "origin", "envelope"),
        ),
        flags=["inbox"],
        digests=[("goal", "target")],
        key="id",
    ),
    Table("counter", ("unknown_recipient", "parcels", "parcel_bytes")),
    Table("registration", ("is_open", "passes_on"), flags=["is_open", "passes_on"]),
    Table("rule", ("pattern", "allow", "created"), flags=["allow"]),
    Table("invitation", ("id", "created", "expires", "uses", "note")),
    Table("invited", ("invitation", "did", "followed"), digests=[("name", "did")]),
    Table("acted_on", ("who", "proof", "until")),
)
# Of these the highest id that was ever given, so that none is given again.
NUMBERED = ("account", "recipient", "queue", "parcel")

BY_NAME: Mapping[str, Table] = {table.name: table for table in TABLES}
GROWING = tuple(table for table in TABLES if table.key)  # with the number of mailboxes or messages
SMALL = tuple(table for table in TABLES if not table.key)

Row = Sequence[Any]


@dataclass(frozen=True)
class Changes:
    """What was noted: each change has a number, and the key of a row of a growing table."""

    numbers: Sequence[int]
    keys: Mapping[str, Sequence[int]] = field(default_factory=dict)  # by table, none twice

    @classmethod
    def of(cls, noted: Iterable[tuple[int, str, int]]) -> Changes:
        keys: dict[str, dict[int, None]] = {table.name: {} for table in GROWING}
        numbers = []
        for number, name, key in noted:
            numbers.append(number)
            keys[name][key] = None
        return cls(numbers, {name: list(there) for name, there in keys.items()})


class Rows(Protocol):
    def rows(self, table: Table) -> AsyncIterator[Row]: ...

    async def last_ids(self) -> dict[str, int]: ...


class Source(Rows, Protocol):
    """A store that notes its changes from the start."""

    def moment(self) -> AbstractAsyncContextManager[None, bool | None]:
        """All that is read in the block is of one moment."""

    async def changes(self) -> Changes:
        """Those noted until the moment."""

    async def forget(self, changes: Changes) -> None: ...

    def rows_of(self, table: Table, keys: Sequence[int]) -> AsyncIterator[Row]: ...

    def still(self) -> AbstractAsyncContextManager[None, bool | None]:
        """In the block nobody changes anything; if it ends well nobody ever will."""


class Target(Protocol):
    async def write(self, table: Table, rows: AsyncIterator[Row]) -> None: ...

    async def put(self, table: Table, rows: AsyncIterator[Row]) -> None:
        """Write, in place of the rows that have the same id."""

    async def delete(self, table: Table, keys: Sequence[int]) -> None: ...

    async def set_aside(self, table: Table, keys: Sequence[int]) -> None:
        """Their DIDs are free for others, until they are put."""

    async def set_last_ids(self, last: dict[str, int]) -> None: ...

    async def count(self, table: Table) -> int: ...


async def copy_store(source: Place, target: Place) -> dict[str, int]:
    """How many rows of each table were copied; the source takes nothing more.

    Raises: DataFileError, DatabaseError; the target is then as it was, and the source goes on
    unless it was the very end that failed.
    """
    if source == target:
        raise MediatorError("a store is not copied into itself")
    async with (
        _kind(target).writing(target) as taker,
        _kind(source).reading(source, target) as giver,
    ):
        counts = await _copy(giver, taker)
    await _kind(source).moved(source)
    return counts


async def copy_into(target: Place, giver: Rows) -> dict[str, int]:
    """What `giver` has, which changes nothing meanwhile. Raises: DataFileError, DatabaseError."""
    async with _kind(target).writing(target) as taker:
        for table in TABLES:
            await taker.write(table, giver.rows(table))
        await taker.set_last_ids(await giver.last_ids())
        return await _counts(taker)


def _kind(place: Place) -> Any:
    """The module that reads and writes there."""
    if isinstance(place, Path):
        from mediator.stores import sqlite_copying

        return sqlite_copying
    return _of_postgres(place)


def _of_postgres(place: PostgresUrl) -> ModuleType:
    try:
        from mediator.stores import postgres_copying
    except ModuleNotFoundError as error:
        raise driver_missing(place) from error
    return postgres_copying


async def _copy(giver: Source, taker: Target) -> dict[str, int]:
    async with giver.moment():
        changes = await giver.changes()
        for table in GROWING:
            await taker.write(table, giver.rows(table))
    await giver.forget(changes)
    for _ in range(ROUNDS):
        async with giver.moment():
            changes = await giver.changes()
            await _catch_up(giver, taker, changes.keys)
        await giver.forget(changes)
        if len(changes.numbers) <= FEW:
            break
    async with giver.still():
        await _catch_up(giver, taker, (await giver.changes()).keys)
        for table in SMALL:
            await taker.write(table, giver.rows(table))
        await taker.set_last_ids(await giver.last_ids())
    return await _counts(taker)


async def _counts(taker: Target) -> dict[str, int]:
    return {table.name: await taker.count(table) for table in TABLES}


async def _catch_up(giver: Source, taker: Target, keys: Mapping[str, Sequence[int]]) -> None:
    """Rows of these keys become what they are now.

    Rows go before those they refer to and come after them, and a DID is free before another
    row takes it; otherwise the target would refuse, or delete more.
    """
    for name in ("queue", "parcel", "recipient_key"):
        await taker.delete(BY_NAME[name], keys[name])
    accounts, recipients = BY_NAME["account"], BY_NAME["recipient"]
    await taker.delete(recipients, await _gone(giver, recipients, keys["recipient"]))
    await taker.set_aside(recipients, keys["recipient"])
    await taker.set_aside(accounts, keys["account"])
    for table in (accounts, recipients):
        await taker.put(table, giver.rows_of(table, keys[table.name]))
    await taker.delete(accounts, await _gone(giver, accounts, keys["account"]))
    for name in ("recipient_key", "queue", "parcel"):
        await taker.write(BY_NAME[name], giver.rows_of(BY_NAME[name], keys[name]))


async def _gone(giver: Source, table: Table, keys: Sequence[int]) -> list[int]:
    there = {row[0] async for row in giver.rows_of(table, keys)}
    return [key for key in keys if key not in there]


def chunks(keys: Sequence[int]) -> Iterable[Sequence[int]]:
    return (keys[start : start + CHUNK] for start in range(0, len(keys), CHUNK))
