"""How a WebSocket client's frames are masked, by the C that the HTTP library has for its own.

Whole numbers of Python do it far slower, and stand in where another release has that elsewhere.
Source: RFC 6455, section 5.3.
"""

from __future__ import annotations

from collections.abc import Callable

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
