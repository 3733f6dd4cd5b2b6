"""`mediator migrate` while mail comes in and is fetched: in the copy is what was accepted."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from mediator.errors import DataFileError, MediatorError
from mediator.settings.config import Limits
from mediator.settings.places import Place, PostgresUrl
from mediator.stores import copying, postgres_copying, postgres_database
from mediator.stores.copying import copy_store
from mediator.stores.interface import Store, StoreUnavailable
from mediator.stores.opening import open_administration, open_store
from tests.support.mediator_client import Party
from tests.support.mediator_process import facts, folder, free_port, process, run_argv
from tests.support.postgres import Cluster
from tests.support.stores import ALICE, BOB, CAROL, NOW, fetched, post

ROOMY = Limits(inbox_messages=99_999, sender_messages=99_999)
BOXES = [f"did:example:{number}" for number in range(6)]
NO_LIMITS = [
    word
    for name in ("address", "pair", "account")
    for kind in ("rate", "burst")
    for word in (f"--limits-{name}-{kind}", "1000000")
]
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"
KINDS = {
    "file to database": ("file", "database"),
    "database to file": ("database", "file"),
    "file to file": ("file", "file"),
    "database to database": ("database", "database"),
}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
async def places(
    request: pytest.FixtureRequest, postgres: Cluster, tmp_path: Path
) -> tuple[Place, Place]:
    source, target = request.param
    return (
        PostgresUrl(postgres.database()) if source == "database" else tmp_path / "old.db",
        PostgresUrl(postgres.database()) if target == "database" else tmp_path / "new.db",
    )


@pytest.mark.slow
async def test_what_is_accepted_during_the_copy_is_in_it_once_and_in_order(
    places: tuple[Place, Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "FEW", 5)
    source, target = places
    async with open_store(source, ROOMY) as store, open_administration(source) as office:
        await _begin(store)
        traffic = [asyncio.create_task(_use(store, box)) for box in BOXES]
        changing = asyncio.create_task(_change_accounts(store))
        await asyncio.sleep(0.3)
        async with asyncio.timeout(60):
            await asyncio.to_thread(asyncio.run, copy_store(source, target))
            outcomes = await asyncio.gather(*traffic)
            last = await changing
        with pytest.raises(StoreUnavailable, match="moved"):
            await post(store, b"too late", to=BOXES[0])
        with pytest.raises(MediatorError, match="has moved to"):
            await office.check()
    async with open_store(target, ROOMY) as store:
        for box, (accepted, acknowledged) in zip(BOXES, outcomes, strict=True):
            waiting = [int(envelope) for envelope in await _all(store, box)]
            assert accepted
            assert acknowledged
            assert waiting == accepted[len(acknowledged) :]
            counted = await store.waiting(box, now=NOW)
            assert (counted.messages, counted.bytes) == await _sums(target, box)
        assert await store.has_account(f"did:example:rotated-{last}")
        assert not await store.has_account(f"did:example:rotated-{last - 1}")


@pytest.mark.slow
async def test_what_moves_between_accounts_during_the_copy_is_there_as_it_is_now(
    places: tuple[Place, Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DIDs that change hands, accounts that become one, are closed and opened again."""
    source, target = places
    async with open_store(source, ROOMY) as store:
        for did in (ALICE, BOB, CAROL):
            await store.open_account(did, NOW)
            await store.bind(did, did, proven=True, keys=[f"did:key:{did[-3:]}"])
            await post(store, did.encode(), to=did)
        await store.bind(ALICE, "did:example:passed-on", proven=False)
        await post(store, b"to whoever has it", to="did:example:passed-on")
        await store.open_account("did:example:closed", NOW)
        await store.bind("did:example:closed", "did:example:of-closed", proven=True)
        await post(store, b"goes", to="did:example:of-closed")

        async def meanwhile() -> None:
            await store.rotate(ALICE, "did:example:alice-2", issued=1)
            await store.rotate(BOB, ALICE, issued=1)
            await store.rotate(CAROL, ALICE, issued=1)
            await store.bind("did:example:alice-2", "did:example:passed-on", proven=False)
            await store.bind(ALICE, "did:example:passed-on", proven=True)
            await store.unbind(ALICE, BOB)
            await store.open_account(BOB, NOW)
            await store.bind(BOB, BOB, proven=True)
            async with open_administration(source) as office:
                await office.close_account("did:example:closed")
            await store.add_parcels("https://there", [b"p"], inbox=False, due=7, expires=NOW + 9)

        _after_the_first_moment(monkeypatch, meanwhile)
        await copy_store(source, target)
    async with open_store(target, ROOMY) as store:
        assert await store.bound("did:example:alice-2") == [ALICE]
        assert await store.bound(ALICE) == [CAROL, "did:example:passed-on"]
        assert await store.bound(BOB) == [BOB]
        assert await fetched(store, ALICE) == [CAROL.encode(), b"to whoever has it"]
        assert await fetched(store, "did:example:alice-2") == [ALICE.encode()]
        assert await fetched(store, BOB) == []
        assert not await store.has_account("did:example:closed")
        assert not await store.is_bound("did:example:of-closed")
        assert [await store.is_bound(f"did:key:{d[-3:]}") for d in (ALICE, BOB, CAROL)] == [
            True,
            False,
            True,
        ]
        assert await store.next_parcel() == 7


