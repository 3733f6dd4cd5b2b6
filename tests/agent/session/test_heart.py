"""The heart on real sockets: what it does around the pulses that `PulseKeeper` decides about."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest

from agent.session.heart import Heart
from agent.session.pulse import MAX_PULSE, PULSE_INTERVAL, PulseKeeper
from traversal.candidate import Address

LOOPBACK = "127.0.0.1"


class Other:
    """A party that answers pulses if it is asked to."""

    def __init__(self, name: str, ann: Address) -> None:
        self.name = name
        self.socket = bound()
        self.probes = 0
        self._ann = ann
        self._keeper = PulseKeeper({"ann": ann}, time.monotonic())

    def take(self, *, answers: bool) -> None:
        while data := received(self.socket):
            self.probes += len(data) > MAX_PULSE
            if answers:
                self._keeper.handle_datagram(data, self._ann, time.monotonic())
        if answers:
            self._keeper.hurry()
            for data, to in self._keeper.datagrams_to_send(time.monotonic(), None, finished=False):
                self.socket.sendto(data, to)


@pytest.fixture
def ann() -> Iterator[socket.socket]:
    with bound() as made:
        yield made


async def test_large_packets_are_tried_once_everybody_is_heard(ann: socket.socket) -> None:
    place = Address(*ann.getsockname())
    ben, carl = Other("ben", place), Other("carl", place)
    addresses = {one.name: Address(*one.socket.getsockname()) for one in (ben, carl)}
    heart = Heart(PulseKeeper(addresses, time.monotonic()), ann, ignore, ignore)
    heart.watch_mtus(lambda _: 1420, ignore)
    try:
        for one in (ben, carl):
            heart.reach(one.name)
        heart.search_mtu("ben")
        for _ in range(12):
            await talk(ben, carl, answering={"ben"})
        assert heart.unheard() == ["carl"]
        assert ben.probes == 0
        while not ben.probes:
            await talk(ben, carl, answering={"ben", "carl"})
        assert heart.unheard() == []
        assert carl.probes == 0
        heart.search_mtu("carl")
        while not carl.probes:
            await talk(ben, carl, answering={"ben", "carl"})
    finally:
        heart.close()
        for one in (ben, carl):
            one.socket.close()


async def talk(*others: Other, answering: set[str]) -> None:
    """For the tenth part of a beat."""
    for other in others:
        other.take(answers=other.name in answering)
    await asyncio.sleep(PULSE_INTERVAL / 10)


def bound() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((LOOPBACK, 0))
    made.setblocking(False)
    return made


def received(made: socket.socket) -> bytes:
    try:
        return made.recv(2048)
    except BlockingIOError:
        return b""


def ignore(*_: object) -> None:
    pass
