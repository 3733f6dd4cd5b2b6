"""A hundred ICMP echoes a second to an address, until standard input closes; needs root.

    python tests/support/icmp_pings.py ADDRESS

Prints how many were sent, how many came back within half a second of the end, and the median of
their round trips in milliseconds.
"""

import select
import socket
import statistics
import struct
import sys
import time

INTERVAL = 0.01
AFTERWARDS = 0.5
ECHO, REPLY = 8, 0
IDENTIFIER = 0x6D6D


def main(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as icmp:
        received: dict[int, float] = {}
        left: list[float] = []
        sent, end, due = 0, None, time.monotonic()
        while end is None or time.monotonic() < end:
            now = time.monotonic()
            if end is None and now >= due:
                left.append(now)
                icmp.sendto(echo(sent), (address, 0))
                sent, due = sent + 1, due + INTERVAL
            watched = [icmp] if end is not None else [icmp, sys.stdin]
            ready, _, _ = select.select(watched, [], [], max(0.0, (end or due) - now))
            if sys.stdin in ready:
                end = time.monotonic() + AFTERWARDS
            if icmp in ready:
                for number in sequence_of(icmp.recv(2048)):
                    received.setdefault(number, time.monotonic() - left[number])
        missing = sorted(set(range(sent)) - received.keys())
        median = statistics.median(received.values()) * 1000 if received else 0
        print(sent, len(received), round(median), missing[:20], flush=True)


def echo(number: int) -> bytes:
    body = struct.pack("!HH", IDENTIFIER, number & 0xFFFF)
    words = struct.unpack("!HHHH", struct.pack("!BBH", ECHO, 0, 0) + body)
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!BBH", ECHO, 0, ~total & 0xFFFF) + body


def sequence_of(packet: bytes) -> set[int]:
    kind, _, _, identifier, number = struct.unpack_from("!BBHHH", packet, (packet[0] & 0xF) * 4)
    return {number} if (kind, identifier) == (REPLY, IDENTIFIER) else set()


main(*sys.argv[1:])
