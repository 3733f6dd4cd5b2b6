"""How the content of an envelope is encrypted, under a fresh key each: RFC 7518, 5.2.5 and 5.3."""

import hmac
import os
from dataclasses import dataclass
from enum import StrEnum

import nacl.bindings as sodium
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class Encryption(StrEnum):
    """`enc`: how the content is encrypted. Authcrypt has the first one only."""

    A256CBC_HS512 = "A256CBC-HS512"
    A256GCM = "A256GCM"
    XC20P = "XC20P"


@dataclass(frozen=True, slots=True)
class Sealed:
    iv: bytes
    ciphertext: bytes
    tag: bytes


def seal(encryption: Encryption, plaintext: bytes, protected: bytes) -> tuple[bytes, Sealed]:
    """A fresh content key, and the plaintext under it."""
    if encryption is Encryption.A256CBC_HS512:
        key, iv = os.urandom(64), os.urandom(16)
        padding = 16 - len(plaintext) % 16
        encryptor = Cipher(algorithms.AES(key[32:]), modes.CBC(iv)).encryptor()
        ciphertext = encryptor.update(plaintext + bytes([padding]) * padding) + encryptor.finalize()
        return key, Sealed(iv, ciphertext, _cbc_tag(key, iv, ciphertext, protected))
    key = os.urandom(32)
    if encryption is Encryption.A256GCM:
        iv = os.urandom(12)
        sealed = AESGCM(key).encrypt(iv, plaintext, protected)
    else:
        iv = os.urandom(24)
        sealed = sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, protected, iv, key)
    return key, Sealed(iv, sealed[:-16], sealed[-16:])


def unseal(
    encryption: Encryption, key: bytes, iv: bytes, ciphertext: bytes, tag: bytes, protected: bytes
) -> bytes:
    """Raises: ValueError, InvalidTag, CryptoError."""
    if (len(key), len(iv), len(tag)) != _SIZES[encryption]:
        raise ValueError("a key, iv or tag of the wrong size")
    if encryption is Encryption.A256GCM:
        return AESGCM(key).decrypt(iv, ciphertext + tag, protected)
    if encryption is Encryption.XC20P:
        return sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
            ciphertext + tag, protected, iv, key
        )
    if not hmac.compare_digest(tag, _cbc_tag(key, iv, ciphertext, protected)):
        raise InvalidTag
    decryptor = Cipher(algorithms.AES(key[32:]), modes.CBC(iv)).decryptor()
    padded = decryptor.update(ciphertext) + decryptor.finalize()
    padding = padded[-1] if padded else 0
    if not 0 < padding <= 16 or padded[-padding:] != bytes([padding]) * padding:
        raise ValueError("padding")
    return padded[:-padding]


_SIZES = {  # bytes of key, iv and tag
    Encryption.A256CBC_HS512: (64, 16, 32),
    Encryption.A256GCM: (32, 12, 16),
    Encryption.XC20P: (32, 24, 16),
}


def _cbc_tag(key: bytes, iv: bytes, ciphertext: bytes, protected: bytes) -> bytes:
    bits = (8 * len(protected)).to_bytes(8, "big")
    return hmac.digest(key[:32], b"".join((protected, iv, ciphertext, bits)), "sha512")[:32]
