import errno
import socket
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traversal.segments import (
    BESIDE,
    MAX_BYTES,
    MAX_SEGMENTS,
    SOL_UDP,
    UDP_GRO,
    UDP_SEGMENT,
    Segments,
    cut,
    runs,
)

SMALL = st.lists(st.sampled_from([b"", b"a", b"bb", b"cc", b"d" * 1300]), max_size=100)


@given(SMALL)
def test_runs_are_the_datagrams_in_their_order(datagrams: list[bytes]) -> None:
    assert [data for run in runs(datagrams) for data in run] == datagrams


@given(SMALL)
def test_only_the_last_of_a_run_is_shorter_and_none_is_empty(datagrams: list[bytes]) -> None:
    for run in runs(datagrams):
        assert len(run) <= MAX_SEGMENTS
        assert sum(map(len, run)) <= MAX_BYTES
        assert {len(data) for data in run[:-1]} <= {len(run[0])}
        assert len(run) == 1 or 0 < len(run[-1]) <= len(run[0])


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([1300, 1300, 1300], [3]),
        ([1300, 1300, 80, 1300], [3, 1]),
        ([80, 1300, 1300], [1, 2]),
        ([1300] * 40, [MAX_SEGMENTS, 8]),
        ([40_000, 40_000], [1, 1]),
        ([0, 0], [1, 1]),
        ([], []),
    ],
)
def test_neighbours_of_one_size_go_together(sizes: list[int], expected: list[int]) -> None:
    assert [len(run) for run in runs([bytes(size) for size in sizes])] == expected


def test_many_in_one_call_arrive_as_they_were() -> None:
    """With a real socket: the kernel cuts them apart at the sizes that they had."""
    datagrams = [bytes([n]) * 1300 for n in range(20)] + [b"end", b"after"]
    with _udp() as ours, _udp() as theirs:
        calls: list[int] = []

        def sendmsg(buffers: Sequence[bytes], *rest: Any) -> int:
            calls.append(len(buffers))
            return ours.sendmsg(buffers, *rest)

        Segments(sendmsg, theirs.getsockname()).send(datagrams)
        assert [theirs.recv(2000) for _ in datagrams] == datagrams
        assert calls == [21, 1]


def test_what_the_kernel_hands_over_in_one_is_cut_as_it_was_sent() -> None:
    datagrams = [bytes([n]) * 1300 for n in range(20)] + [b"end"]
    with _udp() as ours, _udp() as theirs:
        theirs.setsockopt(SOL_UDP, UDP_GRO, 1)
        Segments(ours.sendmsg, theirs.getsockname()).send(datagrams)
        Segments(ours.sendmsg, theirs.getsockname()).send([b"alone"])
        data, beside, _, _ = theirs.recvmsg(65_535, BESIDE)
        assert len(data) == 20 * 1300 + 3
        assert cut(data, beside) == datagrams
        data, beside, _, _ = theirs.recvmsg(65_535, BESIDE)
        assert cut(data, beside) == [b"alone"]


def test_there_is_room_for_what_the_kernel_says_beside() -> None:
    assert socket.CMSG_SPACE(4) == BESIDE


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.EOPNOTSUPP])
def test_what_the_kernel_cannot_cut_it_gets_one_by_one_from_then_on(code: int) -> None:
    kernel = _Kernel(OSError(code, ""))
    sender = Segments(kernel.sendmsg, ("203.0.113.1", 1))
    for _ in range(2):
        sender.send([b"one", b"two"])
    assert kernel.sent == [b"one", b"two"] * 2
    assert kernel.refused == 1


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ECONNREFUSED, errno.ENOBUFS])
def test_a_full_queue_loses_a_run_and_nothing_after_it(code: int) -> None:
    kernel = _Kernel(OSError(code, ""))
    sender = Segments(kernel.sendmsg, ("203.0.113.1", 1))
    sender.send([b"one", b"two", b"longer"])
    assert kernel.sent == [b"longer"]
    sender.send([b"one", b"two"])
    assert kernel.refused == 2


class _Kernel:
    """Sends no runs, for one reason."""

    def __init__(self, error: OSError) -> None:
        self.sent: list[bytes] = []
        self.refused = 0
        self._error = error

    def sendmsg(self, buffers: Sequence[bytes], ancillary: Sequence[Any], *_: Any) -> int:
        if ancillary:
            assert ancillary[0][:2] == (SOL_UDP, UDP_SEGMENT)
            self.refused += 1
            raise self._error
        self.sent.append(b"".join(buffers))
        return 0


def _udp() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    made.settimeout(2)
    return made
