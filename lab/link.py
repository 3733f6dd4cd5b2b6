"""Links that are slow, lossy and out of order: by netem where the kernel has it, else by us.

Without netem, a namespace in the middle of the cable has a veth to each side, and a process in it
carries the frames across through packet sockets: each waits in a heap until it is due.

    python -m lab.link JSON     # in the namespace in the middle; runs until it is ended
"""

import heapq
import itertools
import json
import random
import select
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from lab.commands import LabError, in_namespace, ip
from lab.machine import CHECKOUT

ETH_P_ALL = 3
SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
LARGEST = 1 << 17
BUFFER = 4 << 20
QUEUE = 0.2  # seconds that frames may wait for a slow link; more are dropped

End = tuple[str, str]  # namespace and interface


@dataclass(frozen=True)
class Way:
    """One direction of a link."""

    delay: float = 0.0  # ms
    loss: float = 0.0  # percent
    reorder: float = 0.0  # percent of frames that do not wait and overtake the others
    rate: float = 0.0  # Mbit/s; 0: as fast as it goes

    def __post_init__(self) -> None:
        for name, most in (("delay", 10_000), ("loss", 100), ("reorder", 100), ("rate", 10_000)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name}: must be from 0 to {most}")


@dataclass(frozen=True)
class Link:
    """`up` leads from a home to the internet, `down` back; they may differ."""

    up: Way = field(default_factory=Way)
    down: Way = field(default_factory=Way)

    @classmethod
    def both(cls, way: Way) -> "Link":
        return cls(way, way)


SMOOTH = Link()


def lay(
    link: Link, middle: str, upper: End, lower: End, environment: Mapping[str, str]
) -> "subprocess.Popen[bytes] | None":
    """A cable between two ends through the namespace `middle`; the process that carries it.

    With netem there is none, and `middle` stays empty.
    """
    if netem_is_there(middle):
        ip([f"link add {upper[1]} netns {upper[0]} type veth peer {lower[1]} netns {lower[0]}"])
        for way, (namespace, interface) in ((link.down, upper), (link.up, lower)):
            in_namespace(namespace, ["tc", *netem(interface, way)])
        return None
    for (namespace, interface), name in ((upper, "upper"), (lower, "lower")):
        ip([f"link add {interface} netns {namespace} type veth peer {name} netns {middle}"])
    off = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"
    in_namespace(middle, ["sh", "-c", off])
    ip(["link set upper up", "link set lower up"], namespace=middle)
    words = [sys.executable, "-m", "lab.link", json.dumps(asdict(link))]
    process = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{middle}", "--", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd=CHECKOUT,
        env=dict(environment),
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout as ready:
        if not ready.readline():
            raise LabError("the link emulator does not start")
    return process


def netem_is_there(namespace: str) -> bool:
    try:
        in_namespace(namespace, ["tc", "qdisc", "add", "dev", "lo", "root", "netem"])
    except LabError:
        return False
    in_namespace(namespace, ["tc", "qdisc", "del", "dev", "lo", "root"])
    return True


def netem(interface: str, way: Way) -> list[str]:
    """The words after `tc` that make an interface send like this."""
    words = ["qdisc", "add", "dev", interface, "root", "netem", "limit", "10000"]
    words += ["delay", f"{way.delay}ms"]
    words += ["loss", f"{way.loss}%"] if way.loss else []
    words += ["reorder", f"{way.reorder}%"] if way.reorder else []
    words += ["rate", f"{way.rate}mbit"] if way.rate else []
    return words


class _Direction:
    """Frames that came in on one socket and wait to go out on another."""

    def __init__(self, way: Way, source: socket.socket, target: socket.socket) -> None:
        self.way, self.source, self.target = way, source, target
        self._waiting: list[tuple[float, int, bytes]] = []
        self._count = itertools.count()
        self._free_at = 0.0  # when the link has passed everything that it took
        self._random = random.Random()

    def take(self) -> None:
        """Everything that has come in; frames carry the kernel's offload header before them."""
        while True:
            try:
                frame = self.source.recv(LARGEST)
            except BlockingIOError:
                return
            self._accept(frame, time.monotonic())

    def _accept(self, frame: bytes, now: float) -> None:
        way = self.way
        if self._random.random() * 100 < way.loss:
            return
        due = now
        if way.rate:
            due = max(now, self._free_at) + len(frame) * 8 / (way.rate * 1e6)
            if due - now > QUEUE:
                return
            self._free_at = due
        if not (way.reorder and self._random.random() * 100 < way.reorder):
            due += way.delay / 1000
        heapq.heappush(self._waiting, (due, next(self._count), frame))

    def give(self, now: float) -> float | None:
        """Send what is due; when the next one will be."""
        while self._waiting and self._waiting[0][0] <= now:
            frame = heapq.heappop(self._waiting)[2]
            try:
                self.target.send(frame)
            except OSError:  # the queue is full or the other end is down: lost, as on a wire
                continue
        return self._waiting[0][0] if self._waiting else None


def carry(link: Link) -> None:
    """Pass frames between `upper` and `lower` until ended."""
    upper, lower = _packet_socket("upper"), _packet_socket("lower")
    directions = (_Direction(link.down, upper, lower), _Direction(link.up, lower, upper))
    by_socket = {direction.source: direction for direction in directions}
    print("ready", flush=True)
    while True:
        dues = [due for way in directions if (due := way.give(time.monotonic())) is not None]
        wait = max(0.0, min(dues) - time.monotonic()) if dues else None
        for sock in select.select(by_socket, [], [], wait)[0]:  # exact to microseconds
            by_socket[sock].take()


def _packet_socket(interface: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    sock.bind((interface, ETH_P_ALL))
    sock.setblocking(False)
    return sock


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    carry(Link(Way(**given["up"]), Way(**given["down"])))
