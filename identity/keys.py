"""Public and private keys of the six curves that DIDComm knows, in their text forms.

Keys are checked when they are made: a `PublicKey` that exists is on its curve and of no small
order, so nobody downstream asks again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from identity.codec import b64url_decode, b64url_encode, base58_decode, base58_encode
from identity.errors import InvalidKey, UnknownCurve

MAX_MULTIKEY = 200  # characters; P-521 takes 98

NativePublic = Ed25519PublicKey | X25519PublicKey | ec.EllipticCurvePublicKey
NativePrivate = Ed25519PrivateKey | X25519PrivateKey | ec.EllipticCurvePrivateKey


class Curve(StrEnum):
    """Named as in a JWK's `crv`."""

    ED25519 = "Ed25519"
    X25519 = "X25519"
    P256 = "P-256"
    P384 = "P-384"
    P521 = "P-521"
    SECP256K1 = "secp256k1"


class _Weierstrass(NamedTuple):
    curve: ec.EllipticCurve
    hash: hashes.HashAlgorithm
    size: int  # bytes of a coordinate, and of each half of a signature


_EC = {
    Curve.P256: _Weierstrass(ec.SECP256R1(), hashes.SHA256(), 32),
    Curve.P384: _Weierstrass(ec.SECP384R1(), hashes.SHA384(), 48),
    Curve.P521: _Weierstrass(ec.SECP521R1(), hashes.SHA512(), 66),
    Curve.SECP256K1: _Weierstrass(ec.SECP256K1(), hashes.SHA256(), 32),
}
_EC_BY_NAME = {parameters.curve.name: curve for curve, parameters in _EC.items()}

# Multicodec numbers as varints: https://github.com/multiformats/multicodec
_MULTICODEC = {
    Curve.ED25519: b"\xed\x01",
    Curve.X25519: b"\xec\x01",
    Curve.P256: b"\x80\x24",
    Curve.P384: b"\x81\x24",
    Curve.P521: b"\x82\x24",
    Curve.SECP256K1: b"\xe7\x01",
}
_CURVE_OF_MULTICODEC = {prefix: curve for curve, prefix in _MULTICODEC.items()}

_P = 2**255 - 19
_SECP256K1_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
# Points of order 1, 2, 4 and 8, by the 255 bits that count; p and p + 1 are 0 and 1 again.
_SMALL_ORDER_X25519 = frozenset(
    {
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        _P - 1,
        _P,
        _P + 1,
    }
)
_SMALL_ORDER_ED25519 = frozenset(
    {
        0,
        1,
        2707385501144840649318225287225658788936804267575313519463743609750303402022,
        55188659117513257062467267217118295137698188065244968500265048394206261417927,
        _P - 1,
        _P,
        _P + 1,
    }
)


