"""SICPA's didcomm 0.3.2 and peerdid 0.5.2 behind JSON lines; runs in their own environment.

One request a line, `{"op": …}`, one answer a line, `{"result": …}` or `{"error": …}`.
"""

import asyncio
import json
import sys
import time
import warnings

warnings.simplefilter("ignore")

from didcomm.common.algorithms import AnonCryptAlg  # noqa: E402
from didcomm.common.resolvers import ResolversConfig  # noqa: E402
from didcomm.common.types import (  # noqa: E402
    VerificationMaterial,
    VerificationMaterialFormat,
    VerificationMethodType,
)
from didcomm.did_doc.did_doc import DIDDoc  # noqa: E402
from didcomm.did_doc.did_resolver import DIDResolver  # noqa: E402
from didcomm.message import FromPrior, Message  # noqa: E402
from didcomm.pack_encrypted import PackEncryptedConfig, pack_encrypted  # noqa: E402
from didcomm.pack_signed import pack_signed  # noqa: E402
from didcomm.protocols.routing.forward import wrap_in_forward  # noqa: E402
from didcomm.secrets.secrets_resolver import Secret  # noqa: E402
from didcomm.secrets.secrets_resolver_in_memory import SecretsResolverInMemory  # noqa: E402
from didcomm.unpack import unpack  # noqa: E402
from peerdid.dids import create_peer_did_numalgo_2, resolve_peer_did  # noqa: E402
from peerdid.keys import Ed25519VerificationKey, X25519KeyAgreementKey  # noqa: E402

ENCRYPTIONS = {
    "A256CBC-HS512": AnonCryptAlg.A256CBC_HS512_ECDH_ES_A256KW,
    "A256GCM": AnonCryptAlg.A256GCM_ECDH_ES_A256KW,
    "XC20P": AnonCryptAlg.XC20P_ECDH_ES_A256KW,
}


class Documents(DIDResolver):
    def __init__(self):
        self.known = {}

    async def resolve(self, did):
        return self.known.get(did)


documents = Documents()
secrets = SecretsResolverInMemory([])
resolvers = ResolversConfig(secrets, documents)


def know(request):
    """Learn documents (JsonWebKey2020, referenced) and the secrets of those we play."""
    for document in request["documents"]:
        documents.known[document["id"]] = DIDDoc.deserialize(document)
    secrets.__init__([secret(entry["kid"], entry["jwk"]) for entry in request["secrets"]])
    return True


def secret(kid, jwk):
    material = VerificationMaterial(VerificationMaterialFormat.JWK, json.dumps(jwk))
    return Secret(kid, VerificationMethodType.JSON_WEB_KEY_2020, material)


async def pack(request):
    config = PackEncryptedConfig(
        enc_alg_anon=ENCRYPTIONS[request.get("encryption", "A256GCM")],
        protect_sender_id=request.get("protect_sender", False),
        forward=False,
    )
    result = await pack_encrypted(
        resolvers,
        message_of(dict(request["message"])),
        request["to"],
        request.get("sender"),
        request.get("sign_by"),
        config,
    )
    return result.packed_msg


def message_of(value):
    """Their writer signs `from_prior` itself and wants it as an object."""
    prior = value.pop("prior", None)
    message = Message.from_dict(value)
    if prior is not None:
        message.from_prior = FromPrior(**prior)
    return message


async def sign(request):
    result = await pack_signed(resolvers, message_of(dict(request["message"])), request["sign_by"])
    return result.packed_msg


async def open_(request):
    result = await unpack(resolvers, request["envelope"])
    meta = result.metadata
    return {
        "message": result.message.as_dict(),
        "authenticated": meta.authenticated,
        "signed": meta.non_repudiation,
        "sender_kid": meta.encrypted_from,
        "signer_kid": meta.sign_from,
    }


async def forward(request):
    result = await wrap_in_forward(
        resolvers,
        json.loads(request["envelope"]),
        request["to"],
        request["routing_keys"],
        ENCRYPTIONS[request.get("encryption", "A256GCM")],
    )
    return json.dumps(result.msg_encrypted.msg)


def create_peer_did(request):
    return create_peer_did_numalgo_2(
        [X25519KeyAgreementKey.from_multibase(request["encryption"])],
        [Ed25519VerificationKey.from_multibase(request["authentication"])],
        request["service"],
    )


def resolve(request):
    return resolve_peer_did(request["did"]).serialize()


async def measure(request):
    """CPU seconds for each of `count` runs of another request."""
    handler, inner = HANDLERS[request["request"]["op"]], request["request"]
    start = time.process_time()
    for _ in range(request["count"]):
        await handler(inner)
    return (time.process_time() - start) / request["count"]


HANDLERS = {
    "know": know,
    "pack": pack,
    "sign": sign,
    "unpack": open_,
    "forward": forward,
    "create_peer_did": create_peer_did,
    "resolve": resolve,
    "measure": measure,
}


async def main():
    for line in sys.stdin:
        request = json.loads(line)
        try:
            result = HANDLERS[request["op"]](request)
            answer = {"result": await result if asyncio.iscoroutine(result) else result}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
