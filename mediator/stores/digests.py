"""What stores look things up by: 16 bytes of SHA-256, however long the thing is."""

from __future__ import annotations

import hashlib


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:16]


def digest_of(text: str) -> bytes:
    return digest(text.encode())
