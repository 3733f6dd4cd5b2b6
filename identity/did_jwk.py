"""did:jwk: the DID is a JSON Web Key.

Source: https://github.com/quartzjer/did-jwk/blob/main/spec.md
"""

from __future__ import annotations

from typing import Any

import orjson

from identity.codec import b64url_decode, b64url_encode, parse_json
from identity.did import parse_did
from identity.document import DidDocument
from identity.errors import InvalidDid, InvalidDocument
from identity.keys import Curve, PublicKey

_MAX_DEPTH = 2  # an object; `key_ops` is a list in it


def create(key: PublicKey) -> str:
    """Write a did:jwk; `use` keeps readers from signing with an X25519 key, or the reverse."""
    jwk = key.to_jwk()
    if key.curve in (Curve.ED25519, Curve.X25519):
        jwk["use"] = "sig" if key.curve is Curve.ED25519 else "enc"
    return f"did:jwk:{b64url_encode(orjson.dumps(jwk))}"


def resolve(did: str) -> DidDocument:
    """The document of a did:jwk; its one key is `#0`. Raises: InvalidDid."""
    method, encoded = parse_did(did)
    if method != "jwk":
        raise InvalidDid("not a did:jwk")
    jwk = _decode(encoded)
    document: dict[str, Any] = {
        "id": did,
        "verificationMethod": [{"id": "#0", "type": "JsonWebKey", "publicKeyJwk": jwk}],
    }
    if jwk.get("use") != "enc":
        for relationship in (
            "authentication",
            "assertionMethod",
            "capabilityInvocation",
            "capabilityDelegation",
        ):
            document[relationship] = ["#0"]
    if jwk.get("use") != "sig":
        document["keyAgreement"] = ["#0"]
    try:
        return DidDocument.from_json(document, did=did)
    except InvalidDocument as error:
        raise InvalidDid(f"a did:jwk: {error}") from None


def _decode(encoded: str) -> dict[str, Any]:
    try:
        jwk = parse_json(b64url_decode(encoded), depth=_MAX_DEPTH)
    except ValueError as error:
        raise InvalidDid(f"a did:jwk of an unreadable key: {error}") from None
    if not isinstance(jwk, dict):
        raise InvalidDid("a did:jwk of no JSON object")
    if "d" in jwk:
        raise InvalidDid("a did:jwk that gives its private key away")
    return jwk
