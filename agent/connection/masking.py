"""A WebSocket client's frames: masked, by the C that the HTTP library has for its own.

Whole numbers of Python do it far slower, and stand in where another release has that elsewhere.
Source: RFC 6455, sections 5.1 and 5.3.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from traversal.relay_frames import BINARY, head

MASK_SIZE = 4  # bytes
Mask = Callable[[bytes, bytearray], None]  # in place; unmasking is the same


def by_numbers(mask: bytes, content: bytearray) -> None:
    size = len(content)
    key = (mask * (size // MASK_SIZE + 1))[:size]
    content[:] = (int.from_bytes(content) ^ int.from_bytes(key)).to_bytes(size)


try:
    from aiohttp._websocket.helpers import websocket_mask as _by_library
except ImportError:
    mask_in_place: Mask = by_numbers
else:
    mask_in_place = _by_library


def masked_frame(content: bytes, opcode: int = BINARY) -> bytes:
    """A client's whole frame, under a mask that nobody can foretell."""
    mask, hidden = os.urandom(MASK_SIZE), bytearray(content)
    mask_in_place(mask, hidden)
    return head(len(hidden), opcode, masked=True) + mask + hidden


def unmasked(content: bytes, mask: bytes) -> bytes:
    shown = bytearray(content)
    mask_in_place(mask, shown)
    return bytes(shown)
