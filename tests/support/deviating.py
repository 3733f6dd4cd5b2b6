"""Envelopes as clients that deviate from DIDComm v2.1 seal them, written out by hand.

No code of ours seals so. What the derivation, the wrapping and the content encryption are in
themselves is taken from `messaging`; foreign libraries prove those in tests/interop.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap

from identity.keys import Curve, PrivateKey, PublicKey
from messaging.content_encryption import Encryption, seal, unseal
from messaging.encoding import b64decode, b64encode
from messaging.key_agreement import Agreement, Recipients, derive


def draft_3(
    content: bytes,
    recipients: Recipients,
    sender: tuple[str, PrivateKey],
    encryption: Encryption = Encryption.A256GCM,
) -> bytes:
    """As Veramo authcrypts: neither apu nor apv, and no tag in the derivation."""
    return _sealed(content, recipients, Agreement.AUTHENTICATED, encryption, sender)


def without_apv(content: bytes, recipients: Recipients) -> bytes:
    """As Veramo anoncrypts."""
    return _sealed(content, recipients, Agreement.ANONYMOUS, Encryption.A256GCM, None)


def epk_beside_kid(content: bytes, recipients: Recipients) -> bytes:
    """As didcomm-messaging anoncrypts: an ephemeral key for each recipient."""
    apv = hashlib.sha256(".".join(sorted(kid for kid, _ in recipients)).encode()).digest()
    header = {"alg": Agreement.ANONYMOUS.value, "enc": "XC20P", "apv": b64encode(apv).decode()}
    encoded = b64encode(orjson.dumps(header))
    content_key, sealed = seal(Encryption.XC20P, content, encoded)
    entries = []
    for kid, key in recipients:
        ephemeral = PrivateKey.generate(Curve.X25519)
        wrapping = derive(Agreement.ANONYMOUS, ephemeral.exchange(key), b"", apv, b"")
        entry = _wrapped(kid, wrapping, content_key)
        entry["header"]["epk"] = ephemeral.public.to_jwk()
        entries.append(entry)
    return written(encoded, entries, sealed)


def open_draft_3(envelope: bytes, kid: str, key: PrivateKey, sender: PublicKey) -> bytes:
    """As Veramo reads an answer: with apu and apv where there are some, without the tag."""
    value = orjson.loads(envelope)
    header = orjson.loads(b64decode(value["protected"]))
    apu, apv = (b64decode(header.get(name, "")) for name in ("apu", "apv"))
    secret = key.exchange(PublicKey.from_jwk(header["epk"])) + key.exchange(sender)
    wrapping = derive(Agreement.AUTHENTICATED, secret, apu, apv, b"")
    [wrapped] = [e["encrypted_key"] for e in value["recipients"] if e["header"]["kid"] == kid]
    content_key = aes_key_unwrap(wrapping, b64decode(wrapped))
    iv, ciphertext, tag = (b64decode(value[name]) for name in ("iv", "ciphertext", "tag"))
    aad = value["protected"].encode()
    return unseal(Encryption(header["enc"]), content_key, iv, ciphertext, tag, aad)


def _sealed(
    content: bytes,
    recipients: Recipients,
    agreement: Agreement,
    encryption: Encryption,
    sender: tuple[str, PrivateKey] | None,
) -> bytes:
    ephemeral = PrivateKey.generate(Curve.X25519)
    header = {
        "alg": agreement.value,
        "enc": encryption.value,
        "epk": ephemeral.public.to_jwk(),
    }
    if sender is not None:
        header["skid"] = sender[0]
    encoded = b64encode(orjson.dumps(header))
    content_key, sealed = seal(encryption, content, encoded)
    entries = []
    for kid, key in recipients:
        secret = ephemeral.exchange(key) + (sender[1].exchange(key) if sender else b"")
        entries.append(_wrapped(kid, derive(agreement, secret, b"", b"", b""), content_key))
    return written(encoded, entries, sealed)


def _wrapped(kid: str, wrapping: bytes, content_key: bytes) -> dict[str, Any]:
    key = aes_key_wrap(wrapping, content_key)
    return {"header": {"kid": kid}, "encrypted_key": b64encode(key).decode()}


def written(encoded: bytes, entries: list[dict[str, Any]], sealed: Any) -> bytes:
    value = {"protected": encoded.decode(), "recipients": entries}
    for name in ("iv", "ciphertext", "tag"):
        value[name] = b64encode(getattr(sealed, name)).decode()
    return orjson.dumps(value)
