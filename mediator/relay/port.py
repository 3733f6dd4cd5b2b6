"""The UDP sockets of one port of the relay: a bind goes to the judge, the rest along its flow."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Collection, Sequence
from typing import Any

from mediator.relay.flow import Flow
from traversal.candidate import Address
from traversal.relay_filter import sorted_out
from traversal.segments import BESIDE, MAX_RUN, SOL_UDP, UDP_GRO, Run, Segments, received

READ_AT_ONCE = 64  # runs and faults before others have their turn
READ_SIZE = 128 * 1024  # bytes of them, about
BUFFER = 4 * 1024 * 1024  # bytes asked of the kernel; it gives what its own limits allow

# Judges a bind: data, source, port; the answer, if any.
Judge = Callable[[bytes, Address, int], bytes | None]


class Port:
    """Open from the start; who is on which side, `route` says."""

    def __init__(
        self,
        number: int,
        hosts: Sequence[str],
        judge: Judge,
        bound: Callable[[int], Collection[Address]],
    ) -> None:
        """`bound` gives the addresses that the sides of a port have.

        Raises: OSError, if the port is taken at one of these addresses.
        """
        self.number = number
        self._judge = judge
        self._bound = bound
        self._loop = asyncio.get_running_loop()
        self._flows: dict[tuple[Any, ...], Flow] = {}
        self._heard_by: dict[Address, tuple[socket.socket, tuple[Any, ...]]] = {}
        self._sockets: list[socket.socket] = []
        try:
            for host in hosts:
                self._sockets.append(_bound(host, number))
        except OSError:
            self.close()
            raise
        for each in self._sockets:
            self._loop.add_reader(each, self._read, each)

    def close(self) -> None:
        for each in self._sockets:
            self._loop.remove_reader(each)
            each.close()
        self._sockets.clear()
        self._flows.clear()

    def sender(self, to: Address) -> Callable[[Sequence[Run]], None]:
        """What sends runs to whoever bound from there, from where it bound at."""
        through, destination = self._heard_by[to]
        return Segments(through.sendmsg, destination).send

    def route(self, flows: dict[Address, Flow]) -> None:
        """From now on datagrams from these addresses go along these flows, and no others."""
        self._flows = {self._heard_by[source][1]: flow for source, flow in flows.items()}

    def own_address(self, of: Address) -> str | None:
        """The address of ours from which the kernel would answer this one."""
        through, destination = self._heard_by[of]
        try:
            with socket.socket(through.family, socket.SOCK_DGRAM) as probe:
                probe.bind((through.getsockname()[0], 0))
                probe.connect(destination)
                return str(probe.getsockname()[0])
        except OSError:
            return None

    def _read(self, through: socket.socket) -> None:
        receive = through.recvmsg
        read: dict[Flow, list[Run]] = {}
        number = size = 0
        while number < READ_AT_ONCE and size < READ_SIZE:
            number += 1
            try:
                data, beside, _, source = receive(MAX_RUN, BESIDE)
            except BlockingIOError:
                break
            except OSError:  # an ICMP error for something we sent
                continue
            size += len(data)
            if data:
                self._take(received(data, beside), source, through, read)
        for flow, runs in read.items():
            flow.forward(runs)

    def _take(
        self,
        run: Run,
        source: tuple[Any, ...],
        through: socket.socket,
        read: dict[Flow, list[Run]],
    ) -> None:
        """Binds are judged at once; the rest waits in `read`, by its flow."""
        runs, binds = sorted_out(run)
        for bind in binds:
            self._hear_bind(bind, source, through)
        flow = self._flows.get(source)
        if flow is not None:
            read.setdefault(flow, []).extend(runs)

    def _hear_bind(self, data: bytes, source: tuple[Any, ...], through: socket.socket) -> None:
        address = Address(source[0], source[1])
        self._heard_by[address] = through, source
        answer = self._judge(data, address, self.number)
        bound = self._bound(self.number)  # whoever is not leaves nothing here
        self._heard_by = {each: self._heard_by[each] for each in bound if each in self._heard_by}
        if answer is not None:
            with contextlib.suppress(OSError):
                through.sendto(answer, source)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            made.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        with contextlib.suppress(OSError):  # a kernel without it gives one datagram at a time
            made.setsockopt(SOL_UDP, UDP_GRO, 1)
        made.bind((host, port))
    except BaseException:
        made.close()
        raise
    return made
