"""Our account at our mediator: every request is an envelope of ours, every answer one of its.

NoMediator           the profile has none
MediatorUnusable     its DID offers no endpoint we can use
MediatorRefused      it answered with a problem report or a denial
MediatorConfused     its answer is not one, or is not the mediator's
OtherRouting         it grants mail through another DID than the one our own DID names
"""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self, TypeVar
from urllib.parse import urlsplit

from agent.errors import Exit, MailboxError
from agent.mail.transport import Transport
from identity.did import shorten
from identity.keystore import Profile
from messaging import binding
from messaging.errors import MessagingError
from messaging.message import Attachment, Message
from messaging.packing import pack, unpack
from messaging.protocols import coordinate_mediation as mediation
from messaging.protocols import message_pickup as pickup
from messaging.protocols import relay, report_problem, traversal
from resolvers.resolver import Resolver
from traversal.candidate import Address
from traversal.relay import MAX_HOSTS, RelayTicket


class _Readable(Protocol):
    @classmethod
    def from_message(cls, message: Message) -> Self: ...


_Content = TypeVar("_Content", bound=_Readable)


class NoMediator(MailboxError):
    def __init__(self, did: str) -> None:
        super().__init__(
            f"{shorten(did)} has no mediator, so nobody can write to it",
            "agent create-did --mediator URL --profile NAME makes one that has",
        )


class MediatorUnusable(MailboxError):
    def __init__(self, mediator: str, reason: str) -> None:
        super().__init__(f"cannot use mediator {shorten(mediator)}: {reason}")


class MediatorRefused(MailboxError):
    """It understood, and says no; `code` is its problem code."""

    exit_code = Exit.REFUSED

    def __init__(self, code: str, comment: str) -> None:
        super().__init__(f"the mediator refused: {comment} ({code})")
        self.code = code


class MediatorConfused(MailboxError):
    def __init__(self, what: str) -> None:
        super().__init__(f"the mediator's answer is of no use: {what}")


class OtherRouting(MailboxError):
    """Mail to the service our DID names would not reach this account."""

    exit_code = Exit.IDENTITY

    def __init__(self, ours: str, granted: Sequence[str]) -> None:
        super().__init__(
            f"our DID names the mediator {shorten(ours)}, but it grants mail through "
            f"{', '.join(shorten(did) for did in granted) or 'none'}",
            "a DID made for this mediator needs its present invitation: use another profile",
        )


class Endpoints(NamedTuple):
    http: str
    websocket: str | None


@dataclass(frozen=True)
class Queue:
    """What waits for us at the mediator."""

    messages: int
    bytes: int | None  # if the mediator says so


