"""Envelopes as no function of ours would seal them: under other names, or of primitives alone."""

import hashlib
import hmac
import json
import os
from typing import Any

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from identity.codec import b64url_encode
from tests.support.mediator_client import Party


async def key_name(party: Party, did: str, form: str) -> str:
    """A did:peer:2 DID's key for agreement, named as libraries of several years did."""
    if form == "#key-1":
        return f"{did}#key-1"
    document = await party.resolver.resolve(did)
    [method] = document.keys("keyAgreement")
    assert method.key is not None
    multibase = method.key.to_multikey()
    return f"{did}#" + {"whole": multibase[1:], "#8": multibase[1:9], "#z": multibase}[form]


async def seal_under(party: Party, plaintext: bytes, names: dict[str, str]) -> bytes:
    from messaging.jwe import encrypt_authenticated

    document = await party.resolver.resolve(party.mediator)
    [method] = document.keys("keyAgreement")
    assert method.key is not None
    secret = party.secrets[f"{party.did}#key-1"]
    recipients = [(names[party.mediator], method.key)]
    return encrypt_authenticated(plaintext, recipients, names[party.did], secret)


async def authcrypt_by_hand(party: Party, plaintext: dict[str, Any], bound: str) -> bytes:
    """ECDH-1PU+A256KW with A256CBC-HS512, of primitives alone."""
    skid, kid = f"{party.did}#key-1", f"{party.mediator}#key-1"
    document = await party.resolver.resolve(party.mediator)
    method = document.method(kid)
    assert method.key is not None
    theirs = method.key.native
    ours = party.secrets[skid].native
    ephemeral = X25519PrivateKey.generate()
    apu = skid.encode()
    apv = hashlib.sha256(kid.encode()).digest()
    protected = {
        "typ": "application/didcomm-encrypted+json",
        "alg": "ECDH-1PU+A256KW",
        "enc": "A256CBC-HS512",
        "skid": skid,
        "apu": b64url_encode(apu),
        "apv": b64url_encode(apv),
        "epk": {
            "kty": "OKP",
            "crv": "X25519",
            "x": b64url_encode(ephemeral.public_key().public_bytes_raw()),
        },
    }
    header = b64url_encode(json.dumps(protected).encode())
    content_key, iv = os.urandom(64), os.urandom(16)
    padder = padding.PKCS7(128).padder()
    padded = padder.update(json.dumps(plaintext).encode()) + padder.finalize()
    encryptor = Cipher(algorithms.AES(content_key[32:]), modes.CBC(iv)).encryptor()
    ciphertext = encryptor.update(padded) + encryptor.finalize()
    aad = header.encode()
    authenticated = aad + iv + ciphertext + (len(aad) * 8).to_bytes(8, "big")
    tag = hmac.digest(content_key[:32], authenticated, "sha512")[:32]
    secret = ephemeral.exchange(theirs) + ours.exchange(theirs)  # type: ignore[arg-type,call-arg,union-attr]
    info = b"".join(_sized(part) for part in (b"ECDH-1PU+A256KW", apu, apv))
    info += (256).to_bytes(4, "big")
    info += {"length and tag": _sized(tag), "tag": tag, "nothing": b""}[bound]
    wrapping = hashlib.sha256((1).to_bytes(4, "big") + secret + info).digest()
    wrapped = b64url_encode(aes_key_wrap(wrapping, content_key))
    return json.dumps(
        {
            "protected": header,
            "recipients": [{"header": {"kid": kid}, "encrypted_key": wrapped}],
            "iv": b64url_encode(iv),
            "ciphertext": b64url_encode(ciphertext),
            "tag": b64url_encode(tag),
        }
    ).encode()


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
