"""SPAKE2: two who know the same few words get a strong key, and whoever does not gets one guess.

Over edwards25519 with libsodium's constant-time arithmetic, in the form of the `spake2` package
for Python and the `spake2` crate for Rust (magic-wormhole's), so that their vectors are ours:

    A sends X* = xG + wM,  B sends Y* = yG + wN,  K = x(Y* - wN) = y(X* - wM)
    key = SHA-256(SHA-256(words) | SHA-256(idA) | SHA-256(idB) | X* | Y* | K)

A knows the words from somebody who spoke them, B made them. Both names go into the key, so a
mediator that puts itself in between has to guess the words, and one wrong guess burns them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from enum import Enum

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from nacl import bindings as sodium
from nacl.exceptions import CryptoError

ORDER = 2**252 + 27742317777372353535851937790883648493
ELEMENT = 32  # bytes
# Elements of the group whose logarithms nobody knows: hashes of "M" and "N".
_M = bytes.fromhex("15cfd18e385952982b6a8f8c7854963b58e34388c8e6dae891db756481a02312")
_N = bytes.fromhex("f04f2e7eb734b2a8f8b472eaf9c3c632576ac64aea650b496a8a20ff00e583c3")


class Side(Enum):
    A = "A"
    B = "B"


class BadElement(ValueError):
    """What the other side sent is no element of the group."""


@dataclass(frozen=True)
class Exchange:
    """One side of one exchange; its secret is used once."""

    side: Side
    words: str = field(repr=False)
    id_a: str
    id_b: str
    scalar: int = field(repr=False)

    @classmethod
    def begin(cls, side: Side, words: str, id_a: str, id_b: str) -> Exchange:
        return cls(side, words, id_a, id_b, secrets.randbelow(ORDER - 1) + 1)

    @property
    def element(self) -> bytes:
        """What goes to the other side."""
        blind = _M if self.side is Side.A else _N
        return _add(_base(self.scalar), _times(self._password(), blind))

    def key(self, other: bytes) -> bytes:
        """32 bytes that are equal at both sides if the words are. Raises: BadElement."""
        blind = _N if self.side is Side.A else _M
        try:
            if len(other) != ELEMENT or not sodium.crypto_core_ed25519_is_valid_point(other):
                raise BadElement("not an element of the group")
            shared = _times(
                self.scalar,
                sodium.crypto_core_ed25519_sub(other, _times(self._password(), blind)),
            )
        except (CryptoError, RuntimeError) as error:
            raise BadElement("not an element of the group") from error
        x, y = (self.element, other) if self.side is Side.A else (other, self.element)
        hashes = b"".join(_hash(part.encode()) for part in (self.words, self.id_a, self.id_b))
        return _hash(hashes + x + y + shared)

    def _password(self) -> int:
        derived = HKDF(SHA256(), 48, b"", b"SPAKE2 pw").derive(self.words.encode())
        return int.from_bytes(derived) % ORDER


def proof(key: bytes, side: Side) -> bytes:
    """What a side shows to prove that it has the key; different for the two."""
    return hmac.digest(key, b"didmesh lobby code " + side.value.encode(), "sha256")


def proves(shown: bytes, key: bytes, side: Side) -> bool:
    return hmac.compare_digest(shown, proof(key, side))


def _base(scalar: int) -> bytes:
    return sodium.crypto_scalarmult_ed25519_base_noclamp(scalar.to_bytes(32, "little"))


def _times(scalar: int, element: bytes) -> bytes:
    return sodium.crypto_scalarmult_ed25519_noclamp(scalar.to_bytes(32, "little"), element)


def _add(one: bytes, other: bytes) -> bytes:
    return sodium.crypto_core_ed25519_add(one, other)


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
