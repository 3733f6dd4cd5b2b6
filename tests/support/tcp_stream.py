"""A TCP stream as fast as it goes, for a while, and what arrived of it.

tcp_stream.py receive ADDRESS SECONDS     # prints JSON: "bytes", and "longest_gap" in seconds
tcp_stream.py send ADDRESS SECONDS
"""

import contextlib
import json
import socket
import sys
import time

PORT = 7001
CHUNK = bytes(65536)


def receive(address: str, seconds: float) -> None:
    with socket.create_server((address, PORT)) as server:
        print("ready", flush=True)
        stream, _ = server.accept()
    until = last = time.monotonic()
    until += seconds
    count, gap = 0, 0.0
    with stream:
        stream.settimeout(0.1)
        while (now := time.monotonic()) < until:
            with contextlib.suppress(TimeoutError):
                count += len(stream.recv(1 << 20))
                now = time.monotonic()
                gap, last = max(gap, now - last), now
    print(json.dumps({"bytes": count, "longest_gap": max(gap, until - last)}))


def send(address: str, seconds: float) -> None:
    until = time.monotonic() + seconds
    with socket.create_connection((address, PORT)) as stream, contextlib.suppress(OSError):
        stream.settimeout(seconds)
        while time.monotonic() < until:
            stream.sendall(CHUNK)


if __name__ == "__main__":
    {"receive": receive, "send": send}[sys.argv[1]](sys.argv[2], float(sys.argv[3]))
