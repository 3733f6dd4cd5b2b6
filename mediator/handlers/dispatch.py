"""One entrance for every message: open, choose the handler by type, thread and seal.

Handlers return a message or refuse; here alone it is threaded, addressed and sealed,
from the DID that was addressed to the DID that the envelope proved.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from identity.keys import PrivateKey
from mediator.addresses import canonical, shorten
from mediator.delivery.live import Connection
from mediator.errors import Refusal
from mediator.guard.admission import Gate
from mediator.guard.limits import Guard
from mediator.settings.config import Compat
from mediator.stores.interface import StoreUnavailable
from messaging import errors
from messaging.jwe import DIDCOMM, Dialect
from messaging.message import Message
from messaging.packing import pack, sign, unpack
from messaging.protocols.report_problem import ProblemReport
from messaging.protocols.routing import Forward
from messaging.protocols.type_uri import KnownTypes
from messaging.replay import KEEP, ReplayGuard
from messaging.rotation import PriorDid
from resolvers.resolver import ResolutionError, Resolver

log = logging.getLogger(__name__)

# A sender that missed the answer sends the same bytes again, and may: they are stored once.
REPEATABLE = frozenset({Forward.TYPE})
PROBLEM_REPORT = "/problem-report"  # how the type of one ends, whatever its protocol
UNAVAILABLE = "e.p.me.res.storage.unavailable"
DEJAVU = "e.p.crypto.message.dejavu"

ENCRYPTED = "application/didcomm-encrypted+json"
SIGNED = "application/didcomm-signed+json"


ACCEPTED = "accepted"


@dataclass(frozen=True)
class Answer:
    """What goes back on the wire; an empty body is no message."""

    status: int = 200
    body: bytes = b""
    media_type: str = ENCRYPTED
    type: str | None = None  # of the message that is answered; None if it could not be opened
    outcome: str = ACCEPTED  # or the problem code


@dataclass(frozen=True)
class Request:
    """An opened message, as handlers get it."""

    message: Message
    ours: str  # our DID that was addressed
    sender: str | None  # the DID that the envelope proved
    now: int
    connection: Connection | None  # None over HTTP
    dialect: Dialect = DIDCOMM  # the sender's, which is what it reads
    address: str | None = None  # it came from; None where that is not known
    hops: int = 0  # mediators that passed it on, as far as they say
    prior: PriorDid | None = None  # the sender was known by another DID

    def proven_sender(self) -> str:
        if self.sender is None:
            raise Refusal("e.p.trust.crypto", "this needs an authenticated sender")
        return self.sender

    def account(self) -> str:
        """The name under which the store knows the sender."""
        return canonical(self.proven_sender())


Handler = Callable[[Request], Awaitable[Message | None]]
# Brings an answer (its type is the third) to the recipient's own address.
SendAway = Callable[[str, bytes, str, int], Awaitable[None]]


class ActOnce(Protocol):
    """Whether nobody acted on these bytes before; as of now it counts as done."""

    def __call__(self, who: str, proof: bytes, *, until: int) -> Awaitable[bool]: ...


class Sealer:
    """Packs what the mediator says; the only user of its secrets besides opening."""

    def __init__(self, secrets: Mapping[str, PrivateKey], resolver: Resolver) -> None:
        self.secrets = secrets
        self.resolver = resolver

    async def seal(
        self, message: Message, *, ours: str, to: str, now: int, dialect: Dialect = DIDCOMM
    ) -> bytes:
        addressed = dataclasses.replace(message, frm=ours, to=(to,), created_time=now)
        return await pack(
            addressed,
            to=to,
            sender=ours,
            secrets=self.secrets,
            resolver=self.resolver,
            dialect=dialect,
        )

    async def sign(self, message: Message, *, ours: str, now: int) -> bytes:
        """For somebody whose keys we do not know."""
        addressed = dataclasses.replace(message, frm=ours, created_time=now)
        return await sign(addressed, by=ours, secrets=self.secrets, resolver=self.resolver)


class Dispatcher:
    def __init__(
        self,
        handlers: Mapping[str, Handler],
        *,
        sealer: Sealer,
        default_did: str,
        clock: Callable[[], float],
        compat: Compat,
        guard: Guard,
        gate: Gate,
        observe: Callable[[str | None, str, float], None],
        follow: Callable[[PriorDid], Awaitable[None]],
        send_away: SendAway,
        lasting: Collection[str],
        act_once: ActOnce,
    ) -> None:
        """`lasting`: types of messages that may not be acted on twice by all processes together."""
        self._handlers = handlers
        self._types = KnownTypes(handlers)
        self._sealer = sealer
        self._default_did = default_did
        self._clock = clock
        self._guard = guard
        self._gate = gate
        self._observe = observe
        self._follow = follow
        self._send_away = send_away
        self._compat = compat
        self._lasting = lasting
        self._act_once = act_once
        self._replay = ReplayGuard()

    async def handle(
        self,
        data: bytes,
        connection: Connection | None = None,
        address: str | None = None,
        hops: int = 0,
    ) -> Answer:
        """Never raises on what a stranger sent."""
        began = time.perf_counter()
        answer = await self._handle(data, connection, address, hops)
        self._observe(answer.type, answer.outcome, time.perf_counter() - began)
        return answer

    async def _handle(
        self, data: bytes, connection: Connection | None, address: str | None, hops: int
    ) -> Answer:
        now = int(self._clock())
        noted = _NotedProof()
        try:
            opened = await unpack(
                data,
                secrets=self._sealer.secrets,
                resolver=self._sealer.resolver,
                now=now,
                replay=noted,
                leniency=self._compat.leniency,
            )
        except errors.MessagingError as error:
            log.debug("not opened: %s", error)
            return await self._report_unopened(error, now)
        if opened.recipient is None:
            return await self._report_unopened(errors.NotAddressedToUs([]), now)
        request = Request(
            self._named(opened.message),
            opened.recipient,
            opened.sender,
            now,
            connection,
            opened.dialect,
            address,
            hops,
            opened.prior,
        )
        return await self._answer(request, noted)

    def _named(self, message: Message) -> Message:
        """The message under the very name that is known for what it means."""
        known = self._types.known(message.type)
        if known is None or known == message.type:
            return message
        return dataclasses.replace(message, type=known)

    async def _answer(self, request: Request, noted: _NotedProof) -> Answer:
        try:
            if request.message.type not in REPEATABLE:
                noted.admit_to(self._replay)
            self._check_rates(request)
            if request.prior is not None:
                await self._follow(request.prior)
            reply = await self._perform(request, noted)
        except errors.Replayed as error:
            return await self._refuse(request, Refusal(DEJAVU, str(error)))
        except Refusal as refusal:
            return await self._refuse(request, refusal)
        if reply is None or request.sender is None:
            return Answer(type=request.message.type)
        answer = await self._seal(request, reply, 200)
        return dataclasses.replace(answer, type=request.message.type)

    async def _refuse(self, request: Request, refusal: Refusal) -> Answer:
        answer = await self._report(request, refusal)
        return dataclasses.replace(answer, type=request.message.type, outcome=refusal.code)

    def _is_awaited(self, request: Request) -> bool:
        """Whether an answer may take the way back on which the request came."""
        route = request.message.return_route
        if route is None:
            return self._compat.assumed_return_route
        return route != "none"

    def _check_rates(self, request: Request) -> None:
        if request.sender is not None:
            self._gate.check(request.account(), request.message.type)
            self._guard.check_account(request.account())
        if request.message.type == Forward.TYPE:
            recipient = str(request.message.body.get("next")).partition("#")[0]
            self._guard.check_pair(request.sender or request.address, recipient)

    async def _perform(self, request: Request, noted: _NotedProof) -> Message | None:
        handler = self._handlers.get(request.message.type)
        if handler is None:
            raise Refusal("e.p.msg.unsupported", f"unknown type {request.message.type[:100]}")
        try:
            if request.message.type in self._lasting:
                await noted.admit_for_all(self._act_once)
            return await handler(request)
        except errors.MalformedMessage as error:
            raise Refusal("e.p.msg.malformed", str(error), status=400) from error
        except StoreUnavailable as error:
            log.error("the store is not available: %s", error)  # noqa: TRY400
            raise Refusal(UNAVAILABLE, "try again later", status=503) from error

    async def _report(self, request: Request, refusal: Refusal) -> Answer:
        message = request.message
        log.info("refused %.100r of %s: %s", message.type, _who(request), refusal.code)
        if message.type.endswith(PROBLEM_REPORT):
            return Answer()  # an answer to a report could begin a loop
        report = ProblemReport(code=refusal.code, comment=refusal.comment).to_message(
            pthid=message.thread
        )
        if refusal.report is not None:
            report = dataclasses.replace(report, type=refusal.report)
        if request.sender is not None:
            return await self._seal(request, report, refusal.status)
        body = await self._sealer.sign(report, ours=request.ours, now=request.now)
        return Answer(refusal.status if refusal.status >= 400 else 400, body, SIGNED)

    async def _seal(self, request: Request, message: Message, status: int) -> Answer:
        to = request.proven_sender()
        threaded = dataclasses.replace(
            message, thid=message.thid or (None if message.pthid else request.message.thread)
        )
        try:
            body = await self._sealer.seal(
                threaded, ours=request.ours, to=to, now=request.now, dialect=request.dialect
            )
        except (errors.MessagingError, ResolutionError) as error:
            log.info("cannot answer %s: %s", shorten(to), error)
            return Answer(status)
        if self._is_awaited(request):
            return Answer(status, body)
        await self._send_away(to, body, threaded.type, request.now)
        return Answer(status)

    async def _report_unopened(self, error: errors.MessagingError, now: int) -> Answer:
        code, status = _CODES.get(type(error), ("e.p.msg.malformed", 400))
        report = ProblemReport(code=code, comment=str(error)).to_message()
        body = await self._sealer.sign(report, ours=self._default_did, now=now)
        return Answer(status, body, SIGNED, outcome=code)


_CODES: Mapping[type[errors.MessagingError], tuple[str, int]] = {
    errors.UnsupportedAlgorithm: ("e.p.crypto.unsupported", 400),
    errors.NotAddressedToUs: ("e.p.crypto", 400),
    errors.DecryptionFailed: ("e.p.crypto", 400),
    errors.UnprovenSender: ("e.p.trust.crypto", 400),
    errors.UnresolvedSender: ("e.p.did", 400),
    errors.Expired: ("e.p.msg.expired", 400),
}


class _NotedProof(ReplayGuard):
    """Takes note of what would be admitted: whether it matters shows when the message is open."""

    def __init__(self) -> None:
        self._proof: tuple[str, bytes, int] | None = None

    def admit(self, sender: str, proof: bytes, now: int) -> None:
        self._proof = (sender, proof, now)

    def admit_to(self, guard: ReplayGuard) -> None:
        """Raises: Replayed."""
        if self._proof is not None:
            guard.admit(*self._proof)

    async def admit_for_all(self, act_once: ActOnce) -> None:
        """Of all processes on one store. Raises: Replayed, StoreUnavailable."""
        if self._proof is not None:
            sender, proof, now = self._proof
            if not await act_once(sender, proof, until=now + KEEP):
                raise errors.Replayed


def _who(request: Request) -> str:
    return "a stranger" if request.sender is None else shorten(request.sender)