@pytest.mark.slow
async def test_a_store_that_moved_is_neither_run_on_nor_copied_again(
    places: tuple[Place, Place], tmp_path: Path
) -> None:
    source, target = places
    async with open_store(source, ROOMY) as store:
        await _begin(store)
    await copy_store(source, target)
    with pytest.raises(MediatorError, match="has moved to"):
        async with open_store(source, ROOMY):
            pass
    with pytest.raises(MediatorError, match="has moved to"):
        await copy_store(source, tmp_path / "another.db")
    with pytest.raises(MediatorError, match="has moved to"):
        async with open_administration(source):
            pass


@pytest.mark.slow
async def test_a_copy_that_breaks_off_at_its_end_is_run_again(
    places: tuple[Place, Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = places
    async with open_store(source, ROOMY) as store:
        await _begin(store)
        await post(store, b"1", to=BOXES[0])

    async def broken(_: object) -> dict[str, int]:
        raise MediatorError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(copying, "_counts", broken)
        with pytest.raises(MediatorError, match="the disk is full"):
            await copy_store(source, target)
    with pytest.raises(MediatorError, match="broke off"):
        async with open_store(source, ROOMY):
            pass
    await copy_store(source, target)
    async with open_store(target, ROOMY) as store:
        assert await fetched(store, BOXES[0]) == [b"1"]


@pytest.mark.slow
async def test_a_copy_that_breaks_off_before_leaves_nothing_in_the_source(
    places: tuple[Place, Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = places
    async with open_store(source, ROOMY) as store:
        await _begin(store)

        async def broken() -> None:
            raise MediatorError("the line is cut")

        with monkeypatch.context() as patched:
            _after_the_first_moment(patched, broken)
            with pytest.raises(MediatorError, match="the line is cut"):
                await copy_store(source, target)
        assert await post(store, b"goes on", to=BOXES[0]) == BOXES[0]
    assert not await _is_noting(source)


@pytest.mark.slow
async def test_mediators_go_on_until_the_copy_is_done_and_their_clients_miss_nothing(
    postgres: Cluster,
) -> None:
    """There and back, by commands, with a sender and a recipient who never stop."""
    with folder() as path:
        first, database, back = path / "old.db", postgres.database(), path / "new.db"
        port = free_port()
        accepted: list[int] = []
        seen: list[int] = []
        stop = asyncio.Event()
        using: list[asyncio.Task[None]] = []
        async with aiohttp.ClientSession() as http:
            for source, target in ((first, database), (database, back), (back, None)):
                with process([*run_argv(source, port), *NO_LIMITS]) as running:
                    did = facts(running)["did"]
                    if not using:
                        url = f"http://127.0.0.1:{port}"
                        alice, sender = Party(http, did, url), Party(http, did, url)
                        await alice.register()
                        using = [
                            asyncio.create_task(_send(sender, alice.did, accepted, stop)),
                            asyncio.create_task(_fetch(alice, seen, stop)),
                        ]
                    before = len(accepted)
                    await _until(lambda before=before: len(accepted) > before + 20)  # type: ignore[misc]
                    if target is not None:
                        with process(["mediator", "migrate", str(source), str(target)]) as copying:
                            assert await asyncio.to_thread(copying.wait, 60) == 0
            stop.set()
            await asyncio.gather(*using)
    in_order = list(dict.fromkeys(seen))
    assert in_order == accepted[: len(in_order)]
    assert len(in_order) > 40


async def test_what_a_killed_copy_left_goes_when_a_mediator_starts(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    async with open_store(path, ROOMY) as store:
        await _begin(store)
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE noted (number INTEGER PRIMARY KEY, name, key)")
        db.execute(
            "CREATE TRIGGER noted_queue_INSERT AFTER INSERT ON queue"
            " BEGIN INSERT INTO noted (name, key) VALUES ('queue', NEW.id); END"
        )
    async with open_store(path, ROOMY) as store:
        assert await post(store, b"1", to=BOXES[0]) == BOXES[0]
    assert not await _is_noting(path)


@pytest.mark.parametrize(
    ("held", "wanted"), [("account", "parcel"), ("parcel", "account")], ids=["first", "last"]
)
async def test_the_end_of_a_copy_goes_through_whatever_mediators_hold_and_want(
    postgres: Cluster, held: str, wanted: str
) -> None:
    """It locks all tables, one after the other; the database breaks off who waits in a circle."""
    place = PostgresUrl(postgres.database())
    async with (
        open_store(place, ROOMY),
        postgres_database.connected(place) as copying,
        postgres_database.connected(place) as using,
    ):
        await postgres_copying._note(copying)
        with suppress(asyncpg.DeadlockDetectedError):  # it, which tries again, or we
            async with using.transaction():
                await using.execute(f"LOCK TABLE {held} IN ROW EXCLUSIVE MODE")
                ending = asyncio.create_task(postgres_database.stop_noting(copying))
                async with asyncio.timeout(30):
                    while not await using.fetchval(
                        "SELECT count(*) FROM pg_locks WHERE NOT granted"
                    ):
                        await asyncio.sleep(0.02)
                await using.execute(f"LOCK TABLE {wanted} IN ROW EXCLUSIVE MODE")
        await ending
        assert not await _is_noting(place)


async def test_a_file_that_is_not_there_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="no such file"):
        await copy_store(tmp_path / "old.db", tmp_path / "new.db")
    assert list(tmp_path.iterdir()) == []


async def _begin(store: Store) -> None:
    for box in BOXES:
        await store.open_account(box, NOW)
        await store.bind(box, box, proven=True)


async def _use(store: Store, box: str) -> tuple[list[int], list[int]]:
    """Accepted and acknowledged numbers, until the store takes nothing more."""
    accepted: list[int] = []
    acknowledged: list[int] = []
    with suppress(StoreUnavailable):
        for number in itertools.count():
            await post(store, b"%d" % number, to=box)
            accepted.append(number)
            if number % 3 == 2:
                first = (await store.fetch(box, now=NOW, limit=2, max_bytes=9_999))[:2]
                await store.acknowledge(box, [message.id for message in first])
                acknowledged += [int(message.envelope) for message in first]
            await asyncio.sleep(0.002)
    return accepted, acknowledged


async def _change_accounts(store: Store) -> int:
    """An account that is known by a new DID each time; the number of the last."""
    await store.open_account("did:example:rotated-0", NOW)
    last = 0
    with suppress(StoreUnavailable):
        for number in itertools.count(1):
            old, new = (f"did:example:rotated-{n}" for n in (number - 1, number))
            assert await store.rotate(old, new, issued=number)
            last = number
            await asyncio.sleep(0.005)
    return last


async def _all(store: Store, box: str) -> list[bytes]:
    return [
        message.envelope
        for message in await store.fetch(box, now=NOW, limit=99_999, max_bytes=9_999_999)
    ]


async def _sums(place: Place, box: str) -> tuple[int, int]:
    async with open_administration(place) as office:
        [found] = [one for one in await office.accounts() if one.did == box]
        return found.messages, found.bytes


async def _is_noting(place: Place) -> bool:
    if isinstance(place, Path):
        with sqlite3.connect(place) as db:
            names = db.execute("SELECT name FROM sqlite_master WHERE name GLOB 'noted*'")
            return bool(names.fetchall())
    async with postgres_database.connected(place) as connection:
        return bool(
            await connection.fetchval(
                "SELECT count(*) FROM pg_trigger WHERE tgname = 'noted'"
                " OR to_regclass('mediator.noted') IS NOT NULL"
            )
        )


async def _send(sender: Party, to: str, accepted: list[int], stop: asyncio.Event) -> None:
    """Each number until it is accepted; then the next."""
    for number in itertools.count():
        envelope = await sender.sealed_forward(to, {"n": number})
        while not stop.is_set():
            with suppress(aiohttp.ClientError):
                if (await sender.post(envelope)).status == 200:
                    accepted.append(number)
                    break
            await asyncio.sleep(0.05)
        if stop.is_set():
            return


async def _fetch(alice: Party, seen: list[int], stop: asyncio.Event) -> None:
    while not stop.is_set():
        with suppress(aiohttp.ClientError, TypeError, AssertionError):
            messages = await alice.fetch()
            seen.extend(message.json["n"] for message in messages)
            await alice.acknowledge([message.id for message in messages])
        await asyncio.sleep(0.02)


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.02)


def _after_the_first_moment(monkeypatch: pytest.MonkeyPatch, act: object) -> None:
    copy = copying._copy

    async def patched(giver: copying.Source, taker: copying.Target) -> dict[str, int]:
        first = True
        moment = giver.moment

        @asynccontextmanager
        async def once_more() -> AsyncIterator[None]:
            nonlocal first
            async with moment():
                yield
            if first:
                first = False
                await act()  # type: ignore[operator]

        giver.moment = once_more  # type: ignore[method-assign]
        return await copy(giver, taker)

    monkeypatch.setattr(copying, "_copy", patched)
