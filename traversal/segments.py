"""Many datagrams for one destination in few calls of the kernel, which cuts them apart again.

And the other way: many from one source, of one size but the last, which it hands over in one.
Source: Linux, udp(7), UDP_SEGMENT and UDP_GRO.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104
MAX_SEGMENTS = 32  # of one call; the kernel takes 64
MAX_BYTES = 65_000  # of one call, headers not counted
_INT = struct.Struct("=i")
BESIDE = 24  # bytes of room for that: CMSG_SPACE of an int
# The kernel, the way or the interface cannot: a datagram that is cut must fit the MTU, for one.
_CANNOT = frozenset({errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.EOPNOTSUPP, errno.ENOPROTOOPT})


def runs(datagrams: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """The datagrams in their order, neighbours together that one call can send.

    All of a run are of one size; only the last may be shorter, and none is empty but alone.
    """
    start = 0
    while start < len(datagrams):
        size = total = len(datagrams[start])
        end = start + 1
        while (
            end < len(datagrams)
            and end - start < MAX_SEGMENTS
            and len(datagrams[end - 1]) == size
            and 0 < len(datagrams[end]) <= size
            and total + len(datagrams[end]) <= MAX_BYTES
        ):
            total += len(datagrams[end])
            end += 1
        yield datagrams[start:end]
        start = end


def cut(data: bytes, beside: Iterable[tuple[int, int, bytes]]) -> list[bytes]:
    """The datagrams in what one call of `recvmsg` gave, with what it said `beside`."""
    for level, kind, value in beside:
        if (level, kind) == (SOL_UDP, UDP_GRO):
            size: int = _INT.unpack_from(value)[0]
            return [data[start : start + size] for start in range(0, len(data), size)]
    return [data]


class Segments:
    """Sends to `destination` by `sendmsg`, which is a UDP socket's."""

    def __init__(self, sendmsg: Callable[..., int], destination: Any) -> None:
        self._sendmsg = sendmsg
        self._destination = destination
        self._can_cut = True

    def send(self, datagrams: Sequence[bytes]) -> None:
        """Never raises: what finds a full queue, or nobody, is lost like any datagram."""
        if len(datagrams) > 1 and self._can_cut:
            for run in runs(datagrams):
                self._send_run(run)
        else:
            self._send_each(datagrams)

    def _send_run(self, run: Sequence[bytes]) -> None:
        if len(run) == 1 or not self._can_cut:
            self._send_each(run)
            return
        size = struct.pack("=H", len(run[0]))
        try:
            self._sendmsg(run, [(SOL_UDP, UDP_SEGMENT, size)], 0, self._destination)
        except OSError as error:
            if error.errno in _CANNOT:
                self._can_cut = False
                self._send_each(run)

    def _send_each(self, datagrams: Sequence[bytes]) -> None:
        for data in datagrams:
            try:
                self._sendmsg((data,), (), 0, self._destination)
            except OSError:
                continue
