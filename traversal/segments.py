"""Runs: many datagrams in one piece of memory, as the kernel hands them over and takes them.

Whoever relays a stream handles runs, not datagrams: one call of the kernel, one look, one copy for
dozens. Source: Linux, udp(7), UDP_SEGMENT and UDP_GRO.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104
MAX_RUN = 65_535  # bytes that the kernel hands over in one call
MAX_SEGMENTS = 64  # of one call
MAX_BYTES = 65_000  # of one call, headers not counted
_INT = struct.Struct("=i")
BESIDE = 24  # bytes of room for that: CMSG_SPACE of an int
# The kernel, the way or the interface cannot: a datagram that is cut must fit the MTU, for one.
_CANNOT = frozenset({errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.EOPNOTSUPP, errno.ENOPROTOOPT})

Data: TypeAlias = bytes | bytearray | memoryview


class Run(NamedTuple):
    """Datagrams of `size` bytes each; only the last may be shorter, and none is empty."""

    size: int
    data: Data

    @property
    def number(self) -> int:
        return -(-len(self.data) // self.size)

    def datagrams(self) -> list[bytes]:
        data, size = self.data, self.size
        return [bytes(data[start : start + size]) for start in range(0, len(data), size)]


def single(data: Data) -> Run:
    """A run of one; the datagram is not empty."""
    return Run(len(data), data)


def received(data: Data, beside: Iterable[tuple[int, int, bytes]]) -> Run:
    """What one call of `recvmsg` gave, not empty, with what it said `beside`."""
    for level, kind, value in beside:
        if (level, kind) == (SOL_UDP, UDP_GRO):
            return Run(min(_INT.unpack_from(value)[0], len(data)), data)
    return single(data)


def joined(
    runs: Iterable[Run], most_bytes: int, most_datagrams: int
) -> Iterator[tuple[int, int, list[Data]]]:
    """Neighbours that make one run: the size of its datagrams, its bytes in all, and its pieces.

    No more of them than that are put together; a run that is larger by itself stays whole.
    """
    size, total, pieces = 0, 0, list[Data]()
    for run in runs:
        length = len(run.data)
        if (
            pieces
            and total % size == 0
            and total + length <= min(most_bytes, most_datagrams * size)
            and (run.size == size or run.size == length < size)
        ):
            total += length
            pieces.append(run.data)
        else:
            if pieces:
                yield size, total, pieces
            size, total, pieces = run.size, length, [run.data]
    if pieces:
        yield size, total, pieces


def _parts(runs: Iterable[Run]) -> Iterator[Run]:
    """As large as one call takes them."""
    for run in runs:
        size, data = run
        most = min(MAX_SEGMENTS, MAX_BYTES // size) * size or size
        if len(data) <= most:
            yield run
        else:
            view = memoryview(data)
            for start in range(0, len(data), most):
                yield Run(size, view[start : start + most])


class Segments:
    """Sends to `destination` by `sendmsg`, which is a UDP socket's."""

    def __init__(self, sendmsg: Callable[..., int], destination: Any) -> None:
        self._sendmsg = sendmsg
        self._destination = destination
        self._can_cut = True

    def send(self, runs: Iterable[Run]) -> None:
        """Never raises: what finds a full queue, or nobody, is lost like any datagram."""
        for size, total, pieces in joined(_parts(runs), MAX_BYTES, MAX_SEGMENTS):
            self._send(size, total, pieces)

    def _send(self, size: int, total: int, pieces: list[Data]) -> None:
        if total <= size:
            self._send_one(pieces)
        elif self._can_cut:
            beside = [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", size))]
            try:
                self._sendmsg(pieces, beside, 0, self._destination)
            except OSError as error:
                if error.errno in _CANNOT:
                    self._can_cut = False
                    self._send_each(size, pieces)
        else:
            self._send_each(size, pieces)

    def _send_each(self, size: int, pieces: list[Data]) -> None:
        for data in Run(size, b"".join(pieces)).datagrams():
            self._send_one([data])

    def _send_one(self, pieces: list[Data]) -> None:
        try:
            self._sendmsg(pieces, (), 0, self._destination)
        except OSError:
            return
