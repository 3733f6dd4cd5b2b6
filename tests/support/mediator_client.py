"""A small DIDComm client for tests of the mediator; it imports nothing of agent or mediator."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import aiohttp

from identity.did_peer import create_2, didcomm_service
from identity.keys import Curve, PrivateKey
from messaging.message import Attachment, Message
from messaging.packing import Opened, pack, unpack
from messaging.protocols import coordinate_mediation as mediation
from messaging.protocols import message_pickup as pickup
from messaging.protocols.report_problem import ProblemReport
from messaging.protocols.routing import Forward
from resolvers.registry import default_registry


@dataclass(frozen=True)
class Reply:
    status: int
    content_type: str
    body: bytes


class Party:
    """A DID with its keys, and a connection to a mediator."""

    def __init__(
        self, http: aiohttp.ClientSession, mediator: str, url: str, *, service: str | None = None
    ) -> None:
        encryption, signing = PrivateKey.generate(Curve.X25519), PrivateKey.generate(Curve.ED25519)
        self.did = create_2(
            [encryption.public], [signing.public], [didcomm_service(service or mediator)]
        )
        self.secrets = {f"{self.did}#key-1": encryption, f"{self.did}#key-2": signing}
        self.mediator = mediator
        self.url = url
        self.resolver = default_registry()
        self.http = http

    # Over HTTP

    async def post(self, envelope: bytes, **headers: str) -> Reply:
        data = io.BytesIO(envelope)
        async with self.http.post(self.url, data=data, headers=headers) as answer:
            content_type = answer.headers.get("Content-Type", "")
            return Reply(answer.status, content_type, await answer.read())

    async def ask(self, message: Message) -> Message:
        """What the mediator answers, opened."""
        reply = await self.post(await self.seal(message))
        assert reply.body, f"status {reply.status} and nothing else"
        return (await self.open(reply.body)).message

    async def problem(self, message: Message) -> str:
        """The code of the problem report that must come back."""
        answer = await self.ask(message)
        assert answer.type == ProblemReport.TYPE, answer
        return ProblemReport.from_message(answer).code

    async def register(self) -> None:
        assert (await self.ask(mediation.MediateRequest().to_message())).type.endswith("-grant")
        assert await self.bind(self.did) in {"success", "no_change"}

    async def bind(self, did: str, action: str = "add") -> str:
        update = mediation.Update(did, mediation.Action(action))
        answer = await self.ask(mediation.RecipientUpdate((update,)).to_message())
        [updated] = mediation.RecipientUpdateResponse.from_message(answer).updated
        return updated.result.value

    async def bound(self) -> tuple[str, ...]:
        answer = await self.ask(mediation.RecipientQuery().to_message())
        return mediation.Recipients.from_message(answer).dids

    async def status(self, recipient: str | None = None) -> pickup.Status:
        answer = await self.ask(pickup.StatusRequest(recipient).to_message())
        return pickup.Status.from_message(answer)

    async def fetch(self, limit: int = 100, recipient: str | None = None) -> list[Attachment]:
        answer = await self.ask(pickup.DeliveryRequest(limit, recipient).to_message())
        return list(answer.attachments)

    async def acknowledge(self, ids: Sequence[str | None]) -> None:
        received = pickup.MessagesReceived(tuple(str(id_) for id_ in ids))
        assert (await self.ask(received.to_message())).type == pickup.Status.TYPE

    async def forward(self, to: str, *envelopes: dict[str, Any], **headers: Any) -> Reply:
        """As anybody may: without saying who sends it."""
        return await self.post(await self.sealed_forward(to, *envelopes, **headers))

    async def sealed_forward(
        self, to: str, *envelopes: dict[str, Any], known: bool = False, **headers: Any
    ) -> bytes:
        attachments = tuple(Attachment(id=None, json=envelope) for envelope in envelopes)
        return await self.seal(Forward(to, attachments).to_message(**headers), anonymous=not known)

    # Over a WebSocket

    @contextlib.asynccontextmanager
    async def socket(self, *, live: bool = True) -> AsyncIterator[Socket]:
        async with self.http.ws_connect(f"{self.url}/ws") as connection:
            socket = Socket(self, connection)
            if live:
                change = pickup.LiveDeliveryChange(True).to_message()
                socket.status = pickup.Status.from_message(await socket.ask(change))
            yield socket

    # Sealing

    async def seal(self, message: Message, *, anonymous: bool = False) -> bytes:
        return await pack(
            replace(message, created_time=int(time.time())),
            to=self.mediator,
            sender=None if anonymous else self.did,
            secrets=self.secrets,
            resolver=self.resolver,
        )

    async def open(self, envelope: bytes) -> Opened:
        opened = await unpack(
            envelope, secrets=self.secrets, resolver=self.resolver, now=int(time.time())
        )
        assert opened.sender == self.mediator
        return opened


class Socket:
    def __init__(
        self, party: Party, connection: aiohttp.ClientWebSocketResponse[Literal[True]]
    ) -> None:
        self.party = party
        self.connection = connection
        self.status: pickup.Status | None = None

    async def ask(self, message: Message) -> Message:
        await self.connection.send_bytes(await self.party.seal(message))
        return await self.receive()

    async def receive(self, timeout: float = 10.0) -> Message:
        return (
            await self.party.open((await self.connection.receive_str(timeout=timeout)).encode())
        ).message

    async def delivered(self, count: int) -> list[Attachment]:
        """The next `count` pushed messages."""
        attachments: list[Attachment] = []
        while len(attachments) < count:
            delivery = await self.receive()
            assert delivery.type == pickup.Delivery.TYPE
            attachments += delivery.attachments
        return attachments
