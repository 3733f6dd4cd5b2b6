import errno
import socket
import sys
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
    Run,
    Segments,
    joined,
    received,
    single,
)

SMALL = st.lists(st.sampled_from([b"a", b"bb", b"cc", b"d" * 1300]).map(single), max_size=100)
MIXED = st.lists(
    st.builds(lambda size, length: Run(size, bytes(length)), st.integers(1, 9), st.integers(1, 40)),
    max_size=20,
).map(lambda runs: [run if len(run.data) > run.size else single(run.data) for run in runs])


def datagrams_of(runs: list[Run]) -> list[bytes]:
    return [data for run in runs for data in run.datagrams()]


@given(SMALL | MIXED)
def test_what_is_joined_are_the_datagrams_in_their_order(runs: list[Run]) -> None:
    together = [
        Run(size, b"".join(pieces)) for size, _, pieces in joined(runs, MAX_BYTES, MAX_SEGMENTS)
    ]
    assert datagrams_of(together) == datagrams_of(runs)


@given(SMALL | MIXED)
def test_what_is_joined_says_its_bytes_and_has_no_datagram_longer_than_its_size(
    runs: list[Run],
) -> None:
    for size, total, pieces in joined(runs, MAX_BYTES, MAX_SEGMENTS):
        assert total == sum(map(len, pieces)) <= MAX_BYTES
        assert size <= total


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([1300, 1300, 1300], [3]),
        ([1300, 1300, 80, 1300], [3, 1]),
        ([80, 1300, 1300], [1, 2]),
        ([1300] * 60, [50, 10]),
        ([100] * 70, [64, 6]),
        ([40_000, 40_000], [1, 1]),
        ([], []),
    ],
)
def test_neighbours_of_one_size_go_together(sizes: list[int], expected: list[int]) -> None:
    together = joined([single(bytes(size)) for size in sizes], MAX_BYTES, MAX_SEGMENTS)
    assert [len(pieces) for _, _, pieces in together] == expected


def test_a_run_with_a_shorter_end_takes_nothing_more() -> None:
    first, second = Run(3, b"aaabb"), Run(3, b"cccddd")
    assert [p for _, _, p in joined([first, second], 99, 99)] == [[b"aaabb"], [b"cccddd"]]
    assert [p for _, _, p in joined([second, first], 99, 99)] == [[b"cccddd", b"aaabb"]]


@pytest.mark.parametrize(("most_bytes", "most_datagrams"), [(11, 99), (99, 3), (6, 2)])
def test_no_more_are_put_together_than_is_said(most_bytes: int, most_datagrams: int) -> None:
    runs = [Run(3, b"aaabbb"), Run(3, b"cccddd")]
    assert len(list(joined(runs, most_bytes, most_datagrams))) == 2
    assert len(list(joined(runs, 12, 4))) == 1


@pytest.mark.parametrize(("data", "number"), [(b"a", 1), (b"aaa", 1), (b"aaab", 2), (b"a" * 9, 3)])
def test_a_run_knows_how_many_it_has(data: bytes, number: int) -> None:
    assert Run(3, data).number == number == len(Run(3, data).datagrams())


def test_many_in_one_call_arrive_as_they_were() -> None:
    """With a real socket: the kernel cuts them apart at the sizes that they had."""
    datagrams = [bytes([n]) * 1300 for n in range(20)] + [b"end", b"after"]
    with _udp() as ours, _udp() as theirs:
        calls: list[int] = []

        def sendmsg(buffers: Sequence[bytes], *rest: Any) -> int:
            calls.append(len(buffers))
            return ours.sendmsg(buffers, *rest)

        Segments(sendmsg, theirs.getsockname()).send(map(single, datagrams))
        assert [theirs.recv(2000) for _ in datagrams] == datagrams
        assert calls == [21, 1]


@pytest.mark.parametrize("size", [1, 32, 1000, 1452])
def test_a_run_longer_than_a_call_takes_goes_in_several(size: int) -> None:
    kernel = _Kernel()
    data = bytes(n % 251 for n in range(200_000))
    Segments(kernel.sendmsg, ("203.0.113.1", 1)).send([Run(size, data)])
    assert b"".join(kernel.sent) == data
    for call in kernel.sent:
        assert len(call) <= MAX_BYTES
        assert len(call) <= MAX_SEGMENTS * size
    assert all(len(call) % size == 0 for call in kernel.sent[:-1])
    assert set(kernel.sizes) == {size}


def test_what_the_kernel_hands_over_in_one_is_a_run() -> None:
    datagrams = [bytes([n]) * 1300 for n in range(20)] + [b"end"]
    with _udp() as ours, _udp() as theirs:
        theirs.setsockopt(SOL_UDP, UDP_GRO, 1)
        Segments(ours.sendmsg, theirs.getsockname()).send([Run(1300, b"".join(datagrams))])
        Segments(ours.sendmsg, theirs.getsockname()).send([single(b"alone")])
        data, beside, _, _ = theirs.recvmsg(65_535, BESIDE)
        assert received(data, beside) == Run(1300, b"".join(datagrams))
        data, beside, _, _ = theirs.recvmsg(65_535, BESIDE)
        assert received(data, beside) == Run(5, b"alone")


def test_there_is_room_for_what_the_kernel_says_beside() -> None:
    assert socket.CMSG_SPACE(4) == BESIDE


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.EOPNOTSUPP])
def test_what_the_kernel_cannot_cut_it_gets_one_by_one_from_then_on(code: int) -> None:
    kernel = _Kernel(OSError(code, ""))
    sender = Segments(kernel.sendmsg, ("203.0.113.1", 1))
    for _ in range(2):
        sender.send(map(single, [b"one", b"two"]))
    assert kernel.sent == [b"one", b"two"] * 2
    assert kernel.refused == 1


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ECONNREFUSED, errno.ENOBUFS])
def test_a_full_queue_loses_a_run_and_nothing_after_it(code: int) -> None:
    kernel = _Kernel(OSError(code, ""))
    sender = Segments(kernel.sendmsg, ("203.0.113.1", 1))
    sender.send(map(single, [b"one", b"two", b"longer"]))
    assert kernel.sent == [b"longer"]
    sender.send(map(single, [b"one", b"two"]))
    assert kernel.refused == 2


class _Kernel:
    """Takes what is sent; no runs, if there is an error."""

    def __init__(self, error: OSError | None = None) -> None:
        self.sent: list[bytes] = []
        self.sizes: list[int] = []
        self.refused = 0
        self._error = error

    def sendmsg(self, buffers: Sequence[bytes], ancillary: Sequence[Any], *_: Any) -> int:
        if ancillary:
            [(level, kind, value)] = ancillary
            assert (level, kind) == (SOL_UDP, UDP_SEGMENT)
            self.sizes.append(int.from_bytes(value, sys.byteorder))
            if self._error is not None:
                self.refused += 1
                raise self._error
        self.sent.append(b"".join(buffers))
        return 0


def _udp() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    made.settimeout(2)
    return made
