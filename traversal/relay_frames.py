"""Datagrams over a stream: several in one binary WebSocket frame, each behind its length.

    length  2 bytes, big-endian
    data    so many bytes

One write for many datagrams is what makes a stream as fast as it can be; frames are made here, so
that both ends write them without copying more than once. A client's are masked besides.
Source: RFC 6455, section 5.2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

MAX_FRAME = 256 * 1024  # bytes of a frame's content that an end takes
MAX_DATAGRAM = 65_535
BINARY, CLOSE, PING, PONG = 0x2, 0x8, 0x9, 0xA
_LENGTH = struct.Struct("!H")


class MalformedBatch(ValueError):
    """Lengths that do not fit their frame; the other end is broken."""


def batch(datagrams: Iterable[bytes]) -> bytes:
    """The content of one frame."""
    pack = _LENGTH.pack
    return b"".join([part for data in datagrams for part in (pack(len(data)), data)])


def datagrams_of(content: bytes) -> Iterator[bytes]:
    """Raises: MalformedBatch, at the first length that does not fit."""
    offset, end = 0, len(content)
    while offset < end:
        if offset + 2 > end:
            raise MalformedBatch("half a length")
        start = offset + 2
        offset = start + (content[offset] << 8 | content[offset + 1])
        if offset > end:
            raise MalformedBatch("a datagram ends behind its frame")
        yield content[start:offset]


def frame(content: bytes) -> bytes:
    """A server's whole frame of binary content."""
    return head(len(content), BINARY) + content


def head(size: int, opcode: int, *, masked: bool = False) -> bytes:
    """What is before the mask, or before content of this size where there is none."""
    flag = 0x80 if masked else 0
    if size < 126:
        return bytes([0x80 | opcode, flag | size])
    if size < 65_536:
        return struct.pack("!BBH", 0x80 | opcode, flag | 126, size)
    return struct.pack("!BBQ", 0x80 | opcode, flag | 127, size)
