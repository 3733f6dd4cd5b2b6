"""From two key pairs to the key that wraps a content key: ECDH-ES and ECDH-1PU, Concat KDF.

Sources: RFC 7518, 4.6; draft-madden-jose-ecdh-1pu-04.
"""

import hashlib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from identity.errors import InvalidKey
from identity.keys import Curve, PrivateKey, PublicKey
from messaging.encoding import b64decode, b64encode

AGREEMENT_CURVES = (Curve.X25519, Curve.P256, Curve.P384, Curve.P521)
Recipients = Sequence[tuple[str, PublicKey]]  # kid and key, all on one curve


class Agreement(StrEnum):
    """`alg`: how the key that wraps the content key comes about."""

    ANONYMOUS = "ECDH-ES+A256KW"
    AUTHENTICATED = "ECDH-1PU+A256KW"


class Ephemeral:
    """The key pair of one envelope."""

    __slots__ = ("_private", "jwk")

    def __init__(self, recipients: Recipients) -> None:
        curve = recipients[0][1].curve
        if curve is Curve.X25519:  # the usual case, without the detour over PublicKey
            native = X25519PrivateKey.generate()
            self._private: X25519PrivateKey | PrivateKey = native
            x = b64encode(native.public_key().public_bytes_raw()).decode()
            self.jwk = {"kty": "OKP", "crv": "X25519", "x": x}
        elif curve in AGREEMENT_CURVES:
            self._private = PrivateKey.generate(curve)
            self.jwk = self._private.public.to_jwk()
        else:
            raise InvalidKey(f"{curve} is no curve for key agreement here")

    def exchange(self, key: PublicKey) -> bytes:
        if isinstance(self._private, PrivateKey):
            return self._private.exchange(key)
        if not isinstance(key.native, X25519PublicKey):
            raise InvalidKey("the keys of one envelope are on one curve")
        return self._private.exchange(key.native)


def agree(key: PrivateKey, epk: Mapping[str, Any]) -> bytes:
    """Raises: InvalidKey, or ValueError: too short, or of small order, so that it agrees on 0."""
    if epk.get("crv") != key.curve or key.curve not in AGREEMENT_CURVES:
        raise InvalidKey("the ephemeral key is not on the curve of ours")
    if isinstance(key.native, X25519PrivateKey):
        return key.native.exchange(X25519PublicKey.from_public_bytes(b64decode(epk.get("x"))))
    return key.exchange(PublicKey.from_jwk(epk))


@lru_cache(maxsize=256)
def static_secret(ours: PrivateKey, theirs: PublicKey) -> bytes:
    """The half of ECDH-1PU that is the same for every message between two keys.

    Remembering it saves a third of the time, and gives away no more than the keys, which stay in
    memory, too. Raises: InvalidKey, on different curves.
    """
    return ours.exchange(theirs)


def derive(agreement: Agreement, secret: bytes, apu: bytes, apv: bytes, tag: bytes) -> bytes:
    """Concat KDF: one round of SHA-256 gives the 256 bits of the wrapping key.

    For ECDH-1PU the content tag goes in, with its length in 4 bytes (draft 4, section 2.3).
    """
    parts = [
        _ROUND_1,
        secret,
        _KDF_NAME[agreement],
        _length(apu),
        apu,
        _length(apv),
        apv,
        _256_BITS,
    ]
    if tag:
        parts += (_length(tag), tag)
    return hashlib.sha256(b"".join(parts)).digest()


def _length(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big")


_ROUND_1 = (1).to_bytes(4, "big")
_KDF_NAME = {member: _length(member.encode()) + member.encode() for member in Agreement}
_256_BITS = (256).to_bytes(4, "big")
