"""The WireGuard pre-shared key of a pair: ML-KEM-768 both ways, so that recordings stay closed.

Each party makes one ML-KEM key pair for a session, and its proposal carries the public half, the
**encapsulation key**. With its offer each sends every other party a ciphertext for that party's
key, and a tag by which the other knows that both see the same thing:

    secret   what the sender's ciphertext encapsulates; only the two know it
    context  canonical JSON of session, both ranks, both encapsulation keys, the ciphertext and
             the sender's WireGuard key; the sender's first
    tag      HMAC-SHA-256 by HKDF-SHA-256(secret, "confirm", context)
    key      HKDF-SHA-256(both secrets, the lower rank's first; salt: session; info: "preshared"
             and the hashes of both contexts, in the same order)

A ciphertext that was tampered with gives another secret and no error (FIPS 203, 6.3): without the
tag, WireGuard would only be silent. Who signs is still classical; what was recorded is not.

Source: FIPS 203 (ML-KEM), RFC 5869 (HKDF).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

import rfc8785
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from identity.codec import b64url_decode, b64url_encode
from messaging.protocols.session import Offer, Preshared

PREFIX = b"didmesh preshared key 1: "


class NotConfirmed(ValueError):
    """The other party does not hold the same key as we, or none; says why."""


@dataclass(frozen=True)
class End:
    """One party of a pair, as its proposal and the roster show it."""

    rank: int
    encapsulation_key: str  # base64url


@dataclass(frozen=True)
class Sealed:
    """What we send to one party, and the secret in it."""

    sent: Preshared
    secret: bytes = field(repr=False)


class Decapsulator:
    """Our ML-KEM key of one session; it lives in memory only."""

    def __init__(self, key: MLKEM768PrivateKey) -> None:
        self._key = key
        self.encapsulation_key = b64url_encode(key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> Decapsulator:
        return cls(MLKEM768PrivateKey.generate())

    def open(self, ciphertext: str) -> bytes:
        """The secret in it, 32 bytes; another one if it is not what was sent."""
        return self._key.decapsulate(b64url_decode(ciphertext))


class PairKeys:
    """Our half of a pre-shared key with every other party of one session."""

    def __init__(
        self,
        decapsulator: Decapsulator,
        session: str,
        me: End,
        others: Mapping[str, End],
        wireguard_key: str,
    ) -> None:
        """`others` by DID; `wireguard_key` is ours, public. Raises: NotConfirmed."""
        self._decapsulator = decapsulator
        self._session = session
        self._me = me
        self._others = others
        self._wireguard_key = wireguard_key
        self._sealed = {did: self._encapsulate(end) for did, end in others.items()}

    def sent_to(self, did: str) -> Preshared:
        """What our offer to this party carries."""
        return self._sealed[did].sent

    def key(self, did: str, offer: Offer) -> bytes:
        """The pair's key, 32 bytes, which this party has as well; else one of us two finds out.

        Raises: NotConfirmed.
        """
        got, other, ours = offer.preshared, self._others[did], self._sealed[did]
        if got is None:
            raise NotConfirmed("it sent no part of a post-quantum key")
        theirs = self._decapsulator.open(got.ciphertext)
        told = _context(self._session, other, self._me, got.ciphertext, offer.wireguard_key)
        if not hmac.compare_digest(_tag(theirs, told), got.tag):
            raise NotConfirmed("its part of the post-quantum key does not fit our session")
        said = self._said(other, ours.sent.ciphertext)
        halves = sorted([(self._me.rank, ours.secret, said), (other.rank, theirs, told)])
        secret = b"".join(secret for _, secret, _ in halves)
        context = b"".join(hashlib.sha256(context).digest() for _, _, context in halves)
        return _derive(secret, bytes.fromhex(self._session), b"preshared", context)

    def _encapsulate(self, other: End) -> Sealed:
        secret, ciphertext = _public(other.encapsulation_key).encapsulate()
        text = b64url_encode(ciphertext)
        return Sealed(Preshared(text, _tag(secret, self._said(other, text))), secret)

    def _said(self, other: End, ciphertext: str) -> bytes:
        return _context(self._session, self._me, other, ciphertext, self._wireguard_key)


def is_encapsulation_key(text: str) -> bool:
    """Whether something can be encapsulated to this (FIPS 203, 7.2, has the checks)."""
    try:
        _public(text)
    except NotConfirmed:
        return False
    return True


def _public(text: str) -> MLKEM768PublicKey:
    try:
        return MLKEM768PublicKey.from_public_bytes(b64url_decode(text))
    except ValueError as error:
        raise NotConfirmed("its ML-KEM-768 key is none") from error


def _context(
    session: str, sender: End, recipient: End, ciphertext: str, wireguard_key: str
) -> bytes:
    return rfc8785.dumps(
        {
            "session": session,
            "ranks": [sender.rank, recipient.rank],
            "encapsulation_keys": [sender.encapsulation_key, recipient.encapsulation_key],
            "ciphertext": ciphertext,
            "wireguard_key": wireguard_key,
        }
    )


def _tag(secret: bytes, context: bytes) -> str:
    key = _derive(secret, b"", b"confirm", hashlib.sha256(context).digest())
    return b64url_encode(hmac.digest(key, context, "sha256"))


def _derive(secret: bytes, salt: bytes, purpose: bytes, context: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt, PREFIX + purpose + b"\0" + context).derive(secret)
