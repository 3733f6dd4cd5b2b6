"""A party's mail: sends to anyone, receives what our mediator keeps for us.

Receiving is at least once. A message stays at the mediator until it is acknowledged, and whoever
reads acknowledges only what it understands and has acted on; the rest waits for another process
with the same profile and holds up nothing. What nobody can ever use (envelopes that do not open,
messages whose time is over) is acknowledged here.

    live       a WebSocket on which the mediator pushes; `_stay_live` opens it again when it dies
    pick up    ask for what waits; when live begins, when a reader comes, and every POLL_SECONDS
               for as long as there is no socket
    take       one envelope, from either of the two: open it, drop doubles, answer pings, hand on

An open mailbox answers trust-pings by itself: whoever waits for mail can be pinged.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp

from agent.errors import MailboxError, TookTooLong
from agent.mail.account import Account, MediatorConfused, MediatorRefused
from agent.mail.delivery import deliver, pauses
from agent.mail.letters import Letter, Letters, Received
from agent.mail.pings import ANSWER_SECONDS, Pings
from agent.mail.sealing import Sealing
from agent.mail.strangers import Glances, PutOff, answer_stranger
from agent.mail.transport import AnswerTooLarge, Transport, words
from identity.did import shorten
from identity.keys import Curve, PrivateKey
from identity.keystore import Profile
from messaging.binding import sign_binding
from messaging.errors import MessagingError, UnresolvedSender
from messaging.message import Attachment, Message
from messaging.packing import Opened
from messaging.protocols import trust_ping
from messaging.rotation import PriorDid
from resolvers.resolver import ResolutionError, Resolver

DELIVER_SECONDS = 30.0
POLL_SECONDS = 2.0
LONGEST_PAUSE = 15.0  # between attempts to open the socket
LIVE_ANSWER_SECONDS = 10.0
CLOSING_SECONDS = 3.0
ACKNOWLEDGE_WAIT = 1.0  # seconds in which others come that are acknowledged in the same request
BATCH = 100  # messages of one pick-up, ids of one acknowledgement
WAITING = 64  # messages opened and not yet read

log = logging.getLogger(__name__)

_FAILURES = (MailboxError, MessagingError, ResolutionError)


class Mailbox:
    """An async context manager that receives while it is open; several per profile are normal."""

    def __init__(
        self, profile: Profile, resolver: Resolver, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.did = profile.did
        self.trouble: str | None = None  # why our mediator pushes nothing now
        self._sealing = Sealing(profile.did, profile.secrets, resolver, clock)
        self._on_rotation: list[Callable[[PriorDid], None]] = []
        self._clock = clock
        self._transport = Transport()
        self._account = Account(profile, resolver, self._transport, clock=clock)
        self._letters = Letters()
        self._glances = Glances(resolver)
        self._put_off = PutOff()
        self._inbox: asyncio.Queue[Received] = asyncio.Queue(WAITING)
        self._has_reader = False
        self._taking = asyncio.Lock()
        self._pick_up_wanted = asyncio.Event()
        self._acknowledged = 0  # letters, so far
        self._more_behind = False  # what we left in the queue may hide what comes after it
        self._acknowledge_wanted = asyncio.Event()
        self._pings = Pings()
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        await self._group.__aenter__()
        for work in (self._stay_live(), self._pick_up_forever(), self._acknowledge_forever()):
            self._start(work)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        try:
            # The group hears of a cancellation, which may be its own doing: a task of ours failed.
            # An error of the body is the caller's and leaves as it is.
            cancelled = isinstance(error, asyncio.CancelledError)
            await self._group.__aexit__(kind if cancelled else None, error, trace)
            if error is None:
                await self._acknowledge_the_rest()
        finally:
            self._glances.close()
            await self._transport.__aexit__(None, None, None)

    async def register(self) -> None:
        """Have the mediator take mail for us; doing it again changes nothing.

        Raises: MailboxError.
        """
        await self._account.register()
        self._pick_up_wanted.set()

    @property
    def account(self) -> Account:
        """For what else our mediator does for us."""
        return self._account

    def on_rotation(self, tell: Callable[[PriorDid], None]) -> None:
        """Tell of every sender, from now on, that has another DID, signed as its former one."""
        self._on_rotation.append(tell)

    async def open_door(self, did: str, keys: Mapping[str, PrivateKey]) -> None:
        """Receive for one more DID of ours, at the same mediator. Raises: MailboxError."""
        kid = next(kid for kid, key in keys.items() if key.curve is Curve.ED25519)
        proof = sign_binding(
            kid,
            keys[kid],
            account=self.did,
            mediator=self._account.mediator,
            issued_at=int(self._clock()),
        )
        self._sealing.add(keys)
        await self._account.take_for(did, proof)
        self._pick_up_wanted.set()

    async def close_door(self, did: str) -> None:
        """Receive for that DID no more. Raises: MailboxError."""
        await self._account.leave(did)

    async def send(
        self,
        message: Message,
        to: str,
        expires_time: int | None = None,
        *,
        seconds: float = DELIVER_SECONDS,
    ) -> None:
        """Seal a message for one party and bring it to that party's mediator.

        A return means that the mediator keeps it. `expires_time` is told to the mediator too.

        Raises: NotDelivered, after `seconds` of trying; CannotWrite, if trying is no use.
        """
        expires = message.expires_time if expires_time is None else expires_time
        self._glances.trust(to)
        ways = await self._sealing.ways(message, to, expires)
        await deliver(ways, to, self._transport, seconds=seconds)

    async def received(self) -> AsyncGenerator[Received, None]:
        """Messages as they arrive, for ever; one reader at a time.

        Their order is nearly, and only nearly, the order of sending. What another reader did not
        take, or left, is there again.
        """
        if self._has_reader:
            raise RuntimeError("this mailbox has a reader already")
        self._has_reader = True
        self._pick_up_wanted.set()
        try:
            while True:
                yield await self._inbox.get()
        finally:
            self._has_reader = False
            while not self._inbox.empty():
                self._letters.forget(self._inbox.get_nowait()._letter)
            self._letters.forget_left()

    async def ping(self, did: str, seconds: float) -> float:
        """Seconds until another agent's answer is here. Raises: TookTooLong, MailboxError."""
        ping = trust_ping.Ping(response_requested=True).to_message()
        started = time.perf_counter()
        try:
            with self._pings.waiting(did, ping) as pong:
                async with asyncio.timeout(seconds):
                    expires = int(self._clock() + seconds) + 1
                    await self.send(ping, did, expires, seconds=seconds)
                    return await pong - started
        except TimeoutError:
            raise TookTooLong(f"no answer from {shorten(did)} within {seconds:g} s") from None

    # -- live and picked up

    async def _stay_live(self) -> None:
        """Have mail pushed for as long as the mailbox is open; poll whenever that fails."""
        wait = pauses(LONGEST_PAUSE)
        while True:
            began = time.monotonic()
            try:
                await self._live()
            except (*_FAILURES, aiohttp.ClientError, OSError) as error:
                self.trouble = words(error)
                log.info("no live delivery: %s", self.trouble)
                if isinstance(error, MediatorRefused):
                    await self._register_again()
            if time.monotonic() - began > LONGEST_PAUSE:
                wait = pauses(LONGEST_PAUSE)
            await self._poll(next(wait))

    async def _register_again(self) -> None:
        """For a mediator that lost its memory, or never heard of us."""
        try:
            await self._account.register()
        except _FAILURES as error:
            log.warning("cannot register at the mediator: %s", error)

    async def _live(self) -> None:
        uri = (await self._account.endpoints()).websocket
        if uri is None:
            raise MailboxError("the mediator offers no WebSocket")
        async with (
            self._transport.socket(uri) as socket,
            asyncio.timeout(LIVE_ANSWER_SECONDS) as patience,
        ):
            request, envelope = await self._account.live_request()
            await socket.send_str(envelope.decode())
            async for frame in socket:
                if frame.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    break
                data = frame.data.encode() if isinstance(frame.data, str) else frame.data
                try:
                    message = await self._account.open(data)
                    pushed = self._account.delivered(message)
                except MediatorConfused as error:
                    log.debug("a frame of no use: %s", error)
                    continue
                if message.thid == request:
                    self.trouble = None
                    patience.reschedule(None)
                    self._pick_up_wanted.set()
                async with self._taking:
                    # Behind a pick-up, which brings the earlier ones; before one, which brings all
                    # that it gets at.
                    if self._more_behind or not self._pick_up_wanted.is_set():
                        for attachment in pushed:
                            await self._take(attachment)

    async def _poll(self, seconds: float) -> None:
        """Pick up now, and now and then, for `seconds`."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._pick_up_wanted.set()
            await asyncio.sleep(min(left, POLL_SECONDS))

    async def _pick_up_forever(self) -> None:
        wait = pauses(LONGEST_PAUSE)
        while True:
            await self._pick_up_wanted.wait()
            self._pick_up_wanted.clear()
            try:
                await self._pick_up()
                wait = pauses(LONGEST_PAUSE)
            except _FAILURES as error:
                log.info("cannot pick up mail: %s", error)
                await asyncio.sleep(next(wait))
                self._pick_up_wanted.set()

    async def _pick_up(self) -> None:
        """Take all that waits, page after page, until nothing comes that did not come before."""
        async with self._taking:
            acknowledged = self._acknowledged
            offered: set[str | None] = set()
            after: str | None = None
            while True:
                attachments = await self._fetch(after)
                if offered.issuperset(attachment.id for attachment in attachments):
                    break
                offered.update(attachment.id for attachment in attachments)
                for attachment in attachments:
                    await self._take(attachment)
                await self._acknowledge()
                after = attachments[-1].id
            self._more_behind = bool(attachments)  # it knows no pages
            if self._more_behind and self._acknowledged > acknowledged:
                self._pick_up_wanted.set()
            if len(attachments) >= BATCH:
                log.warning("%d messages wait to be acknowledged before others", len(attachments))

    async def _fetch(self, after: str | None) -> tuple[Attachment, ...]:
        """A batch of what waits, smaller where the mediator knows no measure."""
        try:
            return await self._account.fetch(BATCH, after)
        except AnswerTooLarge:
            return await self._account.fetch(1, after)

    # -- one letter

    async def _take(self, attachment: Attachment) -> None:
        """Sort one envelope; whatever a stranger put into it, the next one gets its turn."""
        id_ = attachment.id
        if id_ is None or self._letters.seen(id_) or self._put_off.waits(id_):
            return
        try:
            opened = await self._sealing.open(attachment.content(), self._glances)
        except UnresolvedSender as error:
            log.debug("left for later: %s", error)
            wait = self._put_off.put_off(id_)
            asyncio.get_running_loop().call_later(wait, self._pick_up_wanted.set)
        except MessagingError as error:
            log.debug("dropped: %s", error)
            self._letters.discard(id_)
            self._acknowledge_wanted.set()
        else:
            await self._sort(opened, id_)

    async def _sort(self, opened: Opened, attachment_id: str) -> None:
        is_ping = opened.message.type == trust_ping.Ping.TYPE
        is_answer = self._pings.is_answer(opened)
        if not (is_ping or is_answer or self._has_reader):
            return
        letter = self._letters.admit(opened.sender, opened.message.id, attachment_id)
        if letter is None:
            self._acknowledge_wanted.set()
            return
        if opened.prior is not None:
            for tell in self._on_rotation:
                tell(opened.prior)
        if is_ping and self._pings.wants_answer(opened):
            self._start(self._pong(opened.message, opened.sender or "", letter))
        elif is_ping:
            self._done(letter)
        elif is_answer:
            self._done(letter)
            self._pings.take_answer(opened)
        else:
            await self._inbox.put(Received(opened, attachment_id, letter, self._done))

    async def _pong(self, ping: Message, to: str, letter: Letter) -> None:
        expires = ping.expires_time or int(self._clock() + ANSWER_SECONDS)
        message = trust_ping.PingResponse().to_message(thid=ping.id)

        async def bring() -> None:
            ways = await self._sealing.ways(message, to, expires)
            await answer_stranger(ways, (await self._account.endpoints()).http)

        try:
            await self._pings.answer(bring)
        except (*_FAILURES, TimeoutError) as error:
            log.debug("ping not answered: %s", error)
        finally:
            self._done(letter)

    # -- acknowledging

    def _done(self, letter: Letter) -> None:
        self._letters.acknowledge(letter)
        self._acknowledge_wanted.set()

    async def _acknowledge_forever(self) -> None:
        wait = pauses(LONGEST_PAUSE)
        while True:
            await self._acknowledge_wanted.wait()
            await asyncio.sleep(ACKNOWLEDGE_WAIT)
            self._acknowledge_wanted.clear()
            try:
                await self._acknowledge()
                wait = pauses(LONGEST_PAUSE)
            except _FAILURES as error:
                log.info("cannot acknowledge mail: %s", error)
                await asyncio.sleep(next(wait))
                self._acknowledge_wanted.set()

    async def _acknowledge(self) -> None:
        while ids := self._letters.to_acknowledge(BATCH):
            await self._account.acknowledge(ids)
            self._letters.acknowledged(ids)
            self._acknowledged += len(ids)
            if self._more_behind:
                self._pick_up_wanted.set()

    async def _acknowledge_the_rest(self) -> None:
        try:
            async with asyncio.timeout(CLOSING_SECONDS):
                await self._acknowledge()
        except (*_FAILURES, TimeoutError) as error:
            log.info("some mail will come again: %s", error)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
