"""What a relay passes on, datagram by datagram and of whole runs alike."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traversal import stun
from traversal.relay_filter import admits, all_wireguard, is_bind, sorted_out
from traversal.segments import Data, Run, single
from traversal.stun import BIND, Class, Message

ADMITTED = {
    "a WireGuard initiation": (b"\x01\0\0\0" + bytes(144), True),
    "a WireGuard response": (b"\x02\0\0\0" + bytes(88), True),
    "a WireGuard cookie": (b"\x03\0\0\0" + bytes(60), True),
    "WireGuard data": (b"\x04\0\0\0" + bytes(1400), True),
    "a WireGuard keepalive": (b"\x04\0\0\0" + bytes(28), True),
    "a check": (stun.serialize(Message(Class.REQUEST, bytes(12))), True),
    "an answer to a check": (stun.serialize(Message(Class.SUCCESS, bytes(12))), True),
    "a DNS answer": (b"\x12\x34\x81\x80" + bytes(100), False),
    "QUIC": (b"\xc0\0\0\0\x01" + bytes(1200), False),
    "a fifth type": (b"\x05\0\0\0" + bytes(100), False),
    "a TURN allocation": (
        stun.serialize(Message(Class.REQUEST, bytes(12), method=3)),
        False,
    ),
    "nothing": (b"", False),
    "four bytes": (b"\x04\0\0\0", False),
}


@pytest.mark.parametrize("name", ADMITTED)
def test_a_relay_passes_on_wireguard_and_checks_only(name: str) -> None:
    data, admitted = ADMITTED[name]
    assert admits(data) is admitted


@pytest.mark.parametrize("name", ADMITTED)
def test_a_run_of_one_is_judged_as_its_datagram_is(name: str) -> None:
    data, admitted = ADMITTED[name]
    if data:
        runs, binds = sorted_out(single(data))
        assert [bytes(run.data) for run in runs] == [data] * admitted
        assert not binds


DATA = b"\x04\0\0\0" + bytes(36)
BIND_OF_40 = stun.serialize(Message(Class.REQUEST, bytes(12), {"PADDING": bytes(8)}, BIND))
NOT_ALL = {
    "a bind among them": (DATA * 2 + BIND_OF_40 + DATA, 3, 1),
    "an unknown type among them": (DATA + b"\x05" + DATA[1:] + DATA, 2, 0),
    "a type with something behind it": (DATA + b"\x04\1" + DATA[2:] + DATA, 2, 0),
    "the third byte": (DATA + b"\x04\0\1" + DATA[3:] + DATA, 2, 0),
    "the fourth byte": (DATA + b"\x04\0\0\1" + DATA[4:] + DATA, 2, 0),
    "an end that is too short": (DATA * 2 + DATA[:31], 2, 0),
    "an end of one byte": (DATA * 2 + b"\x04", 2, 0),
    "nothing good": (bytes(80), 0, 0),
}


@pytest.mark.parametrize("name", NOT_ALL)
def test_of_a_run_only_what_a_relay_passes_on_is_passed_on(name: str) -> None:
    data, passing, binds = NOT_ALL[name]
    run = Run(40, data)
    assert not all_wireguard(run)
    runs, found = sorted_out(run)
    assert (len(runs), len(found)) == (passing, binds)
    assert all(admits(bytes(one.data)) for one in runs)
    assert all(is_bind(one) for one in found)


@pytest.mark.parametrize("view", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("data", [DATA, DATA * 30, DATA * 3 + DATA[:32]])
def test_a_run_of_wireguard_alone_is_seen_at_once_and_stays_whole(
    view: Callable[[bytes], Data], data: bytes
) -> None:
    run = Run(40, view(data))
    assert all_wireguard(run)
    assert sorted_out(run) == ((run,), ())


@given(st.integers(1, 60), st.binary(min_size=1, max_size=400))
def test_any_run_is_sorted_as_its_datagrams_are_one_by_one(size: int, data: bytes) -> None:
    run = Run(min(size, len(data)), data)
    runs, binds = sorted_out(run)
    passing = [one for each in runs for one in each.datagrams()]
    assert passing == [one for one in run.datagrams() if admits(one)]
    assert list(binds) == [one for one in run.datagrams() if is_bind(one)]
