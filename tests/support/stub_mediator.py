"""A mediator inside the test: honest unless told otherwise, and everything it holds can be seen.

It keeps one queue for everybody, so a test with two parties gives each its own stub.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import WSMsgType, web

from identity import did_peer
from identity.codec import b64url_encode
from identity.keys import Curve, PrivateKey
from messaging.message import Attachment, Message
from messaging.packing import Opened, pack, unpack
from messaging.protocols import coordinate_mediation as mediation
from messaging.protocols import message_pickup as pickup
from messaging.protocols import traversal
from messaging.protocols.out_of_band import Invitation
from messaging.protocols.report_problem import ProblemReport
from messaging.protocols.routing import Forward
from resolvers.registry import default_registry

RESOLVER = default_registry()


class StubMediator:
    def __init__(self) -> None:
        self.queue: dict[str, bytes] = {}  # attachment id: envelope
        self.acknowledged: list[str] = []
        self.asked: list[str] = []  # types of the requests that came
        self.recipients: list[str] = []
        self.forwards: list[Message] = []
        self.stun: list[traversal.StunServer] = []
        self.routing_dids: tuple[str, ...] | None = None  # None: its own DID
        self.denies = False
        self.forgets_everybody = False
        self.offers_socket = True
        self.pushes = True
        self.pages = False  # whether it knows what a delivery-request says it comes `after`
        self.refuses: list[int] = []  # HTTP status of the next requests
        self.hangs = False
        self.hanging = 0  # requests that wait for ever
        self.answers_as: StubMediator | None = None
        self.sockets: list[tuple[web.WebSocketResponse, str]] = []
        self._next_id = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextlib.asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator[StubMediator]:
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_post("/", self._post)
        app.router.add_get("/ws", self._websocket)
        app.router.add_get("/invitation", self._invitation)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        self.port = runner.addresses[0][1]
        if not hasattr(self, "did"):
            self._make_did()
        try:
            yield self
        finally:
            await self.drop_sockets()
            await runner.cleanup()

    def _make_did(self) -> None:
        encryption, signing = PrivateKey.generate(Curve.X25519), PrivateKey.generate(Curve.ED25519)
        services = [did_peer.didcomm_service(self.url)]
        services.append(did_peer.didcomm_service(f"ws://127.0.0.1:{self.port}/ws"))
        self.did = did_peer.create_2([encryption.public], [signing.public], services)
        self.secrets = {f"{self.did}#key-1": encryption, f"{self.did}#key-2": signing}

    # What a test does to it

    async def put(self, envelope: bytes) -> str:
        """Queue an envelope and push it to whoever is live."""
        self._next_id += 1
        id_ = f"q{self._next_id}"
        self.queue[id_] = envelope
        if self.pushes:
            await self.push(id_)
        return id_

    async def push(self, *ids: str) -> None:
        for socket, party in self.sockets:
            delivery = pickup.Delivery(self._attachments(ids)).to_message()
            with contextlib.suppress(ConnectionError):
                await socket.send_bytes(await self._seal(delivery, party))

    async def say(self, data: bytes) -> None:
        """Send anything at all to whoever is live."""
        for socket, _ in self.sockets:
            await socket.send_bytes(data)

    async def drop_sockets(self) -> None:
        for socket, _ in list(self.sockets):
            await socket.close()

    # What it does by itself

    async def _invitation(self, _request: web.Request) -> web.Response:
        return web.json_response(Invitation(self.did).to_message().to_json())

    async def _post(self, request: web.Request) -> web.Response:
        if self.refuses:
            return web.Response(status=self.refuses.pop(0))
        if self.hangs:
            self.hanging += 1
            await asyncio.Event().wait()
        opened = await self._open(await request.read())
        answer = await self._answer(opened)
        if answer is None:
            return web.Response()
        assert opened.sender is not None
        return web.Response(body=await self._seal(answer, opened.sender, opened.message.id))

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        if not self.offers_socket:
            return web.Response(status=404)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        here: tuple[web.WebSocketResponse, str] | None = None
        async for frame in socket:
            if frame.type is not WSMsgType.TEXT:
                continue
            opened = await self._open(frame.data.encode())
            answer = await self._answer(opened)
            assert answer is not None
            assert opened.sender is not None
            await socket.send_bytes(await self._seal(answer, opened.sender, opened.message.id))
            here = (socket, opened.sender)
            self.sockets.append(here)
        if here is not None:
            self.sockets.remove(here)
        return socket

    async def _answer(self, opened: Opened) -> Message | None:
        message = opened.message
        self.asked.append(message.type)
        match message.type:
            case Forward.TYPE:
                self.forwards.append(message)
                for envelope in Forward.from_message(message).envelopes():
                    await self.put(envelope)
                return None
            case mediation.MediateRequest.TYPE if self.denies:
                return mediation.MediateDeny().to_message()
            case mediation.MediateRequest.TYPE:
                return mediation.MediateGrant(self.routing_dids or (self.did,)).to_message()
            case mediation.RecipientUpdate.TYPE:
                return self._update(mediation.RecipientUpdate.from_message(message))
            case _ if self.forgets_everybody:
                return ProblemReport("e.p.req.not_enroll", "ask for mediation first").to_message()
            case mediation.RecipientQuery.TYPE:
                return mediation.Recipients(tuple(self.recipients)).to_message()
            case pickup.StatusRequest.TYPE | pickup.LiveDeliveryChange.TYPE:
                return pickup.Status(len(self.queue)).to_message()
            case pickup.DeliveryRequest.TYPE if self.queue:
                return self._deliver(pickup.DeliveryRequest.from_message(message))
            case pickup.DeliveryRequest.TYPE:
                return pickup.Status(0).to_message()
            case pickup.MessagesReceived.TYPE:
                for id_ in pickup.MessagesReceived.from_message(message).ids:
                    self.queue.pop(id_, None)
                    self.acknowledged.append(id_)
                return pickup.Status(len(self.queue)).to_message()
            case traversal.Query.TYPE:
                return traversal.Servers(tuple(self.stun)).to_message()
        raise AssertionError(f"nobody expected {message.type}")

    def _update(self, request: mediation.RecipientUpdate) -> Message:
        self.forgets_everybody = False
        updated = []
        for update in request.updates:
            known = update.recipient_did in self.recipients
            result = mediation.Result.NO_CHANGE if known else mediation.Result.SUCCESS
            if not known:
                self.recipients.append(update.recipient_did)
            updated.append(mediation.Updated(update.recipient_did, update.action, result))
        return mediation.RecipientUpdateResponse(tuple(updated)).to_message()

    def _deliver(self, request: pickup.DeliveryRequest) -> Message:
        ids = list(self.queue)
        if self.pages and request.after is not None:
            ids = [id_ for id_ in ids if int(id_[1:]) > int(request.after[1:])]
        if not ids:
            return pickup.Status(len(self.queue)).to_message()
        return pickup.Delivery(self._attachments(ids[: request.limit])).to_message()

    def _attachments(self, ids: Any) -> tuple[Attachment, ...]:
        return tuple(
            Attachment(id=id_, base64=_base64(self.queue[id_])) for id_ in ids if id_ in self.queue
        )

    async def _open(self, envelope: bytes) -> Opened:
        now = int(time.time())
        return await unpack(envelope, secrets=self.secrets, resolver=RESOLVER, now=now)

    async def _seal(self, message: Message, to: str, thid: str | None = None) -> bytes:
        author = self.answers_as or self
        headers = Message(
            message.type,
            message.body,
            thid=thid,
            created_time=int(time.time()),
            attachments=message.attachments,
        )
        return await pack(
            headers, to=to, sender=author.did, secrets=author.secrets, resolver=RESOLVER
        )


def _base64(envelope: bytes) -> str:
    return b64url_encode(envelope)
