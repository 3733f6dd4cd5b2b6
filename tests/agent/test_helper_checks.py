"""Checks beside WireGuard: what an agent may have sent from its port, and what it hears there."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.network_helper.checks import (
    MAX_MESSAGE,
    Check,
    MalformedCheck,
    arrived,
    deaf_filter,
    parse,
    receive_filter,
    serialize,
    udp_datagram,
)

STUN = bytes.fromhex("00010000 2112a442") + bytes(12)
CHECK4 = b"\x04" + bytes([192, 0, 2, 9]) + bytes(12) + b"\x11\x94" + STUN
CHECK6 = b"\x06" + bytes.fromhex("20010db8") + bytes(11) + b"\x01\x11\x94" + STUN


def test_a_check_is_a_destination_and_a_message() -> None:
    assert serialize(Check("192.0.2.9", 4500, STUN)) == CHECK4
    assert serialize(Check("2001:db8::1", 4500, STUN)) == CHECK6
    assert parse(CHECK4) == ("192.0.2.9", 4500, STUN)
    assert parse(CHECK6) == ("2001:db8::1", 4500, STUN)


HOSTILE = {
    "nothing": b"",
    "no message": CHECK4[:19],
    "half a header": CHECK4[:-1],
    "too much": CHECK4 + bytes(MAX_MESSAGE),
    "WireGuard's initiation": CHECK4[:19] + b"\x01\0\0\0" + bytes(144),
    "a name query": CHECK4[:19] + bytes.fromhex("1234 0100 0001 0000") + bytes(20),
    "a TURN channel": CHECK4[:19] + b"\x40\x01\0\x10" + STUN[4:],
    "another cookie": CHECK4.replace(STUN[4:8], b"\x21\x12\xa4\x43"),
    "no family": b"\x00" + CHECK4[1:],
    "port 0": CHECK4[:17] + b"\0\0" + STUN,
    "everybody": b"\x04" + b"\xff" * 4 + CHECK4[5:],
    "a group": b"\x04" + bytes([224, 0, 0, 251]) + CHECK4[5:],
    "nowhere": b"\x04" + bytes(4) + CHECK4[5:],
    "a group of IPv6": b"\x06\xff\x02" + CHECK6[3:],
    "nowhere in IPv6": b"\x06" + bytes(16) + CHECK6[17:],
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_nothing_but_stun_to_one_host_is_sent(attack: str) -> None:
    with pytest.raises(MalformedCheck):
        parse(HOSTILE[attack])


@given(st.binary(max_size=80))
def test_no_bytes_crash_the_reader_of_checks(data: bytes) -> None:
    with contextlib.suppress(MalformedCheck):
        parse(data)


def test_the_checksum_is_what_rfc_768_says() -> None:
    check = Check("192.0.2.9", 4500, STUN)
    datagram = udp_datagram(check, "192.0.2.1", 51820)
    assert datagram[:6] == struct.pack("!HHH", 51820, 4500, 28)
    pseudo = bytes([192, 0, 2, 1, 192, 0, 2, 9, 0, 17, 0, 28])
    words = struct.unpack("!20H", pseudo + datagram)
    total = sum(words)
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF
    assert datagram[6:8] != b"\0\0"
    assert datagram[8:] == STUN


def test_without_a_source_the_kernel_fills_the_checksum_in() -> None:
    assert udp_datagram(Check("2001:db8::1", 4500, STUN), None, 51820) == (
        struct.pack("!HHHH", 51820, 4500, 28, 0) + STUN
    )


def test_the_message_is_found_behind_the_headers() -> None:
    udp = struct.pack("!HHHH", 4500, 51820, 28, 0) + STUN
    seen = Check("192.0.2.9", 4500, STUN)
    assert arrived(b"\x45" + bytes(19) + udp, 4, "192.0.2.9") == seen
    assert arrived(b"\x46" + bytes(23) + udp, 4, "192.0.2.9") == seen
    assert arrived(udp, 6, "fe80::1%eth0") == Check("fe80::1", 4500, STUN)
    assert arrived(udp + b"padding of the link", 6, "2001:db8::1").message == STUN


@pytest.mark.parametrize("data", [b"", b"\x45", b"\x4f" + bytes(30), b"\x45" + bytes(27)])
def test_a_cut_arrival_is_nothing(data: bytes) -> None:
    with pytest.raises(MalformedCheck):
        arrived(data, 4, "192.0.2.9")


@given(st.binary(max_size=80), st.sampled_from([4, 6]))
def test_no_arrival_crashes_the_reader(data: bytes, version: int) -> None:
    with contextlib.suppress(MalformedCheck):
        arrived(data, version, "192.0.2.9")


@pytest.mark.parametrize("version", [4, 6])
def test_the_filter_lets_stun_for_the_port_through_and_nothing_else(version: int) -> None:
    program = receive_filter(version, 51820)
    headers = (b"\x45" + bytes(19) if version == 4 else b"") + struct.pack("!HH", 4500, 51820)
    elsewhere = headers[:-2] + struct.pack("!H", 51821)
    assert run_filter(program, headers + bytes(4) + STUN)
    assert not run_filter(program, elsewhere + bytes(4) + STUN)
    assert not run_filter(program, headers + bytes(4) + b"\x04\0\0\0" + bytes(28))
    assert not run_filter(program, headers + bytes(4) + STUN[:7])
    assert not run_filter(deaf_filter(), headers + bytes(4) + STUN)


def test_options_of_ip_move_what_the_filter_looks_at() -> None:
    headers = b"\x46" + bytes(23) + struct.pack("!HH", 4500, 51820) + bytes(4)
    assert run_filter(receive_filter(4, 51820), headers + STUN)


def run_filter(program: bytes, packet: bytes) -> int:
    """The kernel's machine for classic filters, as far as ours go: bytes let through."""
    code = list(struct.iter_unpack("=HBBI", program))
    accumulator = index = at = 0
    sizes = {0x20: 4, 0x28: 2, 0x40: 4, 0x48: 2}
    while True:
        operation, yes, no, k = code[at]
        at += 1
        if operation == 0x06:
            return k
        if operation == 0xB1:
            index = (packet[k] & 0xF) * 4
        elif operation == 0x15:
            at += yes if accumulator == k else no
        else:
            start = k + (index if operation & 0x40 else 0)
            word = packet[start : start + sizes[operation]]
            if len(word) < sizes[operation]:
                return 0
            accumulator = int.from_bytes(word, "big")
