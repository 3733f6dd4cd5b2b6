"""What every store promises, over each kind of store."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from mediator.settings.config import Limits
from mediator.settings.places import Place, PostgresUrl
from mediator.stores.interface import (
    Change,
    IdentityRecord,
    InboxFull,
    OutgoingFull,
    SenderLimit,
    Store,
    TooManyRecipients,
)
from mediator.stores.opening import open_store, read_identities
from tests.support.postgres import Cluster
from tests.support.stores import ALICE, BOB, CAROL, LIMITS, NOW, fetched, post


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return tmp_path / "mediator.db"
    cluster: Cluster = request.getfixturevalue("postgres")
    return PostgresUrl(cluster.database())


@pytest.fixture
async def store(place: Place) -> AsyncIterator[Store]:
    async with open_store(place, LIMITS) as store:
        await store.open_account(ALICE, NOW)
        await store.bind(ALICE, ALICE, proven=True)
        yield store


async def test_messages_are_fetched_in_the_order_they_were_accepted(store: Store) -> None:
    for envelope in (b"first", b"second", b"third"):
        await post(store, envelope)
    assert await fetched(store) == [b"first", b"second", b"third"]


async def test_what_is_handed_in_at_once_keeps_its_order(store: Store) -> None:
    await asyncio.gather(*(post(store, b"%d" % number) for number in range(5)))
    assert await fetched(store) == [b"0", b"1", b"2", b"3", b"4"]


async def test_messages_stay_until_they_are_acknowledged(store: Store) -> None:
    await post(store, b"letter")
    assert await fetched(store) == await fetched(store) == [b"letter"]
    [message] = await store.fetch(ALICE, now=NOW, limit=9, max_bytes=99)
    await store.acknowledge(ALICE, [message.id])
    assert await fetched(store) == []
    await store.acknowledge(ALICE, [message.id])  # once more does no harm


async def test_only_the_owner_can_acknowledge(store: Store) -> None:
    await post(store, b"letter")
    await store.open_account(BOB, NOW)
    [message] = await store.fetch(ALICE, now=NOW, limit=9, max_bytes=99)
    await store.acknowledge(BOB, [message.id])
    await store.acknowledge("did:example:nobody", [message.id])
    assert await fetched(store) == [b"letter"]


async def test_an_account_sees_nothing_of_another(store: Store) -> None:
    await post(store, b"letter")
    await store.open_account(BOB, NOW)
    assert await fetched(store, BOB) == []
    assert await store.fetch(BOB, now=NOW, limit=9, max_bytes=99, recipient=ALICE) == []
    assert (await store.waiting(BOB, now=NOW, recipient=ALICE)).messages == 0


async def test_an_id_is_never_used_again(store: Store) -> None:
    """A late acknowledgement must not delete the message that came after."""
    await post(store, b"old")
    [old] = await store.fetch(ALICE, now=NOW, limit=9, max_bytes=99)
    await store.acknowledge(ALICE, [old.id])
    await post(store, b"new")
    await store.acknowledge(ALICE, [old.id])
    assert await fetched(store) == [b"new"]


async def test_equal_bytes_are_stored_and_counted_once(store: Store) -> None:
    for _ in range(3):
        assert await post(store, b"same") == ALICE
    waiting = await store.waiting(ALICE, now=NOW)
    assert (waiting.messages, waiting.bytes) == (1, 4)


async def test_equal_bytes_for_two_recipients_reach_both(store: Store) -> None:
    await store.open_account(BOB, NOW)
    await store.bind(BOB, BOB, proven=True)
    await post(store, b"same")
    await post(store, b"same", to=BOB)
    assert await fetched(store) == await fetched(store, BOB) == [b"same"]


async def test_an_inbox_full_of_messages_refuses(store: Store) -> None:
    for number in range(5):
        await post(store, b"%d" % number)
    with pytest.raises(InboxFull):
        await post(store, b"one more")
    assert await post(store, b"3") == ALICE  # a repetition of what was accepted is not refused
    assert len(await fetched(store)) == 5


async def test_an_inbox_full_of_bytes_refuses_all_or_nothing(store: Store) -> None:
    await post(store, b"x" * 90)
    with pytest.raises(InboxFull):
        await store.enqueue(ALICE, [b"small", b"y" * 20], sender=None, expires=NOW + 10, now=NOW)
    assert await fetched(store) == [b"x" * 90]


async def test_acknowledging_makes_room(store: Store) -> None:
    for number in range(5):
        await post(store, b"%d" % number)
    messages = await store.fetch(ALICE, now=NOW, limit=9, max_bytes=99)
    await store.acknowledge(ALICE, [messages[0].id, messages[1].id])
    await post(store, b"fits")
    assert await fetched(store) == [b"2", b"3", b"4", b"fits"]


async def test_a_known_sender_cannot_fill_an_inbox(store: Store) -> None:
    await post(store, b"1", sender=BOB)
    await post(store, b"2", sender=BOB)
    with pytest.raises(SenderLimit):
        await post(store, b"3", sender=BOB)
    assert await post(store, b"2", sender=BOB) == ALICE
    await post(store, b"4", sender=CAROL)
    assert await fetched(store) == [b"1", b"2", b"4"]


async def test_expired_messages_are_neither_fetched_nor_counted(store: Store) -> None:
    await post(store, b"short", expires=NOW + 5)
    await post(store, b"long", expires=NOW + 50)
    assert await fetched(store, now=NOW + 5) == [b"long"]
    assert (await store.waiting(ALICE, now=NOW + 5)).messages == 1


async def test_expired_messages_are_deleted_and_make_room(store: Store) -> None:
    for number in range(5):
        await post(store, b"%d" % number, expires=NOW + 5)
    assert await store.expire(NOW + 4) == 0
    assert await store.expire(NOW + 5) == 5
    assert await store.expire(NOW + 5) == 0
    for number in range(5):
        await post(store, b"%d" % number, now=NOW + 5)


async def test_a_full_inbox_looks_for_expired_messages_before_it_refuses(
    store: Store,
) -> None:
    for number in range(5):
        await post(store, b"%d" % number, expires=NOW + 5)
    await post(store, b"new", now=NOW + 6)
    assert await fetched(store, now=NOW + 6) == [b"new"]


async def test_a_batch_has_at_most_the_bytes_asked_for_but_at_least_one_message(
    store: Store,
) -> None:
    await post(store, b"x" * 30)
    await post(store, b"y" * 30)
    assert [m.envelope for m in await store.fetch(ALICE, now=NOW, limit=9, max_bytes=59)] == [
        b"x" * 30
    ]
    assert len(await store.fetch(ALICE, now=NOW, limit=9, max_bytes=1)) == 1
    assert len(await store.fetch(ALICE, now=NOW, limit=1, max_bytes=99)) == 1


async def test_nothing_falls_between_counting_and_what_comes_after(store: Store) -> None:
    await post(store, b"before")
    waiting = await store.waiting(ALICE, now=NOW)
    await post(store, b"after")
    after = await store.fetch(ALICE, now=NOW, limit=9, max_bytes=99, after=waiting.position)
    assert waiting.messages == 1
    assert [message.envelope for message in after] == [b"after"]


async def test_an_unproven_did_belongs_to_who_came_first(store: Store) -> None:
    await store.open_account(BOB, NOW)
    assert await store.bind(ALICE, CAROL, proven=False) is Change.SUCCESS
    assert await store.bind(ALICE, CAROL, proven=False) is Change.NO_CHANGE
    assert await store.bind(BOB, CAROL, proven=False) is Change.CLIENT_ERROR
    assert await store.bound(BOB) == []


async def test_a_proof_takes_a_did_with_its_mail_from_who_had_none(store: Store) -> None:
    await store.open_account(BOB, NOW)
    await store.bind(BOB, CAROL, proven=False)
    await post(store, b"for carol", to=CAROL)
    assert await store.bind(ALICE, CAROL, proven=True) is Change.SUCCESS
    assert await store.bind(BOB, CAROL, proven=False) is Change.CLIENT_ERROR
    assert await fetched(store, BOB) == []
    assert await fetched(store) == [b"for carol"]


async def test_opening_an_account_frees_its_did_from_a_squatter(store: Store) -> None:
    await store.bind(ALICE, CAROL, proven=False)
    await store.open_account(CAROL, NOW)
    assert await store.bound(ALICE) == [ALICE]
    assert await store.bound(CAROL) == [CAROL]


async def test_opening_an_account_twice_changes_nothing(store: Store) -> None:
    await post(store, b"letter")
    await store.open_account(ALICE, NOW + 1)
    assert await fetched(store) == [b"letter"]


async def test_binding_needs_an_account_and_has_a_limit(store: Store) -> None:
    assert await store.bind(BOB, BOB, proven=True) is Change.CLIENT_ERROR
    await store.bind(ALICE, BOB, proven=False)
    await store.bind(ALICE, CAROL, proven=False)
    with pytest.raises(TooManyRecipients):
        await store.bind(ALICE, "did:example:dave", proven=False)


async def test_only_the_owner_unbinds_and_the_mail_goes_too(store: Store) -> None:
    await post(store, b"letter")
    await store.open_account(BOB, NOW)
    assert await store.unbind(BOB, ALICE) is Change.NO_CHANGE
    assert await fetched(store) == [b"letter"]
    assert await store.unbind(ALICE, ALICE) is Change.SUCCESS
    assert await post(store, b"letter") is None


async def test_mail_for_nobody_is_not_kept(store: Store) -> None:
    assert await post(store, b"letter", to=BOB) is None
    await store.open_account(BOB, NOW)
    await store.bind(BOB, BOB, proven=True)
    assert await fetched(store, BOB) == []


async def test_what_is_over_but_not_swept_yet_is_no_reason_to_drop_a_repetition(
    store: Store,
) -> None:
    await post(store, b"letter", expires=NOW + 5)
    assert await post(store, b"letter", now=NOW + 5) == ALICE
    assert await fetched(store, now=NOW + 5) == [b"letter"]
    assert (await store.waiting(ALICE, now=NOW + 5)).messages == 1
    for number in range(4):
        await post(store, b"%d" % number, now=NOW + 5)
    with pytest.raises(InboxFull):
        await post(store, b"one more", now=NOW + 5)


async def test_a_repetition_is_kept_as_long_as_it_asks(store: Store) -> None:
    await post(store, b"letter", expires=NOW + 5)
    await post(store, b"letter", expires=NOW + 50)
    await post(store, b"letter", expires=NOW + 9)
    assert await fetched(store, now=NOW + 40) == [b"letter"]
    assert await store.expire(NOW + 40) == 0
    assert await store.expire(NOW + 50) == 1


async def test_in_a_full_inbox_too_a_repetition_is_kept_as_long_as_it_asks(store: Store) -> None:
    letters = [b"1", b"2", b"3", b"4", b"5"]
    for letter in letters:
        await post(store, letter, expires=NOW + 5)
    await post(store, b"3", expires=NOW + 50)
    assert await fetched(store, now=NOW + 40) == [b"3"]


async def test_several_envelopes_are_queued_in_their_order(store: Store) -> None:
    letters = [b"c", b"a", b"b"]
    await store.enqueue(ALICE, letters, sender=None, expires=NOW + 10, now=NOW)
    assert await fetched(store) == letters


async def test_requests_of_one_group_are_answered_each_for_itself(store: Store) -> None:
    """Good, bad and unknown ones at once: nobody takes a neighbour along."""
    outcomes = await asyncio.gather(
        post(store, b"1"),
        post(store, b"x" * 101),
        post(store, b"2", to=BOB),
        post(store, b"3", sender=BOB),
        post(store, b"4", sender=BOB),
        post(store, b"5", sender=BOB),
        post(store, b"6"),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [
        *(str, InboxFull, type(None), str, str, SenderLimit, str)
    ]
    assert await fetched(store) == [b"1", b"3", b"4", b"6"]


async def test_everything_survives_a_restart(place: Place) -> None:
    async with open_store(place, LIMITS) as store:
        await store.open_account(ALICE, NOW)
        await store.bind(ALICE, ALICE, proven=True)
        await post(store, b"letter")
    async with open_store(place, LIMITS) as store:
        assert await fetched(store) == [b"letter"]


async def test_what_was_handed_in_before_closing_is_committed(place: Place) -> None:
    async with open_store(place, LIMITS) as store:
        await store.open_account(ALICE, NOW)
        await store.bind(ALICE, ALICE, proven=True)
        posting = asyncio.ensure_future(post(store, b"letter"))
        await asyncio.sleep(0)
    assert await posting == ALICE
    async with open_store(place, LIMITS) as store:
        assert await fetched(store) == [b"letter"]


async def test_a_did_longer_than_an_index_takes_is_a_did_like_others(store: Store) -> None:
    long = "did:peer:2.Ez" + "6" * 4000
    await store.open_account(long, NOW)
    assert await store.bind(long, long, proven=True) is Change.SUCCESS
    assert await post(store, b"letter", to=long) == long
    assert await fetched(store, long) == [b"letter"]


async def test_mail_for_a_key_of_a_bound_did_reaches_its_account(store: Store) -> None:
    await store.bind(ALICE, BOB, proven=False, keys=["did:key:z1", "did:key:z2"])
    assert await post(store, b"letter", to="did:key:z2") == ALICE
    assert await fetched(store) == [b"letter"]
    assert await store.is_bound("did:key:z1")
    await store.unbind(ALICE, BOB)
    assert not await store.is_bound("did:key:z1")
    assert await post(store, b"letter", to="did:key:z2") is None


async def test_a_rotation_moves_the_account_with_its_dids_and_mail(store: Store) -> None:
    await store.bind(ALICE, CAROL, proven=False)
    await post(store, b"letter")
    assert await store.rotate(ALICE, BOB, issued=NOW)
    assert not await store.has_account(ALICE)
    assert await store.bound(BOB) == [ALICE, CAROL]
    assert await fetched(store, BOB) == [b"letter"]
    assert await post(store, b"to the old name") == BOB


async def test_a_rotation_into_an_account_that_is_there_joins_both(store: Store) -> None:
    await store.open_account(BOB, NOW)
    await store.bind(BOB, BOB, proven=True)
    await post(store, b"1")
    await post(store, b"2", to=BOB)
    assert await store.rotate(ALICE, BOB, issued=NOW)
    assert await fetched(store, BOB) == [b"1", b"2"]
    assert set(await store.bound(BOB)) == {ALICE, BOB}


async def test_a_rotation_that_is_not_newer_changes_nothing(store: Store) -> None:
    assert await store.rotate(ALICE, BOB, issued=NOW)
    await store.open_account(ALICE, NOW)
    assert not await store.rotate(ALICE, CAROL, issued=NOW)
    assert await store.has_account(ALICE)
    assert await store.rotate(ALICE, CAROL, issued=NOW + 1)
    assert not await store.rotate("did:example:nobody", CAROL, issued=NOW)


async def test_a_parcel_is_taken_when_it_is_due_and_by_one_alone(store: Store) -> None:
    await keep(store, [b"late"], due=2_000)
    await keep(store, [b"early", b"too"], due=1_000)
    assert await store.next_parcel() == 1_000
    assert await store.take_parcels(999, until=5_000, limit=9) == []
    taken = await store.take_parcels(1_000, until=5_000, limit=9)
    assert [(p.envelope, p.tries, p.target) for p in taken] == [
        (b"early", 0, "https://there"),
        (b"too", 0, "https://there"),
    ]
    assert await store.take_parcels(1_000, until=5_000, limit=9) == []
    await store.drop_parcels([taken[0].id])
    await store.put_off_parcels([taken[1].id], 1_500, tried=True)
    [again] = await store.take_parcels(1_500, until=9_000, limit=9)
    assert (again.envelope, again.tries) == (b"too", 1)


async def test_equal_parcels_are_kept_once_and_too_many_refused(store: Store) -> None:
    for _ in range(2):
        await keep(store, [b"1", b"2"])
    with pytest.raises(OutgoingFull):
        await keep(store, [b"3", b"4", b"5", b"6"])
    assert len(await store.take_parcels(1_000, until=5_000, limit=9)) == 2


async def test_a_parcel_that_is_handed_in_again_keeps_its_time(store: Store) -> None:
    for due in (1_000, 9_000, 500):
        await keep(store, [b"1"], due=due)
    assert await store.next_parcel() == 1_000


async def test_parcels_expire(store: Store) -> None:
    await keep(store, [b"1"], expires=NOW + 1)
    assert await store.expire(NOW) == 0
    assert await store.expire(NOW + 1) == 1
    assert await store.next_parcel() is None


@pytest.mark.parametrize(("name", "most"), [("MAX_PARCELS", 2), ("MAX_PARCEL_BYTES", 20)])
async def test_parcels_have_an_end_over_all_targets(
    store: Store, monkeypatch: pytest.MonkeyPatch, name: str, most: int
) -> None:
    for module in ("sqlite_parcels", "postgres"):
        monkeypatch.setattr(f"mediator.stores.{module}.{name}", most)
    for number in range(2):
        await store.add_parcels(f"https://{number}", [b"x" * 10], inbox=False, due=0, expires=NOW)
    with pytest.raises(OutgoingFull):
        await store.add_parcels("https://2", [b"x"], inbox=False, due=0, expires=NOW)


@pytest.mark.parametrize("target", ["https://there", ALICE])
async def test_parcels_for_one_target_have_the_room_of_an_inbox(store: Store, target: str) -> None:
    async def add(size: int) -> None:
        inbox = target == ALICE
        await store.add_parcels(target, [b"x" * size], inbox=inbox, due=0, expires=NOW)

    await add(60)
    with pytest.raises(OutgoingFull):
        await add(41)
    await add(40)
    assert len(await store.take_parcels(0, until=1, limit=9)) == 2
    await store.add_parcels("https://other", [b"y" * 100], inbox=False, due=0, expires=NOW)


async def test_an_inbox_takes_its_last_byte_and_none_more(store: Store) -> None:
    await post(store, b"x" * 60)
    with pytest.raises(InboxFull):
        await post(store, b"y" * 41)
    await post(store, b"z" * 40)
    assert [len(envelope) for envelope in await fetched(store)] == [60, 40]


async def test_a_parcel_with_an_origin_waits_for_whoever_gives_it_up(store: Store) -> None:
    await store.add_parcels(
        "https://there", [b"p"], inbox=False, due=0, expires=NOW, origin='{"sender":"x"}'
    )
    assert await store.expire(NOW + 1) == 0
    [parcel] = await store.take_parcels(NOW * 1000, until=NOW * 1000 + 1, limit=9)
    assert (parcel.origin, parcel.expires) == ('{"sender":"x"}', NOW)


async def test_a_parcel_for_an_inbox_gets_there_or_stays(store: Store) -> None:
    await store.add_parcels(ALICE, [b"letter"], inbox=True, due=0, expires=NOW + 9, sender=BOB)
    [parcel] = await store.take_parcels(0, until=1, limit=9)
    for number in range(5):
        await post(store, b"%d" % number, expires=NOW + 1)
    with pytest.raises(InboxFull):
        await store.deliver_parcel(parcel.id, NOW)
    assert await store.next_parcel() == 1
    assert await store.deliver_parcel(parcel.id, NOW + 1) == ALICE
    assert await store.deliver_parcel(parcel.id, NOW + 1) is None
    assert await fetched(store, now=NOW + 1) == [b"letter"]
    assert await store.next_parcel() is None


async def test_bytes_are_acted_on_once_whoever_asks_and_for_their_sender_alone(
    store: Store, place: Place
) -> None:
    assert await store.act_once(ALICE, b"proof", until=NOW + 9)
    assert not await store.act_once(ALICE, b"proof", until=NOW + 9)
    assert await store.act_once(BOB, b"proof", until=NOW + 9)
    assert await store.act_once(ALICE, b"another", until=NOW + 9)
    await store.expire(NOW + 8)
    assert not await store.act_once(ALICE, b"proof", until=NOW + 9)
    await store.expire(NOW + 9)
    assert await store.act_once(ALICE, b"proof", until=NOW + 19)


async def test_one_sender_cannot_have_the_proofs_of_another_forgotten(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sqlite_accounts", "postgres"):
        monkeypatch.setattr(f"mediator.stores.{module}.MAX_ACTED_ON", 3)
    await store.act_once(BOB, b"proof", until=NOW)
    for number in range(5):
        assert await store.act_once(ALICE, b"%d" % number, until=NOW + number)
    assert not await store.act_once(BOB, b"proof", until=NOW)
    assert [await store.act_once(ALICE, b"%d" % n, until=NOW + 9) for n in (4, 3, 2, 0)] == [
        *(False, False, False),
        True,
    ]


async def test_the_identity_used_last_is_the_last_one(store: Store, place: Place) -> None:
    one = IdentityRecord("did:example:1", "http://one", "i1", "{}")
    two = IdentityRecord("did:example:2", "http://two", "i2", "{}")
    await store.use_identity(one, NOW)
    await store.use_identity(two, NOW + 1)
    assert await store.identities() == [one, two]
    await store.use_identity(one, NOW + 2)
    assert await read_identities(place) == [two, one]


async def test_an_address_has_one_identity_whoever_made_it_first(store: Store) -> None:
    made = [IdentityRecord(f"did:example:{n}", "http://one", "i", "{}") for n in range(4)]
    used = await asyncio.gather(*(store.use_identity(record, NOW) for record in made))
    assert len(set(used)) == 1
    assert await store.identities() == [used[0]]


# Concurrency: every store over its place, as many processes as may use it


async def test_whoever_follows_an_account_misses_nothing_and_sees_each_senders_order(
    place: Place,
) -> None:
    """Several processes write to two of its DIDs at once; a follower goes on from the last id."""
    async with several(place) as stores:
        await stores[0].open_account(ALICE, NOW)
        for did in (ALICE, CAROL):
            await stores[0].bind(ALICE, did, proven=True)
        senders, letters = 6, 25

        async def send(sender: int) -> None:
            for number in range(letters):
                store, did = stores[sender % len(stores)], (ALICE, CAROL)[number % 2]
                assert await post(store, b"%d %d" % (sender, number), to=did) == ALICE

        async def follow(store: Store) -> list[tuple[int, int]]:
            position, seen = 0, list[tuple[int, int]]()
            while len(seen) < senders * letters:
                for message in await store.fetch(
                    ALICE, now=NOW, limit=7, max_bytes=999, after=position
                ):
                    assert message.id > position
                    position = message.id
                    sender, number = map(int, message.envelope.split())
                    seen.append((sender, number))
                await asyncio.sleep(0)
            return seen

        async with asyncio.timeout(60):
            outcomes = await asyncio.gather(
                *(follow(store) for store in stores), *(send(n) for n in range(senders))
            )
        for seen in outcomes[: len(stores)]:
            assert seen is not None
            for sender in range(senders):
                assert [n for s, n in seen if s == sender] == list(range(letters))


async def test_sums_and_quotas_are_exact_whoever_writes_at_once(place: Place) -> None:
    limits = Limits(inbox_messages=20, sender_messages=8)
    async with several(place, limits) as stores:
        await stores[0].open_account(ALICE, NOW)
        await stores[0].bind(ALICE, ALICE, proven=True)
        for round_ in range(4):
            outcomes = await asyncio.gather(
                *(
                    post(stores[n % len(stores)], b"%d.%d" % (round_, n % 30), sender=BOB)
                    for n in range(60)
                ),
                *(post(stores[n % len(stores)], b"%d-%d" % (round_, n)) for n in range(20)),
                return_exceptions=True,
            )
            assert {type(o) for o in outcomes} <= {str, InboxFull, SenderLimit}
            messages = await stores[0].fetch(ALICE, now=NOW, limit=99, max_bytes=9999)
            assert len(messages) == 20
            assert len({m.envelope for m in messages}) == 20
            assert sum(b"." in m.envelope for m in messages) <= 8
            await asyncio.gather(
                *(
                    store.acknowledge(ALICE, [m.id for m in messages[start:]])
                    for store in stores
                    for start in (0, 5)
                )
            )
            assert (await stores[-1].waiting(ALICE, now=NOW)).messages == 0


async def test_a_did_that_moves_under_load_loses_no_mail_and_gives_none_away(place: Place) -> None:
    async with several(place) as stores:
        for did in (ALICE, BOB):
            await stores[0].open_account(did, NOW)
        await stores[0].bind(ALICE, CAROL, proven=True)
        told: list[str | None] = []

        async def send(sender: int) -> None:
            for number in range(20):
                store = stores[(sender + number) % len(stores)]
                told.append(await post(store, b"%d %d" % (sender, number), to=CAROL))

        async def move() -> None:
            for number, owner in zip(range(12), itertools.cycle((BOB, ALICE)), strict=False):
                await stores[number % len(stores)].bind(owner, CAROL, proven=True)

        await asyncio.gather(*(send(n) for n in range(4)), move())
        assert set(told) <= {ALICE, BOB}
        assert await fetched(stores[0], BOB) == []
        everything = await fetched(stores[0], ALICE)
        assert len(everything) == len(set(everything)) == 80
        assert (await stores[-1].waiting(ALICE, now=NOW)).messages == 80


async def test_sweeping_beside_everything_else_waits_for_nobody_and_miscounts_nothing(
    place: Place,
) -> None:
    async with several(place, Limits(inbox_messages=40)) as stores:
        await stores[0].open_account(ALICE, NOW)
        await stores[0].bind(ALICE, ALICE, proven=True)

        async def write(store: Store, name: int) -> None:
            for number in range(30):
                await post(store, b"%d %d" % (name, number), expires=NOW + 1, now=NOW)
                if number % 10 == 9:
                    await post(store, b"%d kept %d" % (name, number), expires=NOW + 99, now=NOW + 1)

        async def sweep(store: Store) -> None:
            for _ in range(20):
                await store.expire(NOW + 1)
                await asyncio.sleep(0)

        async with asyncio.timeout(60):
            await asyncio.gather(
                *(write(store, n) for n, store in enumerate(stores * 2)),
                *(sweep(store) for store in stores),
                return_exceptions=True,
            )
        while await stores[0].expire(NOW + 1):
            pass
        kept = (await stores[0].waiting(ALICE, now=NOW + 1)).messages
        for number in range(40 - kept):
            await post(stores[0], b"fill %d" % number, now=NOW + 1)
        with pytest.raises(InboxFull):
            await post(stores[0], b"one more", now=NOW + 1)


async def test_parcels_are_given_to_one_of_those_who_ask_at_once(place: Place) -> None:
    async with several(place) as stores:
        await keep(stores[0], [b"%d" % number for number in range(40)])
        taken = await asyncio.gather(
            *(store.take_parcels(1_000, until=9_000, limit=5) for store in stores * 4)
        )
        ids = [parcel.id for batch in taken for parcel in batch]
        assert len(ids) == len(set(ids)) >= 20


@asynccontextmanager
async def several(place: Place, limits: Limits | None = None) -> AsyncIterator[list[Store]]:
    """As many stores as may use the place at once."""
    async with AsyncExitStack() as stack:
        count = 1 if isinstance(place, Path) else 3
        yield [
            await stack.enter_async_context(open_store(place, limits or Limits()))
            for _ in range(count)
        ]


async def keep(
    store: Store, envelopes: list[bytes], *, due: int = 1_000, expires: int = NOW + 99
) -> None:
    await store.add_parcels("https://there", envelopes, inbox=False, due=due, expires=expires)
