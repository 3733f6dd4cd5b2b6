"""Links delay, lose, reorder and slow down as they were told; what was measured is printed."""

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass

import pytest

from lab.link import SMOOTH, Link, Way, netem
from lab.topology import Lab

pytestmark = [
    pytest.mark.alone,
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]

PUBLIC = "198.51.100.10"

# Numbered datagrams one way; the clock is the same in all namespaces. Before them a question that
# is answered: a lost ARP request alone costs all that is sent in the second until the next.
RECEIVE = """
import json, socket, struct, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind(("0.0.0.0", 5000))
    print("bound", flush=True)
    seen = []
    sock.settimeout(10)
    while True:
        try:
            data, source = sock.recvfrom(2000)
        except TimeoutError:
            break
        now = time.monotonic()
        if data == b"?":
            sock.sendto(data, source)
            continue
        sock.settimeout(0.7)
        number, sent = struct.unpack_from("=Id", data)
        seen.append((number, now - sent, now))
print(json.dumps(seen))
"""
SEND = """
import contextlib, socket, struct, sys, time
address, count, gap, size = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.connect((address, 5000))
    sock.settimeout(0.2)
    answer = b""
    while not answer:
        sock.send(b"?")
        with contextlib.suppress(TimeoutError):
            answer = sock.recv(10)
    began = time.monotonic()
    for number in range(count):
        time.sleep(max(0, began + number * gap - time.monotonic()))
        sock.send(struct.pack("=Id", number, time.monotonic()).ljust(size, b"."))
"""


@dataclass(frozen=True)
class Seen:
    delay: float  # ms, the median
    late: float  # ms, of the latest of twenty
    lost: float  # percent
    overtaken: float  # percent of those that came after one that was sent later
    rate: float  # Mbit/s of payload


def test_a_delay_is_exact_to_a_millisecond() -> None:
    seen = _measure(Way(delay=20), gap=0.002, count=500)
    assert 19 <= seen.delay <= 21
    assert seen.lost == seen.overtaken == 0


def test_the_two_ways_of_a_link_may_differ() -> None:
    with Lab() as lab:
        public = lab.public("public", PUBLIC)
        lab.home("home", nat="port-restricted", link=Link(Way(delay=30), Way(delay=5)))
        script = ROUND_TRIP.replace("ADDRESS", PUBLIC)
        with public.popen([sys.executable, "-c", ECHO], stdout=subprocess.PIPE) as echo:
            assert echo.stdout is not None
            echo.stdout.readline()
            trip = float(lab.homes["home"].host.run([sys.executable, "-c", script]))
            echo.kill()
    print(f"30 ms up and 5 ms down: a round trip of {trip:.2f} ms")
    assert 34.5 <= trip <= 37


def test_loss_is_exact_to_a_percent() -> None:
    seen = _measure(Way(loss=5), gap=0.0002, count=8000)
    assert 4 <= seen.lost <= 6
    assert seen.delay < 1


def test_some_overtake_the_others() -> None:
    seen = _measure(Way(delay=10, reorder=10), gap=0.001, count=1500)
    assert seen.overtaken > 40  # ten are on the way at any time, one of them overtakes
    assert seen.lost == 0


def test_a_rate_is_kept_and_what_does_not_fit_is_dropped() -> None:
    seen = _measure(Way(rate=4), gap=0.001, count=1000, size=1000)  # 8 Mbit/s are offered
    assert 3.5 <= seen.rate <= 4.1
    assert seen.lost > 20


def test_a_smooth_link_is_a_plain_cable() -> None:
    with Lab() as lab:
        lab.home("home", nat="port-restricted", link=SMOOTH)
        assert not [name for name in lab.hosts if "cable" in name]
        assert not [name for name in lab.leftovers().namespaces if "cable" in name]


def test_the_kernel_is_told_the_same_where_it_can_do_it() -> None:
    told = netem("wan", Way(delay=20, loss=5, reorder=10, rate=4))
    assert " ".join(told) == (
        "qdisc add dev wan root netem limit 10000 delay 20ms loss 5% reorder 10% rate 4mbit"
    )


@pytest.mark.parametrize(("field", "value"), [("delay", -1), ("loss", 101), ("rate", 1e9)])
def test_what_no_link_can_be_is_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field}: must be from 0 to"):
        Way(**{field: value})


ECHO = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("0.0.0.0", 5000))
    print("bound", flush=True)
    while True:
        sock.sendto(*sock.recvfrom(2000))
"""
ROUND_TRIP = """
import socket, statistics, time
trips = []
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.connect(("ADDRESS", 5000))
    for _ in range(15):
        began = time.monotonic()
        sock.send(b"?")
        sock.recv(100)
        trips.append(time.monotonic() - began)
print(statistics.median(trips) * 1000)
"""


def _measure(up: Way, *, gap: float, count: int, size: int = 200) -> Seen:
    with Lab() as lab:
        public = lab.public("public", PUBLIC)
        home = lab.home("home", nat="port-restricted", link=Link(up, Way()))
        with public.popen([sys.executable, "-c", RECEIVE], stdout=subprocess.PIPE) as receiver:
            assert receiver.stdout is not None
            receiver.stdout.readline()
            words = [PUBLIC, str(count), str(gap), str(size)]
            home.host.run([sys.executable, "-c", SEND, *words])
            came = json.loads(receiver.stdout.readline())
    numbers = [number for number, _, _ in came]
    delays = sorted(delay * 1000 for _, delay, _ in came)
    highest, overtaken = -1, 0
    for number in numbers:
        overtaken += number < highest
        highest = max(highest, number)
    seen = Seen(
        delay=statistics.median(delays),
        late=delays[len(delays) * 19 // 20],
        lost=100 * (1 - len(came) / count),
        overtaken=100 * overtaken / len(came),
        rate=(len(came) - 1) * size * 8 / (came[-1][2] - came[0][2]) / 1e6,
    )
    print(f"{up}: {seen}")
    return seen
