"""Files sealed by a passphrase, in the format that every `age` opens.

Reading is left to `pyrage`. Its writer picks a work factor by measuring the machine, and takes
0.5 to 1 GiB of memory and 1.5 to 5 s where this was tried, so writing is here, with the fixed
factor of the `age` command: 256 MiB and 0.7 s on the same machine. Its reader measures, too, and
refuses what would take long just now, so on a machine that is busy it is asked again.

Source: https://github.com/C2SP/C2SP/blob/main/age.md
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time

import pybase64
import pyrage  # type: ignore[import-untyped]
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

MAGIC = b"age-encryption.org/v1\n"
WORK_FACTOR = 18  # log2 of scrypt's N
MODERATE = 22  # what writers that measure the machine choose at most

TRIES, PAUSE = 20, 0.5  # seconds between

_CHUNK = 64 * 1024
_BLOCK_SIZE = 8  # scrypt's r
_ONLY_CHUNK = bytes(11) + b"\x01"  # the nonce of a first chunk that is also the last


class WrongPassphraseError(Exception):
    """The passphrase does not open the file, or its first lines are damaged."""


class TooBusyError(Exception):
    """The passphrase could not be tried: it would take too long, as busy as the machine is."""


def seal(data: bytes, passphrase: str) -> bytes:
    """Encrypt `data`, at most one chunk of 64 KiB. Raises: ValueError, for more."""
    if len(data) > _CHUNK:
        raise ValueError(f"more than {_CHUNK} bytes")
    file_key, salt, nonce = (secrets.token_bytes(16) for _ in range(3))
    body = ChaCha20Poly1305(_stretch(passphrase, salt)).encrypt(bytes(12), file_key, None)
    header = b"%s-> scrypt %s %d\n%s\n---" % (MAGIC, _base64(salt), WORK_FACTOR, _base64(body))
    mac = hmac.digest(_hkdf(file_key, b"", b"header"), header, "sha256")
    payload = ChaCha20Poly1305(_hkdf(file_key, nonce, b"payload")).encrypt(_ONLY_CHUNK, data, None)
    return b"%s %s\n%s%s" % (header, _base64(mac), nonce, payload)


def unseal(data: bytes, passphrase: str) -> bytes:
    """Decrypt an age file.

    Raises: WrongPassphraseError; TooBusyError; ValueError, if it is damaged or too costly anywhere.
    """
    for _ in range(TRIES):
        try:
            return _decrypt(data, passphrase)
        except TooBusyError:
            time.sleep(PAUSE)
    return _decrypt(data, passphrase)


def _decrypt(data: bytes, passphrase: str) -> bytes:
    try:
        opened: bytes = pyrage.passphrase.decrypt(data, passphrase)
    except pyrage.DecryptError as error:
        if str(error) == "Decryption failed":  # of the file key, the first thing tried
            raise WrongPassphraseError from None
        if str(error).startswith("Excessive work") and _is_moderate(data):
            raise TooBusyError from None
        raise ValueError(" ".join(str(error).split())) from None
    return opened


def _is_moderate(data: bytes) -> bool:
    """Whether a machine with nothing else to do would take seconds only."""
    asked = re.match(rb"%s-> scrypt \S+ (\d{1,2})\n" % MAGIC, data)
    return asked is not None and int(asked[1]) <= MODERATE


def _stretch(passphrase: str, salt: bytes) -> bytes:
    return hashlib.scrypt(
        passphrase.encode(),
        salt=b"age-encryption.org/v1/scrypt" + salt,
        n=1 << WORK_FACTOR,
        r=_BLOCK_SIZE,
        p=1,
        maxmem=2 * 128 * _BLOCK_SIZE << WORK_FACTOR,
        dklen=32,
    )


def _hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    """RFC 5869 with SHA-256; 32 bytes are its first block."""
    extracted = hmac.digest(salt or bytes(32), secret, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


def _base64(data: bytes) -> bytes:
    return pybase64.b64encode(data).rstrip(b"=")
