"""Words for tests of stores: who there is, posting, fetching."""

from __future__ import annotations

from mediator.settings.config import Limits
from mediator.stores.interface import Store

ALICE, BOB, CAROL = "did:example:alice", "did:example:bob", "did:example:carol"
NOW = 1_000_000
LIMITS = Limits(inbox_messages=5, inbox_bytes=100, sender_messages=2, recipients=3)


async def post(
    store: Store,
    envelope: bytes,
    *,
    to: str = ALICE,
    sender: str | None = None,
    expires: int = NOW + 1000,
    now: int = NOW,
) -> str | None:
    return await store.enqueue(to, [envelope], sender=sender, expires=expires, now=now)


async def fetched(store: Store, account: str = ALICE, now: int = NOW) -> list[bytes]:
    messages = await store.fetch(account, now=now, limit=100, max_bytes=10_000)
    return [message.envelope for message in messages]
