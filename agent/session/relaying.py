"""Tickets for our mediator's relay: for which pairs we ask, at first and again when they fail.

Where two parties have their mail at one mediator, the party of the lower rank asks for both: one
port a pair is enough there, and two would be bound by both sides for as long as the session lives.

A relay may forget its tickets: a mediator that was restarted with other ports or another key, a
port that another pair has got meanwhile, the end of a ticket's time. Then we ask for others, and
mail the other party's to it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

from agent.errors import AgentError
from agent.mail.account import Account
from agent.session.descriptor import Descriptor
from agent.session.stage import Stage
from identity.errors import IdentityError
from messaging.errors import MessagingError
from resolvers.resolver import ResolutionError
from traversal.relay import RelayTicket

TIMEOUT = 3.0  # seconds
LOOK = 0.5  # seconds between two looks whether a relay has failed
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds, at least, from one request for others to the next

Pair = tuple[RelayTicket, RelayTicket]  # our side's and theirs


class Relayed(Protocol):
    """What of Connectivity is used here."""

    def lacks_relay(self, party: str) -> bool: ...

    def set_tickets(self, party: str, tickets: Sequence[RelayTicket], side: int) -> None: ...


@dataclass
class Relaying:
    stage: Stage
    account: Account
    _ours: tuple[str, ...] = ()  # the parties for whom we ask

    async def tickets(self, descriptor: Descriptor) -> Mapping[str, Pair]:
        """By party, for whom we ask; none where our mediator relays nothing."""
        rank, me = descriptor.rank, self.stage.me
        others = [did for did in descriptor.parties if did != me]
        shared = await asyncio.gather(*map(self._is_beside_us, others))
        places = zip(others, shared, strict=True)
        self._ours = tuple(did for did, beside in places if not beside or rank(me) < rank(did))
        try:
            return await self._ask(descriptor, self._ours)
        except (AgentError, MessagingError, ResolutionError, TimeoutError) as error:
            self.stage.step("relay", f"the mediator relays nothing for us: {error}")
            return {}

    async def keep(self, relayed: Relayed, descriptor: Descriptor) -> NoReturn:
        """Until cancelled: other tickets for those whose relay has failed."""
        wait, ask_at = FIRST_WAIT, 0.0
        while True:
            await asyncio.sleep(LOOK)
            lacking = [did for did in self._ours if relayed.lacks_relay(did)]
            if not lacking:
                wait = FIRST_WAIT
            elif time.monotonic() >= ask_at:
                await self._renew(relayed, descriptor, lacking)
                ask_at = time.monotonic() + wait
                wait = min(2 * wait, LONGEST_WAIT)

    async def _renew(
        self, relayed: Relayed, descriptor: Descriptor, lacking: Sequence[str]
    ) -> None:
        try:
            found = await self._ask(descriptor, lacking)
        except (AgentError, MessagingError, ResolutionError, TimeoutError):
            return  # asked again for as long as the session lives
        for did, (ours, theirs) in found.items():
            if relayed.lacks_relay(did):  # still, for it may have answered meanwhile
                relayed.set_tickets(did, [ours], 0)
                self.stage.machine.relays_changed(did, [theirs.to_json()])
                at = f"{ours.hosts[0]}, port {ours.port}"
                self.stage.step("relay", f"another relay for {self.stage.name(did)}: {at}")

    async def _ask(self, descriptor: Descriptor, parties: Sequence[str]) -> Mapping[str, Pair]:
        if not parties:
            return {}
        async with asyncio.timeout(TIMEOUT):
            pairs = await self.account.relays(descriptor.id, len(parties))
        return dict(zip(parties, pairs, strict=False))

    async def _is_beside_us(self, did: str) -> bool:
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self.account.keeps_mail_of(did)
        except (IdentityError, ResolutionError, TimeoutError):
            return False
