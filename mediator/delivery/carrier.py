"""Mail that leaves later: to other mediators, to senders themselves, into inboxes after a delay.

The queue is the store's, so nothing is forgotten when the process dies: what was being
carried is taken up again when its lease is over (at least once). Mail for one target
goes in order and one by one, and a target that does not answer is left alone for longer
and longer; other targets do not notice. Nothing is carried to this mediator itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mediator.addresses import OwnNames, canonical, is_url, shorten
from mediator.delivery.elsewhere import Elsewhere
from mediator.delivery.live import LiveAccounts
from mediator.delivery.outbound import HOPS, OUTGOING_FULL, Origin, Report
from mediator.errors import Refusal
from mediator.stores.interface import (
    OutgoingFull,
    Parcel,
    Store,
    StoreRefusal,
    StoreUnavailable,
)
from messaging.errors import MessagingError
from messaging.packing import Outgoing, route
from resolvers.guarded import Fetched, GuardedHttp, TargetFailed, TargetRefused
from resolvers.resolver import ErrorType, ResolutionError, Resolver

log = logging.getLogger(__name__)

SENT, FAILED, DROPPED = "sent", "failed", "dropped"

LEASE = 30_000  # milliseconds for which nobody else takes a parcel that is being carried
LEASE_LEFT = 12_000  # that must remain of it when a try begins
CARRIED = 256  # parcels in memory
CARRIED_OF_ONE = 16  # of them for one target
LOOK = 5.0  # seconds between looks for parcels that another process accepted
FIRST_WAIT, LONGEST_WAIT = 1_000, 3_600_000  # milliseconds between tries
CROWDED = 1_000  # milliseconds until a target that has enough in memory gets more

MEDIA_TYPE = "application/didcomm-encrypted+json"
TRY_AGAIN = frozenset({408, 425, 429})  # HTTP: and every 5xx
LOOK_UPS = 5  # of a DID that is nowhere
PERMANENT = frozenset(
    {
        ErrorType.INVALID_DID,
        ErrorType.METHOD_NOT_SUPPORTED,
        ErrorType.INVALID_DID_DOCUMENT,
    }
)


# An answer of these is about a mailbox, so it never lies in one (message pickup 3.0, 4.0).
ABOUT_MAILBOXES = ("https://didcomm.org/messagepickup/", "https://didcomm.org/message-pickup/")
ANSWER_LIFE = 24 * 3600  # seconds for which an answer is tried

_Name = tuple[str, bool]  # target, and whether it is the inbox of it


@dataclass(frozen=True)
class _Carried:
    parcel: Parcel
    lease: int  # UTC milliseconds

    @property
    def name(self) -> _Name:
        return self.parcel.target, self.parcel.inbox


class Nobody(Exception):
    """There is no use in carrying this any further."""


class Carrier:
    """An Outbound over a store's parcels; `run` carries them for as long as the mediator lives."""

    def __init__(
        self,
        store: Store,
        live: LiveAccounts,
        resolver: Resolver,
        http: GuardedHttp,
        own: OwnNames,
        clock: Callable[[], float],
        observe: Callable[[str], None],
    ) -> None:
        """`observe` is told of each try what came of it: sent, failed or dropped."""
        self._store = store
        self._live = live
        self._resolver = resolver
        self._http = http
        self._own = own
        self._clock = clock
        self._observe = observe
        self._elsewhere = Elsewhere(resolver, own)
        self._work = asyncio.Event()
        self._carried: dict[_Name, deque[_Carried]] = {}
        self._not_before: dict[_Name, int] = {}

    def check(self, url: str) -> None:
        if self._own.has_url(url):
            raise TargetRefused("it is this mediator: nothing to pass on")
        self._http.check(url)

    async def leads_elsewhere(self, did: str) -> bool:
        return await self._elsewhere.leads(did)

    async def post(
        self,
        target: str,
        envelopes: Sequence[bytes],
        *,
        expires: int,
        hops: int = 0,
        inbox: bool = False,
        delay: int = 0,
        sender: str | None = None,
        origin: Origin | None = None,
    ) -> None:
        try:
            await self._store.add_parcels(
                target,
                envelopes,
                inbox=inbox,
                due=self._now() + delay,
                expires=expires,
                hops=hops,
                sender=sender,
                origin=None if origin is None else origin.to_text(),
            )
        except OutgoingFull as error:
            raise Refusal(OUTGOING_FULL, str(error), status=429) from error
        self._work.set()

    async def answer(self, to: str, envelope: bytes, type_: str, now: int) -> None:
        """Bring an answer to where `to` takes its mail; nowhere if that cannot be known.

        Who has its mail kept here finds it there, unless it is about the mailbox itself.
        """
        try:
            if await self.leads_elsewhere(to):
                await self.post(to, [envelope], expires=now + ANSWER_LIFE)
            elif not type_.startswith(ABOUT_MAILBOXES):
                account = await self._store.enqueue(
                    canonical(to), [envelope], sender=None, expires=now + ANSWER_LIFE, now=now
                )
                if account is not None:
                    self._live.wake(account)
        except (Refusal, StoreRefusal) as error:
            log.info("cannot answer %s: %s", shorten(to), error)

    async def run(self, report: Report) -> None:
        self._report = report
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._work.clear()
                room = CARRIED - sum(len(waiting) for waiting in self._carried.values())
                with contextlib.suppress(StoreUnavailable):  # there is another look
                    if room > 0 and await self._take(room, tasks):
                        continue
                await self._rest(full=room <= 0)

    async def _take(self, room: int, tasks: asyncio.TaskGroup) -> bool:
        """Whether there may be more to take."""
        due = await self._store.next_parcel()
        now = self._now()
        if due is None or due > now:
            return False
        taken = await self._store.take_parcels(now, until=now + LEASE, limit=room)
        early: list[_Carried] = []
        for carried in (_Carried(parcel, now + LEASE) for parcel in taken):
            name = carried.name
            waiting = self._carried.get(name)
            if waiting is not None and len(waiting) >= CARRIED_OF_ONE:
                self._not_before.setdefault(name, now + CROWDED)
            over = carried.parcel.expires * 1000 <= now  # nobody has to be waited for
            if now < self._not_before.get(name, 0) and not over:
                early.append(carried)
            elif waiting is not None:
                waiting.append(carried)
            else:
                self._carried[name] = deque([carried])
                tasks.create_task(self._carry(name))
        await self._put_off(early)
        self._not_before = {n: time for n, time in self._not_before.items() if time > now}
        return len(taken) == room

    async def _rest(self, *, full: bool) -> None:
        due = None
        with contextlib.suppress(StoreUnavailable):
            due = None if full else await self._store.next_parcel()
        seconds = LOOK if due is None else min(LOOK, max(0.005, (due - self._now()) / 1000))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._work.wait()

    async def _carry(self, name: _Name) -> None:
        """All that waits for one target, one by one; if a lease is too short it comes again."""
        waiting = self._carried[name]
        try:
            while waiting:
                carried = waiting[0]
                if self._now() + LEASE_LEFT < carried.lease and not await self._try(carried.parcel):
                    self._not_before[name] = self._now() + _wait(carried.parcel.tries)
                    await self._put_off(list(waiting), tried=carried.parcel.id)
                    return
                waiting.popleft()
        except StoreUnavailable:
            log.warning(
                "cannot note what became of mail for %s: it is tried again", shorten(name[0])
            )
        finally:
            del self._carried[name]
            self._work.set()

    async def _try(self, parcel: Parcel) -> bool:
        """False if the target is not there now, for this or any other parcel."""
        try:
            here = await self._pass_on(parcel)
        except StoreRefusal:  # an inbox without room
            return False
        except (Nobody, MessagingError) as error:
            return await self._give_up(parcel, str(error))
        except ResolutionError as error:
            lost = error.type is ErrorType.NOT_FOUND and parcel.tries + 1 >= LOOK_UPS
            if error.type in PERMANENT or lost:
                return await self._give_up(parcel, error.detail)
            self._observe(FAILED)
            return False
        except TargetFailed as error:
            log.debug("%s, try %d: %s", shorten(parcel.target), parcel.tries + 1, error)
            self._observe(FAILED)
            return False
        except Exception:  # whatever it was: it must not take all other mail with it
            log.exception("cannot pass on to %s", shorten(parcel.target))
            self._observe(FAILED)
            return False
        if here:
            return await self._done(parcel, SENT)
        # It is there, but does not want this one now.
        self._observe(FAILED)
        await self._put_off_until(self._now() + _wait(parcel.tries), [parcel], tried=True)
        return True

    async def _give_up(self, parcel: Parcel, why: str) -> bool:
        """Told before it is dropped: who is killed in between tells it twice."""
        log.debug("given up for %s: %s", shorten(parcel.target), why)
        if parcel.origin is not None:
            await self._report(Origin.from_text(parcel.origin), parcel.target, why)
        return await self._done(parcel, DROPPED)

    async def _done(self, parcel: Parcel, outcome: str) -> bool:
        await self._store.drop_parcels([parcel.id])
        self._observe(outcome)
        return True

    async def _pass_on(self, parcel: Parcel) -> bool:
        """Whether it was accepted; else it may be later.

        Raises: Nobody, TargetFailed, ResolutionError, MessagingError, StoreRefusal.
        """
        if parcel.expires <= self._now() // 1000:
            raise Nobody("its time is over")
        if parcel.inbox:
            account = await self._store.deliver_parcel(parcel.id, self._now() // 1000)
            if account is not None:
                self._live.wake(account)
            return True
        failure: TargetFailed | None = None
        for way in await self._ways(parcel.target, parcel.envelope, parcel.expires):
            try:
                return await self._send(way, parcel.hops + 1)
            except TargetRefused:
                continue
            except TargetFailed as error:
                failure = error
        raise failure or Nobody("no address that we go to")

    async def _ways(
        self, target: str, envelope: bytes, expires: int | None = None
    ) -> list[Outgoing]:
        """Where to bring it, best first; never here. Raises: Nobody, and what `route` raises."""
        if is_url(target):
            ways = [Outgoing(target, envelope)]
        else:
            ways = await route(envelope, to=target, resolver=self._resolver, expires_time=expires)
        elsewhere = [way for way in ways if not self._own.has_url(way.uri)]
        if not elsewhere:
            raise Nobody("its mail is to be taken here, by nobody")
        return elsewhere

    async def _send(self, way: Outgoing, hops: int) -> bool:
        """Raises: TargetRefused, TargetFailed; Nobody if it will never be accepted."""
        headers = {HOPS: str(hops)}
        if way.uri.startswith("ws"):
            await self._http.send_frame(way.uri, way.envelope.decode(), headers)
            return True
        headers["Content-Type"] = MEDIA_TYPE
        answer = await self._http.post(way.uri, way.envelope, headers)
        return _accepted(answer)

    async def _put_off(self, early: Sequence[_Carried], tried: int | None = None) -> None:
        """Until their targets may be tried again, all of one target at the same time."""
        by_due: defaultdict[tuple[int, bool], list[Parcel]] = defaultdict(list)
        for carried in early:
            key = self._not_before[carried.name], carried.parcel.id == tried
            by_due[key].append(carried.parcel)
        for (due, was_tried), parcels in by_due.items():
            await self._put_off_until(due, parcels, tried=was_tried)

    async def _put_off_until(self, due: int, parcels: Sequence[Parcel], *, tried: bool) -> None:
        """Or until their time is over, when they are given up."""
        by_due: defaultdict[int, list[int]] = defaultdict(list)
        for parcel in parcels:
            by_due[min(due, parcel.expires * 1000)].append(parcel.id)
        for moment, ids in by_due.items():
            await self._store.put_off_parcels(ids, moment, tried=tried)

    def _now(self) -> int:
        return int(self._clock() * 1000)


def _accepted(answer: Fetched) -> bool:
    if 200 <= answer.status < 300:
        return True
    if answer.status in TRY_AGAIN:
        return False
    if answer.status >= 500:
        raise TargetFailed(f"it answers {answer.status}")
    raise Nobody(f"it answers {answer.status}")


def _wait(tries: int) -> int:
    """Milliseconds until the next try: twice as long each time, and not all at once."""
    wait = min(FIRST_WAIT * 2 ** min(tries, 20), LONGEST_WAIT)
    return int(wait * random.uniform(0.8, 1.2))  # noqa: S311 - nobody has to guess it
