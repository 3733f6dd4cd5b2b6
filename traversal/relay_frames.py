"""Datagrams over a stream: runs of them in binary WebSocket frames, each run behind its head.

    size    2 bytes, big-endian: of each datagram of the run
    length  4 bytes, big-endian: of the run; its last datagram may be shorter
    data    so many bytes

One write for many datagrams is what makes a stream as fast as it can be; frames are made and read
here, so that nothing is copied more than it must be. Source: RFC 6455, section 5.
"""

from __future__ import annotations

import base64
import hashlib
import os
import struct
from collections.abc import Iterable, Iterator

from traversal.masking import MASK_SIZE, mask_in_place
from traversal.segments import Data, Run, joined

MAX_FRAME = 256 * 1024  # bytes of a frame's content that an end takes
BINARY, CLOSE, PING, PONG = 0x2, 0x8, 0x9, 0xA
_MAX_CONTROL = 125  # bytes of a control frame's content
_RUN = struct.Struct("!HI")
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accepted(key: str) -> str:
    """What a server says to a client's `Sec-WebSocket-Key`. Source: RFC 6455, section 4.2.2."""
    digest = hashlib.sha1(f"{key}{_GUID}".encode()).digest()  # noqa: S324  the RFC wants it
    return base64.b64encode(digest).decode()


class MalformedBatch(ValueError):
    """Runs that do not fit their frame; the other end is broken."""


class MalformedFrame(ValueError):
    """Not a frame that this end takes."""


class OversizedFrame(MalformedFrame):
    """One of more than MAX_FRAME bytes."""


def batch(runs: Iterable[Run]) -> list[Data]:
    """The pieces of one frame's content; neighbours that make one run are one."""
    pieces: list[Data] = []
    for size, total, parts in joined(runs, MAX_FRAME, MAX_FRAME):
        pieces.append(_RUN.pack(size, total))
        pieces += parts
    return pieces


def runs_of(content: Data) -> Iterator[Run]:
    """Each is a view of the content. Raises: MalformedBatch, at the first that does not fit."""
    offset, end, view = 0, len(content), memoryview(content)
    while offset < end:
        if offset + _RUN.size > end:
            raise MalformedBatch("half a head")
        size, total = _RUN.unpack_from(content, offset)
        start = offset + _RUN.size
        offset = start + total
        if not 0 < size <= total:
            raise MalformedBatch("an empty datagram, or one longer than its run")
        if offset > end:
            raise MalformedBatch("a run ends behind its frame")
        yield Run(size, view[start:offset])


def frame(content: Iterable[Data], opcode: int = BINARY) -> bytes:
    """A server's."""
    pieces = list(content)
    return b"".join([_head(sum(map(len, pieces)), opcode), *pieces])


def masked_frame(content: Iterable[Data], opcode: int = BINARY) -> bytearray:
    """A client's, under a mask that nobody can foretell."""
    pieces = list(content)
    mask = os.urandom(MASK_SIZE)
    head = _head(sum(map(len, pieces)), opcode, masked=True) + mask
    whole = bytearray().join([head, *pieces])
    _mask_behind(len(head), mask, whole)
    whole[: len(head)] = head
    return whole


class Frames:
    """Reads one end's frames out of its stream: a client's are masked, a server's are not."""

    def __init__(self, *, masked: bool) -> None:
        self._masked = masked
        self._begun = bytearray()  # a frame that is not whole yet

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not whole yet."""
        return len(self._begun)

    def feed(self, data: Data) -> Iterator[tuple[int, Data]]:
        """Opcode and content of every frame that is whole now; content may be a view of `data`.

        Raises: MalformedFrame, which no stream goes on after.
        """
        came, at = memoryview(data), 0
        while self._begun and at < len(came):
            missing = self._length(self._begun) - len(self._begun)
            self._begun += came[at : at + missing]
            at += missing
            if self._length(self._begun) == len(self._begun):
                whole, self._begun = self._begun, bytearray()
                yield self._opened(whole)
        while at < len(came):
            rest = came[at:]
            length = self._length(rest)
            if length > len(rest):
                self._begun = bytearray(rest)
                return
            yield self._opened(rest[:length])
            at += length

    def _length(self, stream: Data) -> int:
        """Of the frame that begins there; of what tells it, while that is not there."""
        if len(stream) < 2:
            return 2
        first, second = stream[0], stream[1]
        if first & 0xF0 != 0x80 or not first & 0x0F or (second & 0x80 != 0) != self._masked:
            raise MalformedFrame("a frame in parts, with an extension, or masked by the wrong end")
        size, start = second & 0x7F, _content_at(second)
        if size > _MAX_CONTROL:
            if first & 0x0F >= CLOSE:
                raise MalformedFrame("a control frame that is too long")
            if len(stream) < start:
                return start
            size = int.from_bytes(stream[2 : 4 if size == 126 else 10])
        if size > MAX_FRAME:
            raise OversizedFrame("a frame that is too long")
        return start + size

    def _opened(self, whole: Data) -> tuple[int, Data]:
        opcode, start = whole[0] & 0x0F, _content_at(whole[1])
        if self._masked:
            mask = bytes(whole[start - MASK_SIZE : start])
            whole = whole if isinstance(whole, bytearray) else bytearray(whole)
            _mask_behind(start, mask, whole)
        return opcode, memoryview(whole)[start:]


def _content_at(second: int) -> int:
    """Where it begins, as a frame's second byte says."""
    return 2 + {126: 2, 127: 8}.get(second & 0x7F, 0) + MASK_SIZE * (second >> 7)


def _mask_behind(start: int, mask: bytes, whole: bytearray) -> None:
    """All of it, turned so that the mask's first byte meets the one at `start`; the head is lost.

    A part of it alone would have to be copied for it.
    """
    turn = -start % MASK_SIZE
    mask_in_place(mask[turn:] + mask[:turn], whole)


def _head(size: int, opcode: int, *, masked: bool = False) -> bytes:
    """What is before the mask, or before content of this size where there is none."""
    flag = 0x80 * masked
    if size <= _MAX_CONTROL:
        return bytes([0x80 | opcode, flag | size])
    if size < 65_536:
        return struct.pack("!BBH", 0x80 | opcode, flag | 126, size)
    return struct.pack("!BBQ", 0x80 | opcode, flag | 127, size)
