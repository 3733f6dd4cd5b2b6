"""SICPA's didcomm 0.3.2 with peerdid 0.5.2 as the client of a mediator, behind JSON lines.

didcomm seals, opens and wraps; peerdid makes and reads DIDs and names their keys by the first
characters of their text, as both did when they were written: for `ids` "legacy" that is left so,
for "key-N" the keys have the names of today's did:peer:2. HTTP is this driver's.
"""

import base64
import json
import time
import urllib.request
import uuid
import warnings

warnings.simplefilter("ignore")

from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: E402
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey  # noqa: E402
from didcomm.common.algorithms import AnonCryptAlg  # noqa: E402
from didcomm.common.resolvers import ResolversConfig  # noqa: E402
from didcomm.common.types import (  # noqa: E402
    VerificationMaterial,
    VerificationMaterialFormat,
    VerificationMethodType,
)
from didcomm.did_doc.did_doc import DIDDoc  # noqa: E402
from didcomm.did_doc.did_resolver import DIDResolver  # noqa: E402
from didcomm.message import Message  # noqa: E402
from didcomm.pack_encrypted import PackEncryptedConfig, pack_encrypted  # noqa: E402
from didcomm.protocols.routing.forward import wrap_in_forward  # noqa: E402
from didcomm.secrets.secrets_resolver import Secret  # noqa: E402
from didcomm.secrets.secrets_resolver_in_memory import SecretsResolverInMemory  # noqa: E402
from didcomm.unpack import unpack  # noqa: E402
from lines import serve  # noqa: E402
from peerdid.dids import create_peer_did_numalgo_2, resolve_peer_did  # noqa: E402
from peerdid.keys import Ed25519VerificationKey, X25519KeyAgreementKey  # noqa: E402

MEDIATION = "https://didcomm.org/coordinate-mediation"
PICKUP = "https://didcomm.org/messagepickup/3.0"
WORDS = {
    "2.0": ("keylist-update", "keylist-query", "keys"),
    "3.0": ("recipient-update", "recipient-query", "dids"),
}


class PeerDids(DIDResolver):
    def __init__(self, ids):
        self.ids = ids

    async def resolve(self, did):
        # Without services: the two packages no longer agree on what one looks like.
        return DIDDoc.deserialize(self.document(did) | {"service": []})

    def document(self, did):
        """As peerdid reads it, which takes one service alone: the first."""
        segments = did.split(".")
        services = [segment for segment in segments if segment.startswith("S")]
        short = ".".join([s for s in segments if not s.startswith("S")] + services[:1])
        document = resolve_peer_did(short).serialize()
        for number, method in enumerate(document["verificationMethod"], 1):
            old, method["controller"] = method["id"], did
            method["id"] = f"{did}#key-{number}" if self.ids == "key-N" else did + old
            for name in ("authentication", "keyAgreement"):
                document[name] = [method["id"] if kid == old else kid for kid in document[name]]
        return document | {"id": did}


class Client:
    def begin(self, mediator, version, ids="key-N"):
        self.mediator, self.version = mediator, version
        self.documents = PeerDids(ids)
        self.secrets = SecretsResolverInMemory([])
        self.resolvers = ResolversConfig(self.secrets, self.documents)
        service = self.documents.document(mediator)["service"][0]
        self.url = service["serviceEndpoint"]["uri"]
        self.account = self.create("didcomm:transport/queue")
        return self.account

    def create(self, uri):
        encryption, signing = X25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        did = create_peer_did_numalgo_2(
            [X25519KeyAgreementKey(raw(encryption.public_key()))],
            [Ed25519VerificationKey(raw(signing.public_key()))],
            {
                "type": "DIDCommMessaging",
                "serviceEndpoint": {"uri": uri, "accept": ["didcomm/v2"], "routingKeys": []},
            },
        )
        (kid,) = self.documents.document(did)["keyAgreement"]
        jwk = {
            "kty": "OKP",
            "crv": "X25519",
            "x": b64url(raw(encryption.public_key())),
            "d": b64url(encryption.private_bytes_raw()),
        }
        material = VerificationMaterial(VerificationMaterialFormat.JWK, json.dumps(jwk))
        secret = Secret(kid, VerificationMethodType.JSON_WEB_KEY_2020, material)
        self.secrets._secrets[kid] = secret
        return did

    async def register(self):
        answer = await self.ask(f"{MEDIATION}/{self.version}/mediate-request", {})
        return answer.body["routing_did"]

    async def bind(self):
        self.did = self.create(self.mediator)
        answer = await self.ask(
            f"{MEDIATION}/{self.version}/{WORDS[self.version][0]}",
            {"updates": [{"recipient_did": self.did, "action": "add"}]},
        )
        return {"did": self.did, **answer.body["updated"][0]}

    async def bound(self):
        _, query, listed = WORDS[self.version]
        answer = await self.ask(f"{MEDIATION}/{self.version}/{query}", {})
        return [entry["recipient_did"] for entry in answer.body[listed]]

    async def write(self, text, to=None):
        """As somebody else, wrapped by hand: its own routing does not see a DID as a way."""
        stranger, to = self.create("didcomm:transport/queue"), to or self.did
        message = Message(
            id=str(uuid.uuid4()),
            type="https://didcomm.org/basicmessage/2.0/message",
            body={"content": text},
            frm=stranger,
            to=[to],
        )
        config = PackEncryptedConfig(forward=False)
        packed = await pack_encrypted(self.resolvers, message, to, stranger, pack_config=config)
        forward = await wrap_in_forward(
            self.resolvers,
            json.loads(packed.packed_msg),
            to,
            [self.mediator],
            AnonCryptAlg.XC20P_ECDH_ES_A256KW,
        )
        status, _ = self.post(json.dumps(forward.msg_encrypted.msg))
        return status

    async def count(self):
        return (await self.ask(f"{PICKUP}/status-request", {})).body["message_count"]

    async def fetch(self, limit):
        answer = await self.ask(f"{PICKUP}/delivery-request", {"limit": limit})
        return [await self.opened(attachment) for attachment in answer.attachments or []]

    async def opened(self, attachment):
        message = (await unpack(self.resolvers, json.dumps(attachment.data.json))).message
        return {"id": attachment.id, "text": message.body["content"], "from": message.frm}

    async def acknowledge(self, ids):
        answer = await self.ask(f"{PICKUP}/messages-received", {"message_id_list": ids})
        return answer.body["message_count"]

    def leave(self):
        pass

    async def ask(self, type_, body):
        message = Message(
            id=str(uuid.uuid4()),
            type=type_,
            body=body,
            frm=self.account,
            to=[self.mediator],
            created_time=int(time.time()),
            custom_headers={"return_route": "all"},
        )
        config = PackEncryptedConfig(forward=False)
        packed = await pack_encrypted(
            self.resolvers, message, self.mediator, self.account, pack_config=config
        )
        self.sealed = packed.packed_msg
        status, answer = self.post(packed.packed_msg)
        if not answer:
            raise RuntimeError(f"status {status} and no answer to {type_}")
        return (await unpack(self.resolvers, answer)).message

    def post(self, envelope):
        headers = {"Content-Type": "application/didcomm-encrypted+json"}
        request = urllib.request.Request(self.url, envelope.encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()


def raw(key):
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


serve(Client())
