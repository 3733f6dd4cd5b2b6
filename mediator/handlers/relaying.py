"""Relay 1.0: tickets for pairs, to accounts only."""

from __future__ import annotations

from collections.abc import Mapping

from mediator.errors import Refusal
from mediator.handlers.dispatch import Handler
from mediator.handlers.dispatch import Request as Opened
from mediator.relay.service import Relay
from mediator.stores.interface import Store
from messaging.message import Message
from messaging.protocols.relay import Request, Tickets

NO_PAIRS = "e.p.me.res.net.no-relay-pairs"


def handlers(store: Store, relay: Relay | None) -> Mapping[str, Handler]:
    """None where there is no relay: the protocol is not spoken then."""
    if relay is None:
        return {}

    async def give(opened: Opened) -> Message:
        account = opened.account()
        wanted = Request.from_message(opened.message)
        if not await store.has_account(account):
            raise Refusal("e.p.req.not_enroll", "ask for mediation first")
        pairs = relay.reserve(account, wanted.session, wanted.count)
        if not pairs:
            raise Refusal(NO_PAIRS, "the relay has no more pairs for this account now")
        return Tickets(tuple(pairs)).to_message()

    return {Request.TYPE: give}