@dataclass(frozen=True)
class PublicKey:
    """A key of a party: 32 bytes for Ed25519 and X25519, the compressed SEC1 point otherwise.

    Raises: InvalidKey, when it is made.
    """

    curve: Curve
    raw: bytes
    native: NativePublic = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "native", _parse_point(self.curve, self.raw))

    def __repr__(self) -> str:
        return f"PublicKey({self.curve.value}, {self.to_multikey()})"

    @classmethod
    def from_native(cls, native: NativePublic) -> PublicKey:
        if isinstance(native, Ed25519PublicKey):
            return cls(Curve.ED25519, native.public_bytes_raw())
        if isinstance(native, X25519PublicKey):
            return cls(Curve.X25519, native.public_bytes_raw())
        curve = _EC_BY_NAME.get(native.curve.name)
        if curve is None:
            raise UnknownCurve(f"curve {native.curve.name} is not one of ours")
        return cls._on_curve(curve, native)

    @classmethod
    def _on_curve(cls, curve: Curve, native: ec.EllipticCurvePublicKey) -> PublicKey:
        """Make a key of a point that was checked: finding it again from `raw` costs a root."""
        key = object.__new__(cls)
        raw = native.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        for name, value in (("curve", curve), ("raw", raw), ("native", native)):
            object.__setattr__(key, name, value)
        return key

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> PublicKey:
        """Read a JWK; coordinates that lost their leading zeros are padded. Raises: InvalidKey."""
        curve = _curve_of_jwk(jwk)
        if curve not in _EC:
            return cls(curve, _member(jwk, "x", 32))
        size = _EC[curve].size
        x, y = _member(jwk, "x", size), _member(jwk, "y", size)
        try:
            point = ec.EllipticCurvePublicKey.from_encoded_point(_EC[curve].curve, b"\x04" + x + y)
        except ValueError:
            raise InvalidKey(f"a {curve} key off its curve") from None
        return cls._on_curve(curve, point)

    def to_jwk(self) -> dict[str, str]:
        if not isinstance(self.native, ec.EllipticCurvePublicKey):
            return {"kty": "OKP", "crv": self.curve.value, "x": b64url_encode(self.raw)}
        point = self.native.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        size = _EC[self.curve].size
        x, y = point[1 : 1 + size], point[1 + size :]
        return {
            "kty": "EC",
            "crv": self.curve.value,
            "x": b64url_encode(x),
            "y": b64url_encode(y),
        }

    @classmethod
    def from_multikey(cls, text: str) -> PublicKey:
        """Read `z…`: base58btc of a multicodec prefix and the key. Raises: InvalidKey."""
        if not text.startswith("z"):
            raise InvalidKey("a multibase key that does not start with z")
        try:
            data = base58_decode(text[1:], limit=MAX_MULTIKEY)
        except ValueError as error:
            raise InvalidKey(f"a multibase key with {error}") from None
        curve = _CURVE_OF_MULTICODEC.get(data[:2])
        if curve is None:
            raise UnknownCurve(f"multicodec {data[:2].hex()} is no key of ours")
        return cls(curve, data[2:])

    def to_multikey(self) -> str:
        return "z" + base58_encode(_MULTICODEC[self.curve] + self.raw)

    def verify(self, signature: bytes, data: bytes) -> bool:
        """True if `signature` is this key's (EdDSA; ES256, ES384, ES512, ES256K as r || s)."""
        try:
            if isinstance(self.native, Ed25519PublicKey):
                self.native.verify(signature, data)
            elif isinstance(self.native, ec.EllipticCurvePublicKey):
                self._verify_ecdsa(self.native, signature, data)
            else:
                return False  # an X25519 key signs nothing
        except InvalidSignature:
            return False
        return True

    def _verify_ecdsa(
        self, native: ec.EllipticCurvePublicKey, signature: bytes, data: bytes
    ) -> None:
        _, hash_algorithm, size = _EC[self.curve]
        if len(signature) != 2 * size:
            raise InvalidSignature
        r, s = (int.from_bytes(half, "big") for half in (signature[:size], signature[size:]))
        native.verify(encode_dss_signature(r, s), data, ec.ECDSA(hash_algorithm))


class PrivateKey:
    """A secret key; shows and compares as its public half."""

    __slots__ = ("native", "public")

    def __init__(self, native: NativePrivate) -> None:
        self.native = native
        self.public = PublicKey.from_native(native.public_key())

    @property
    def curve(self) -> Curve:
        return self.public.curve

    def __repr__(self) -> str:
        return f"PrivateKey(public={self.public!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PrivateKey) and self.public == other.public

    def __hash__(self) -> int:
        return hash(self.public)

    @classmethod
    def generate(cls, curve: Curve) -> PrivateKey:
        if curve is Curve.ED25519:
            return cls(Ed25519PrivateKey.generate())
        if curve is Curve.X25519:
            return cls(X25519PrivateKey.generate())
        return cls(ec.generate_private_key(_EC[curve].curve))

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> PrivateKey:
        """Read a JWK with `d`; its public half, where given, must belong to it.

        Raises: InvalidKey.
        """
        curve = _curve_of_jwk(jwk)
        secret = _member(jwk, "d", _EC[curve].size if curve in _EC else 32)
        key = cls(_native_private(curve, secret))
        if "x" in jwk and PublicKey.from_jwk(jwk) != key.public:
            raise InvalidKey("a JWK whose public half belongs to another key")
        return key

    def to_jwk(self) -> dict[str, str]:
        if isinstance(self.native, ec.EllipticCurvePrivateKey):
            secret = self.native.private_numbers().private_value.to_bytes(
                _EC[self.curve].size, "big"
            )
        else:
            secret = self.native.private_bytes_raw()
        return {**self.public.to_jwk(), "d": b64url_encode(secret)}

    def sign(self, data: bytes) -> bytes:
        """EdDSA, or ECDSA as r || s; ES256K with the low s that strict readers demand.

        Raises: InvalidKey, if this is an X25519 key.
        """
        if isinstance(self.native, Ed25519PrivateKey):
            return self.native.sign(data)
        if not isinstance(self.native, ec.EllipticCurvePrivateKey):
            raise InvalidKey("an X25519 key signs nothing")
        _, hash_algorithm, size = _EC[self.curve]
        r, s = decode_dss_signature(self.native.sign(data, ec.ECDSA(hash_algorithm)))
        if self.curve is Curve.SECP256K1 and s > _SECP256K1_ORDER // 2:
            s = _SECP256K1_ORDER - s
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    def exchange(self, other: PublicKey) -> bytes:
        """The Diffie-Hellman secret shared with `other`. Raises: InvalidKey, on another curve."""
        if isinstance(self.native, X25519PrivateKey) and isinstance(other.native, X25519PublicKey):
            return self.native.exchange(other.native)
        if (
            isinstance(self.native, ec.EllipticCurvePrivateKey)
            and isinstance(other.native, ec.EllipticCurvePublicKey)
            and self.curve is other.curve
        ):
            return self.native.exchange(ec.ECDH(), other.native)
        raise InvalidKey(f"no key agreement between {self.curve} and {other.curve}")