class Account:
    """The requests a party makes of its mediator; nothing here waits for mail.

    Every method raises MailboxError (EndpointUnreachable, EndpointRefused or one of this module)
    and, for a mediator whose DID cannot be used, ResolutionError or MessagingError.
    """

    def __init__(
        self,
        profile: Profile,
        resolver: Resolver,
        transport: Transport,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if profile.mediator is None:
            raise NoMediator(profile.did)
        self.did = profile.did
        self.mediator = profile.mediator
        self._secrets = profile.secrets
        self._resolver = resolver
        self._transport = transport
        self._clock = clock

    async def register(self, invitation: str | None = None) -> None:
        """Have the mediator take mail for our DID; doing it again changes nothing.

        `invitation` is the id of the out-of-band invitation that we follow, if there was one.

        Raises: OtherRouting, MediatorRefused.
        """
        answer = await self._ask(mediation.MediateRequest().to_message(pthid=invitation))
        if answer.type == mediation.MediateDeny.TYPE:
            raise MediatorRefused("mediate-deny", "it takes no mail for us")
        granted = _read(mediation.MediateGrant, answer).routing_dids
        if self.mediator not in granted:
            raise OtherRouting(self.mediator, granted)
        await self.take_for(self.did)

    async def take_for(self, did: str, proof: str | None = None) -> None:
        """Have it take mail for a DID of ours; `proof` is that DID's own word that it is.

        Raises: MediatorRefused.
        """
        await self._update(did, mediation.Action.ADD, proof)

    async def leave(self, did: str) -> None:
        """Have it take mail for that DID no more. Raises: MediatorRefused."""
        await self._update(did, mediation.Action.REMOVE, None)

    async def registered(self) -> bool:
        """Whether the mediator says it takes mail for our DID."""
        try:
            answer = await self._ask(mediation.RecipientQuery().to_message())
        except MediatorRefused:
            return False
        return self.did in _read(mediation.Recipients, answer).dids

    async def queue(self) -> Queue:
        """What waits for us. Raises: MediatorRefused, for one that does not know us."""
        answer = await self._ask(pickup.StatusRequest().to_message())
        status = _read(pickup.Status, answer)
        return Queue(status.message_count, status.total_bytes)

    async def fetch(self, limit: int, after: str | None = None) -> tuple[Attachment, ...]:
        """The oldest envelopes that wait, at most `limit`; they stay until acknowledged.

        With `after`, the id of one that was fetched, those behind it; a mediator that knows no
        pages begins at the front again.
        """
        request = pickup.DeliveryRequest(limit=limit, after=after)
        answer = await self._ask(request.to_message())
        return self.delivered(answer)

    async def acknowledge(self, ids: Sequence[str]) -> None:
        """Let the mediator forget these; ids it does not know do no harm."""
        await self._ask(pickup.MessagesReceived(tuple(ids)).to_message())

    async def stun_servers(self) -> tuple[Address, ...]:
        """Where the mediator tells us our address, as it looks from outside."""
        answer = _read(traversal.Servers, await self._ask(traversal.Query().to_message()))
        host = urlsplit((await self.endpoints()).http).hostname or ""
        found: dict[Address, None] = {}
        for server in answer.stun:
            for address in await _look_up(server.host or host, server.port):
                found[address] = None
        return tuple(found)

    async def relays(self, session: str, count: int) -> tuple[tuple[RelayTicket, RelayTicket], ...]:
        """Up to `count` pairs at the mediator's relay: our ticket and the other party's each."""
        answer = _read(relay.Tickets, await self._ask(relay.Request(session, count).to_message()))
        host = urlsplit((await self.endpoints()).http).hostname or ""
        named = {name for pair in answer.pairs for name in pair.hosts or (host,)}
        known = {name: await _look_up(name, 0) for name in named}
        made = []
        for pair in answer.pairs:
            found = [address.host for name in pair.hosts or (host,) for address in known[name]]
            hosts = tuple(dict.fromkeys(found))[:MAX_HOSTS]
            if hosts:
                made.append((pair.side(0, hosts), pair.side(1, hosts)))
        return tuple(made)

    async def keeps_mail_of(self, did: str) -> bool:
        """Whether our mediator is that party's, too. Raises: ResolutionError, IdentityError."""
        document = await self._resolver.resolve(did)
        services = document.didcomm_services()
        return any(at.uri == self.mediator for service in services for at in service.endpoints)

    async def endpoints(self) -> Endpoints:
        """Where the mediator's DID document says it listens. Raises: MediatorUnusable."""
        document = await self._resolver.resolve(self.mediator)
        uris = [
            endpoint.uri
            for service in document.didcomm_services()
            for endpoint in service.endpoints
        ]
        http = next((uri for uri in uris if uri.startswith(("http://", "https://"))), None)
        if http is None:
            raise MediatorUnusable(self.mediator, "its DID offers no HTTP endpoint")
        return Endpoints(http, next((u for u in uris if u.startswith(("ws://", "wss://"))), None))

    async def live_request(self) -> tuple[str, bytes]:
        """Id and envelope of the request to push mail through the socket it is sent on."""
        message = pickup.LiveDeliveryChange(live_delivery=True).to_message()
        return message.id, await self.seal(message)

    async def seal(self, message: Message) -> bytes:
        """An envelope for the mediator, whose answer comes back the same way."""
        return await pack(
            dataclasses.replace(
                message,
                frm=self.did,
                to=(self.mediator,),
                created_time=int(self._clock()),
                return_route="all",
            ),
            to=self.mediator,
            sender=self.did,
            secrets=self._secrets,
            resolver=self._resolver,
        )

    async def open(self, envelope: bytes) -> Message:
        """What the mediator says; nobody else may say anything here.

        Raises: MediatorConfused; MediatorRefused, if it reports a problem.
        """
        try:
            opened = await unpack(
                envelope,
                secrets=self._secrets,
                resolver=self._resolver,
                now=int(self._clock()),
            )
        except MessagingError as error:
            raise MediatorConfused(str(error)) from error
        if opened.sender != self.mediator:
            raise MediatorConfused("it is from somebody else")
        if opened.message.type == report_problem.ProblemReport.TYPE:
            problem = _read(report_problem.ProblemReport, opened.message)
            raise MediatorRefused(problem.code, problem.text)
        return opened.message

    def delivered(self, message: Message) -> tuple[Attachment, ...]:
        """The attachments of a delivery; none for the status that tells of an empty queue."""
        if message.type == pickup.Status.TYPE:
            return ()
        return _read(pickup.Delivery, message).attachments

    async def _update(self, did: str, action: mediation.Action, proof: str | None) -> None:
        update = mediation.Update(recipient_did=did, action=action)
        request = mediation.RecipientUpdate(updates=(update,)).to_message()
        if proof is not None:
            request = dataclasses.replace(request, attachments=(binding.attached(proof),))
        answer = _read(mediation.RecipientUpdateResponse, await self._ask(request))
        results = [u.result for u in answer.updated if u.recipient_did == did]
        if results not in ([mediation.Result.SUCCESS], [mediation.Result.NO_CHANGE]):
            raise MediatorRefused("recipient-update", f"{shorten(did)} was not changed: {results}")

    async def _ask(self, request: Message) -> Message:
        envelope = await self.seal(request)
        data = await self._transport.post((await self.endpoints()).http, envelope)
        if not data:
            raise MediatorConfused("it is empty")
        answer = await self.open(data)
        if answer.thid != request.id:
            raise MediatorConfused("it belongs to another request")
        return answer


def _read(kind: type[_Content], message: Message) -> _Content:
    try:
        return kind.from_message(message)
    except MessagingError as error:
        raise MediatorConfused(str(error)) from error


async def _look_up(host: str, port: int) -> list[Address]:
    """Addresses of a host by name or number; none if there is no such host."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except OSError:
        return []
    return [Address(str(address[0]), port) for _, _, _, _, address in found]
