"""Whatever is done to both kinds of store, in whatever order, they answer alike."""

import asyncio
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mediator.settings.config import Limits
from mediator.settings.places import PostgresUrl
from mediator.stores.interface import Store, StoreRefusal
from mediator.stores.opening import open_store
from tests.support.postgres import Cluster

pytestmark = pytest.mark.slow

LIMITS = Limits(inbox_messages=4, inbox_bytes=20, sender_messages=2, recipients=2)
people = st.sampled_from("abc")
dids = st.sampled_from("abcd")
letters = st.binary(min_size=1, max_size=3) | st.binary(min_size=9, max_size=12)
posts = st.tuples(
    st.just("post"),
    st.just("a") | dids,
    st.lists(letters, min_size=1, max_size=5),
    st.none() | people,
    st.integers(1, 9),
)
steps = st.one_of(
    posts,
    posts,
    posts,
    st.tuples(st.just("open"), people),
    st.tuples(st.just("bind"), people, dids, st.booleans()),
    st.tuples(st.just("unbind"), people, dids),
    st.tuples(st.just("rotate"), people, people, st.integers(1, 3)),
    st.tuples(st.just("acknowledge"), people, st.sets(st.integers(0, 5))),
    st.tuples(st.just("wait"), st.integers(1, 5)),
    st.tuples(st.just("expire")),
)


def test_both_stores_answer_alike(tmp_path: Path, postgres: Cluster) -> None:
    numbers = itertools.count(1)

    # The first steps always: without an account and a binding there is little to see.
    @settings(
        max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
    )
    @given(st.lists(steps, min_size=10, max_size=40))
    def alike(chosen: Sequence[tuple[Any, ...]]) -> None:
        story = [("open", "a"), ("bind", "a", "a", True), ("open", "b"), *chosen]
        number = next(numbers)
        one, other = (runner.run(told(store, number, story)) for store in stores)
        for step, left, right in zip(story, one, other, strict=True):
            assert left == right, step

    with asyncio.Runner() as runner:
        places = (tmp_path / "m.db", PostgresUrl(postgres.database()))
        opened = [open_store(place, LIMITS) for place in places]
        stores = [runner.run(store.__aenter__()) for store in opened]
        try:
            alike()
        finally:
            for store in opened:
                runner.run(store.__aexit__(None, None, None))


async def told(store: Store, number: int, story: Sequence[tuple[Any, ...]]) -> list[Any]:
    """What comes of each step, and what everybody has after it."""
    now = number * 1_000
    outcomes: list[Any] = []
    for step in story:
        if step[0] == "wait":
            now += step[1]
        outcome = await done(store, number, now, step)
        everybody = [await seen(store, f"did:{number}:{name}", now) for name in "abc"]
        outcomes.append((outcome, everybody))
    return outcomes


async def done(store: Store, number: int, now: int, step: tuple[Any, ...]) -> Any:
    kind, *given_ = step
    names = [f"did:{number}:{given}" if isinstance(given, str) else given for given in given_]
    try:
        match kind:
            case "open":
                return await store.open_account(names[0], now)
            case "bind":
                return await store.bind(names[0], names[1], proven=names[2])
            case "unbind":
                return await store.unbind(*names)
            case "rotate":
                return names[0] != names[1] and await store.rotate(
                    names[0], names[1], issued=names[2]
                )
            case "post":
                to, envelopes, sender, lifetime = names
                return await store.enqueue(
                    to, envelopes, sender=sender, expires=now + lifetime, now=now
                )
            case "acknowledge":
                there = await store.fetch(names[0], now=now, limit=99, max_bytes=9_999)
                ids = [there[n].id for n in names[1] if n < len(there)]
                return await store.acknowledge(names[0], [*ids, 10**17])
            case "expire":
                await store.expire(now)
    except StoreRefusal as refusal:
        return repr(refusal)


async def seen(store: Store, account: str, now: int) -> Any:
    waiting = await store.waiting(account, now=now)
    messages = await store.fetch(account, now=now, limit=99, max_bytes=9_999)
    return (
        await store.has_account(account),
        await store.bound(account),
        [message.envelope for message in messages],
        (waiting.messages, waiting.bytes, waiting.oldest, waiting.newest),
    )