def x25519_of_ed25519(key: PublicKey) -> PublicKey:
    """The key agreement key that did:key derives: the same point, seen on Curve25519."""
    y = int.from_bytes(key.raw, "little") & (2**255 - 1)
    u = (1 + y) * pow(1 - y, -1, _P) % _P
    return PublicKey(Curve.X25519, u.to_bytes(32, "little"))


def _parse_point(curve: Curve, raw: bytes) -> NativePublic:
    if curve in _EC:
        if len(raw) != _EC[curve].size + 1:  # so an uncompressed point is refused, too
            raise InvalidKey(f"a {curve} key of {len(raw)} bytes")
        try:
            return ec.EllipticCurvePublicKey.from_encoded_point(_EC[curve].curve, raw)
        except ValueError:
            raise InvalidKey(f"a {curve} key off its curve") from None
    if len(raw) != 32:
        raise InvalidKey(f"a {curve} key of {len(raw)} bytes")
    number = int.from_bytes(raw, "little") & (2**255 - 1)
    if number in (_SMALL_ORDER_ED25519 if curve is Curve.ED25519 else _SMALL_ORDER_X25519):
        raise InvalidKey(f"an {curve} key of small order")
    if curve is Curve.ED25519:
        return Ed25519PublicKey.from_public_bytes(raw)
    return X25519PublicKey.from_public_bytes(raw)


def _native_private(curve: Curve, secret: bytes) -> NativePrivate:
    if curve is Curve.ED25519:
        return Ed25519PrivateKey.from_private_bytes(secret)
    if curve is Curve.X25519:
        return X25519PrivateKey.from_private_bytes(secret)
    try:
        return ec.derive_private_key(int.from_bytes(secret, "big"), _EC[curve].curve)
    except ValueError:
        raise InvalidKey(f"no {curve} key has this d") from None


def _curve_of_jwk(jwk: Mapping[str, Any]) -> Curve:
    try:
        curve = Curve(str(jwk.get("crv")))
    except ValueError:
        raise UnknownCurve("a JWK of a curve that is not one of ours") from None
    if jwk.get("kty") != ("EC" if curve in _EC else "OKP"):
        raise InvalidKey(f"a JWK whose kty does not go with {curve}")
    return curve


def _member(jwk: Mapping[str, Any], name: str, size: int) -> bytes:
    value = jwk.get(name)
    if not isinstance(value, str) or len(value) > 2 * size:
        raise InvalidKey(f"a JWK without a proper {name}")
    try:
        data = b64url_decode(value)
    except ValueError:
        raise InvalidKey(f"a JWK whose {name} is not base64url") from None
    if jwk["kty"] == "EC" and 0 < len(data) < size:
        return data.rjust(size, b"\x00")
    if len(data) != size:
        raise InvalidKey(f"a JWK whose {name} has {len(data)} bytes instead of {size}")
    return data
