"""Ports of the caller's that WireGuard's packets may leave from, beside the session's own.

The caller hands in the socket: what it could not bind itself, it cannot have packets of its session
leave from, or take datagrams away from. We keep the socket, so that nobody else gets the port; to
the end of the session, unless nothing uses it and too many newer ones have come.
"""

import os
import socket
from collections.abc import Collection, Mapping

from agent.network_helper.requests import MAX_PARTIES, RequestRefused
from agent.wireguard.config import Endpoint

FAMILIES = (socket.AF_INET, socket.AF_INET6)
SO_NETNS_COOKIE = 71  # <asm-generic/socket.h>, since Linux 5.14
COOKIE_SIZE = 8  # bytes


Address = tuple[str, int]


class HeldPorts:
    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}
        self._addresses: dict[int, Address] = {}

    def ports(self) -> Mapping[int, Address]:
        """What is held, and for what other side."""
        return dict(self._addresses)

    def take(self, descriptor: int, address: Address, endpoints: Collection[Endpoint]) -> None:
        """A copy of the caller's socket, while these endpoints are in use.

        Raises: RequestRefused, OSError.
        """
        callers = socket.socket(fileno=descriptor)
        try:
            port = _port(callers)
        finally:
            callers.detach()
        self._drop(port)
        # Not `callers.dup`, which would make the caller's socket a blocking one: they share that.
        self._sockets[port] = socket.socket(fileno=os.dup(descriptor))
        self._addresses[port] = address
        used = _wanted(endpoints)
        spare = [port for port in self._sockets if port not in used]
        for port in spare[: max(0, len(self._sockets) - MAX_PARTIES)]:
            self._drop(port)

    def check(self, endpoints: Collection[Endpoint]) -> None:
        """Raises: RequestRefused, where one of these wants a port that is not held."""
        wanted = _wanted(endpoints)
        if len(set(wanted)) < len(wanted):
            raise RequestRefused("endpoints: a source_port twice")
        if not self._sockets.keys() >= set(wanted):
            raise RequestRefused("endpoints: a source_port that is not held")

    def close(self) -> None:
        for port in self.ports():
            self._drop(port)

    def _drop(self, port: int) -> None:
        held = self._sockets.pop(port, None)
        if held is not None:
            held.close()
            del self._addresses[port]


def _wanted(endpoints: Collection[Endpoint]) -> list[int]:
    return [to.source_port for to in endpoints if to.source_port is not None]


def _port(held: socket.socket) -> int:
    """Raises: RequestRefused, unless it is a UDP socket of our own network, bound to every host."""
    if held.family not in FAMILIES or held.type != socket.SOCK_DGRAM:
        raise RequestRefused("hold: wants a UDP socket")
    with socket.socket(held.family, socket.SOCK_DGRAM) as ours:
        if _network(ours) != _network(held):
            raise RequestRefused("hold: a socket of another network")
    host, port, *_ = held.getsockname()
    if host not in ("0.0.0.0", "::") or port < 1024:  # noqa: S104  what the caller has bound
        raise RequestRefused("hold: wants a port from 1024 on, of every address")
    return int(port)


def _network(of: socket.socket) -> bytes:
    return of.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, COOKIE_SIZE)
