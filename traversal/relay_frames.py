"""Datagrams over a stream: runs of them in binary WebSocket frames, each run behind its head.

    size    2 bytes, big-endian: of each datagram of the run
    length  2 bytes, big-endian: of the run; its last datagram may be shorter
    data    so many bytes

One write for many datagrams is what makes a stream as fast as it can be; frames are made and read
here, so that nothing is copied more than it must be. Source: RFC 6455, section 5.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator

from traversal.masking import MASK_SIZE, mask_in_place
from traversal.segments import Data, Run, joined

MAX_FRAME = 256 * 1024  # bytes of a frame's content that an end takes
MAX_DATAGRAM = 65_535
BINARY, CLOSE, PING, PONG = 0x2, 0x8, 0x9, 0xA
_MAX_CONTROL = 125  # bytes of a control frame's content
_RUN = struct.Struct("!HH")


class MalformedBatch(ValueError):
    """Runs that do not fit their frame; the other end is broken."""


class MalformedFrame(ValueError):
    """Not a frame that this end takes."""


class OversizedFrame(MalformedFrame):
    """One of more than MAX_FRAME bytes."""


def batch(runs: Iterable[Run]) -> list[Data]:
    """The pieces of one frame's content; neighbours that make one run are one."""
    pieces: list[Data] = []
    for size, total, parts in joined(runs):
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
    # All of it at once, turned so that the mask's first byte meets the content's; then the head.
    turn = -len(head) % MASK_SIZE
    mask_in_place(mask[turn:] + mask[:turn], whole)
    whole[: len(head)] = head
    return whole


class Frames:
    """Reads one end's frames out of its stream: a client's are masked, a server's are not."""

    def __init__(self, *, masked: bool) -> None:
        self._masked = masked
        self._rest = bytearray()

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not whole yet."""
        return len(self._rest)

    def feed(self, data: bytes) -> Iterator[tuple[int, Data]]:
        """Opcode and content of every frame that is whole now.

        Raises: MalformedFrame, which no stream goes on after.
        """
        stream: Data = data
        if self._rest:
            self._rest += data
            stream = self._rest
        offset = 0
        while (found := self._frame_at(stream, offset)) is not None:
            opcode, content, offset = found
            yield opcode, content
        if offset or stream is data:  # contents are views of what came: it stays as it is
            self._rest = bytearray(memoryview(stream)[offset:])

    def _frame_at(self, stream: Data, offset: int) -> tuple[int, Data, int] | None:
        """And where the next begins; None if this one is not whole."""
        if len(stream) < offset + 2:
            return None
        first, second = stream[offset], stream[offset + 1]
        opcode = first & 0x0F
        if first & 0xF0 != 0x80 or not opcode or (second & 0x80 != 0) != self._masked:
            raise MalformedFrame("a frame in parts, with an extension, or masked by the wrong end")
        size, start = second & 0x7F, offset + 2
        if size > _MAX_CONTROL:
            if opcode >= CLOSE:
                raise MalformedFrame("a control frame that is too long")
            start += 2 if size == 126 else 8
            size = int.from_bytes(stream[offset + 2 : start])
        if size > MAX_FRAME:
            raise OversizedFrame("a frame that is too long")
        mask_at = start
        start += MASK_SIZE * self._masked
        if len(stream) < start + size:
            return None
        if not self._masked:
            return opcode, memoryview(stream)[start : start + size], start + size
        content = bytearray(memoryview(stream)[start : start + size])
        mask_in_place(bytes(stream[mask_at:start]), content)
        return opcode, content, start + size


def _head(size: int, opcode: int, *, masked: bool = False) -> bytes:
    """What is before the mask, or before content of this size where there is none."""
    flag = 0x80 * masked
    if size <= _MAX_CONTROL:
        return bytes([0x80 | opcode, flag | size])
    if size < 65_536:
        return struct.pack("!BBH", 0x80 | opcode, flag | 126, size)
    return struct.pack("!BBQ", 0x80 | opcode, flag | 127, size)
