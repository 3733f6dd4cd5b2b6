"""Who may open an account, and who may use the mediator at all, as its operator says.

The operator's rules lie in the store, where `mediator accounts` changes them. They are
read again every other second, and whenever somebody asks for an account.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from mediator.errors import MediatorError, Refusal
from mediator.stores.administration import Administration, Admission
from mediator.stores.interface import StoreUnavailable
from messaging.protocols.coordinate_mediation import MediateRequest
from messaging.protocols.routing import Forward

log = logging.getLogger(__name__)

INTERVAL = 2.0  # seconds until a change is heard of by those who have an account
MAX_INVITATION = 256  # characters of a `pthid` that may be an invitation

DENIED = "e.p.trust"
NOT_ENROLLED = "e.p.req.not_enroll"
_REQUESTS = frozenset(MediateRequest.TYPES.values())
FORBIDDEN = 403  # HTTP: a forward that is refused is never answered 2xx


class Gate:
    def __init__(self, store: Administration) -> None:
        self._store = store
        self._admission = Admission()

    @property
    def is_open(self) -> bool:
        """Whether anybody may open an account."""
        return self._admission.is_open

    async def admits(self, did: str, invitation: str | None, now: int) -> bool:
        """Whether `did` may open an account; `invitation` is the `pthid` of its request."""
        await self._refresh()
        if self._admission.denies(did):
            return False
        if self._admission.admits(did):
            return True
        if invitation is None or len(invitation) > MAX_INVITATION:
            return False
        try:
            return await self._store.follow_invitation(invitation, did, now)
        except MediatorError as error:
            raise StoreUnavailable(str(error)) from error

    def denies(self, did: str) -> bool:
        return self._admission.denies(did)

    def check(self, did: str, type_: str) -> None:
        """Whoever is denied is told what somebody without an account is told.

        A request for mediation has its answer elsewhere, by rules read anew.

        Raises: Refusal.
        """
        if type_ in _REQUESTS or not self.denies(did):
            return
        if type_ == Forward.TYPE:
            raise Refusal(DENIED, "not accepted from this sender", status=FORBIDDEN)
        raise Refusal(NOT_ENROLLED, "ask for mediation first")

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Keeps up with the operator for as long as the block lasts."""
        await self._refresh()
        async with asyncio.TaskGroup() as tasks:
            follower = tasks.create_task(self._follow())
            try:
                yield
            finally:
                follower.cancel()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            with contextlib.suppress(StoreUnavailable):  # the rules known last go on
                await self._refresh()

    async def _refresh(self) -> None:
        try:
            self._admission = await self._store.admission()
        except MediatorError as error:
            log.warning("the rules of admission cannot be read: %s", error)
            raise StoreUnavailable(str(error)) from error
