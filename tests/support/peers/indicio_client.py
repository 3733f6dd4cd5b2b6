"""PyPI didcomm-messaging 0.1.1 as the client of a mediator: its own quickstart, behind JSON lines.

The quickstart resolves, seals, posts, fetches, acknowledges and listens; this only calls it.
"""

import asyncio
import json
import uuid
import warnings

warnings.simplefilter("ignore")

from didcomm_messaging import quickstart  # noqa: E402
from lines import serve  # noqa: E402

MEDIATION = "https://didcomm.org/coordinate-mediation/3.0"
PICKUP = "https://didcomm.org/messagepickup/3.0"


class Client:
    async def begin(self, mediator, version):
        self.mediator = mediator
        self.account, self.keys = quickstart.generate_did()
        self.dmp = await quickstart.setup_default(self.account, self.keys)
        return self.account

    async def register(self):
        """Asks for mediation and binds in one go: its helper does both."""
        self.did = await quickstart.setup_relay(self.dmp, self.account, self.mediator, *self.keys)
        document = await self.dmp.resolver.resolve(self.did)
        return document["service"][0]["serviceEndpoint"]["uri"]

    async def bind(self):
        answer = await self.ask(
            f"{MEDIATION}/recipient-update",
            {"updates": [{"recipient_did": self.did, "action": "add"}]},
        )
        return {"did": self.did, **answer["body"]["updated"][0]}

    async def bound(self):
        answer = await self.ask(f"{MEDIATION}/recipient-query", {})
        return [entry["recipient_did"] for entry in answer["body"]["dids"]]

    async def write(self, text, to=None):
        """As somebody else, from an account of its own."""
        stranger, keys = quickstart.generate_did()
        dmp = await quickstart.setup_default(stranger, keys)
        message = {
            "type": "https://didcomm.org/basicmessage/2.0/message",
            "id": str(uuid.uuid4()),
            "body": {"content": text},
            "from": stranger,
            "to": [to or self.did],
        }
        # Raises on any status but 200.
        await quickstart.send_http_message(dmp, stranger, message, target=to or self.did)
        return 200

    async def count(self):
        return (await self.ask(f"{PICKUP}/status-request", {}))["body"]["message_count"]

    async def fetch(self, limit):
        """One by one: its helper for fetching acknowledges at once; see `fetch_all`."""
        answer = await self.ask(f"{PICKUP}/delivery-request", {"limit": limit})
        return [await self.opened(attachment) for attachment in answer.get("attachments", [])]

    async def opened(self, attachment):
        unpacked = await self.dmp.unpack(json.dumps(attachment["data"]["json"]))
        message = unpacked.message
        return {"id": attachment["id"], "text": message["body"]["content"], "from": message["from"]}

    async def fetch_all(self):
        texts = []

        async def heard(message):
            texts.append(message["body"]["content"])

        await quickstart.fetch_relayed_messages(self.dmp, self.account, self.mediator, heard)
        return texts

    async def acknowledge(self, ids):
        answer = await self.ask(f"{PICKUP}/messages-received", {"message_id_list": ids})
        return answer["body"]["message_count"]

    async def go_live(self):
        """Its handler hides what comes from the mediator itself, so this listens beneath it."""
        self.pushes = asyncio.Queue()
        unpack = self.dmp.unpack

        async def heard(envelope):
            unpacked = await unpack(envelope)
            if unpacked.message["type"].startswith(PICKUP):
                self.pushes.put_nowait(unpacked.message)
            return unpacked

        self.dmp.unpack = heard
        self.listening = await quickstart.activate_websocket(
            self.dmp, self.account, self.mediator, create_task=True
        )
        status = await asyncio.wait_for(self.pushes.get(), 10)
        return {"count": status["body"]["message_count"], "live": status["body"]["live_delivery"]}

    async def pushed(self):
        delivery = await asyncio.wait_for(self.pushes.get(), 10)
        return await self.opened(delivery["attachments"][0])

    async def leave(self):
        if hasattr(self, "listening"):
            self.listening.cancel()

    async def ask(self, type_, body):
        message = {"type": type_, "body": body, "from": self.account, "to": [self.mediator]}
        return await quickstart.send_http_message(
            self.dmp, self.account, message, target=self.mediator
        )


serve(Client())
