"""JSON Web Signatures: EdDSA, ES256 and ES256K; general, flattened and compact serialization.

Sources: RFC 7515, RFC 8037, RFC 8812, DIDComm Messaging v2.1 "DIDComm Signed Messages".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import orjson

from identity.keys import Curve, PrivateKey, PublicKey
from messaging.encoding import b64decode, b64encode, load_object
from messaging.errors import MalformedMessage, UnprovenSender, UnsupportedAlgorithm

TYP = "application/didcomm-signed+json"
MAX_SIGNATURES = 10
MAX_COMPACT = 64 * 1024  # characters
_MAX_KID = 4096 + 1 + 256

ALGORITHMS = {Curve.ED25519: "EdDSA", Curve.P256: "ES256", Curve.SECP256K1: "ES256K"}


def sign(payload: bytes, key: PrivateKey, kid: str) -> bytes:
    """A signed message in the general JSON serialization."""
    protected = b64encode(orjson.dumps({"typ": TYP, "alg": _algorithm(key)}))
    encoded = b64encode(payload)
    signature = b64encode(key.sign(protected + b"." + encoded)).decode()
    entry = {"protected": protected.decode(), "signature": signature, "header": {"kid": kid}}
    return b'{"payload":"' + encoded + b'","signatures":' + orjson.dumps([entry]) + b"}"


def sign_compact(payload: bytes, key: PrivateKey, kid: str, typ: str | None = None) -> str:
    """A compact JWS; `from_prior` is one, with the typ `JWT`."""
    header = {"alg": _algorithm(key), "kid": kid}
    if typ is not None:
        header["typ"] = typ
    signed = b64encode(orjson.dumps(header)) + b"." + b64encode(payload)
    return (signed + b"." + b64encode(key.sign(signed))).decode()


def verify_compact(token: str, find_key: Callable[[str], PublicKey]) -> tuple[bytes, str]:
    """The payload of a compact JWS and the kid whose key signed it.

    Raises: MalformedMessage, UnsupportedAlgorithm, UnprovenSender; and what `find_key` raises.
    """
    signature, payload = read_compact(token)
    signature.verify(token.split(".")[1], find_key(signature.kid))
    return payload, signature.kid


def read_compact(token: str) -> "tuple[Signature, bytes]":
    """The parts of a compact JWS, nothing verified: for finding out whose key to look up.

    Raises: MalformedMessage, UnsupportedAlgorithm.
    """
    if len(token) > MAX_COMPACT:
        raise MalformedMessage(f"a compact signature of more than {MAX_COMPACT} characters")
    parts = token.split(".")
    if len(parts) != 3:
        raise MalformedMessage("a compact signature has three parts")
    protected, payload, signature = parts
    return Signature.from_json({"protected": protected, "signature": signature}), b64decode(payload)


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature of a JWS, not verified."""

    kid: str
    algorithm: str
    signature: bytes
    _protected: str

    @classmethod
    def from_json(cls, value: object) -> Self:
        if type(value) is not dict:
            raise MalformedMessage("a signature is an object")
        protected = value.get("protected")
        header = load_object(b64decode(protected))
        unprotected = value.get("header", {})
        if type(unprotected) is not dict:
            raise MalformedMessage("the header of a signature is an object")
        if "crit" in header or "b64" in header or "crit" in unprotected:
            raise MalformedMessage("a signed message has no `crit` and no `b64`")
        kid = header.get("kid", unprotected.get("kid"))
        if type(kid) is not str or not kid or len(kid) > _MAX_KID:
            raise MalformedMessage("a signature has a `kid`")
        if unprotected.get("kid", kid) != kid:
            raise MalformedMessage("a signature has one `kid`")
        if header.get("alg") not in ALGORITHMS.values():
            raise UnsupportedAlgorithm(header.get("alg"))
        return cls(kid, header["alg"], b64decode(value.get("signature")), str(protected))

    def verify(self, payload: str, key: PublicKey) -> None:
        """Raises: UnprovenSender, unless `key` made this signature over the encoded `payload`."""
        if ALGORITHMS.get(key.curve) != self.algorithm:
            raise UnprovenSender(f"the signing key is not one for {self.algorithm}")
        if not key.verify(self.signature, f"{self._protected}.{payload}".encode()):
            raise UnprovenSender("a signature is wrong")


@dataclass(frozen=True, slots=True)
class Jws:
    """A signed message whose structure is in order; call `verify` for every signature's key."""

    payload: bytes
    signatures: tuple[Signature, ...]
    _encoded: str

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Raises: MalformedMessage, UnsupportedAlgorithm."""
        entries = value.get("signatures", [value])
        if type(entries) is not list or not 0 < len(entries) <= MAX_SIGNATURES:
            raise MalformedMessage(f"a signed message has 1 to {MAX_SIGNATURES} signatures")
        if "signatures" in value and "signature" in value:
            raise MalformedMessage("general or flattened, not both")
        encoded = value.get("payload")
        payload = b64decode(encoded)
        return cls(payload, tuple(Signature.from_json(entry) for entry in entries), str(encoded))

    def verify(self, find_key: Callable[[str], PublicKey]) -> None:
        """Raises: UnprovenSender, unless every signature was made by the key of its kid."""
        for signature in self.signatures:
            signature.verify(self._encoded, find_key(signature.kid))


def _algorithm(key: PrivateKey) -> str:
    if key.curve not in ALGORITHMS:
        raise UnsupportedAlgorithm(key.curve)
    return ALGORITHMS[key.curve]
