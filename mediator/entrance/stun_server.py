"""The STUN service: tells agents from which address their datagrams come.

Two ports, so that an agent notices a NAT whose mapping depends on the destination, and a third, so
that it sees whether the mappings follow a rule. An answer goes out only for a well-formed binding
request, so that neither strangers' noise nor another server's answers are answered. It leaves from
the address that was asked, for a NAT lets in no answer of another; unless the request asks for just
that, to learn what its NAT lets in.
Source: RFC 8489, sections 6.3 and 12; RFC 5780.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Sequence
from functools import partial

from mediator.entrance.stun_answer import Asked, answer
from mediator.guard.limits import TokenBuckets
from traversal.candidate import Address
from traversal.stun import CHANGE_ADDRESS, CHANGE_PORT

MAX_DATAGRAM = 1500  # bytes; of a longer one the rest is not read
TURN = 64  # datagrams
CHANGED_RATE, CHANGED_BURST = 10, 40  # answers from elsewhere, a second and at once, to one host
IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)  # Linux; Python names it from 3.14 on
ROOM = socket.CMSG_SPACE(20)  # for `in6_pktinfo`, the longer of the two


class StunServer:
    def __init__(self) -> None:
        self._sockets: dict[tuple[int, int], socket.socket] = {}  # by numbers of host and port
        self._hosts: tuple[str, ...] = ()
        self._changed = TokenBuckets(CHANGED_RATE, CHANGED_BURST)

    @property
    def ports(self) -> tuple[int, ...]:
        """As bound; 0 was replaced by what the system chose."""
        return tuple(
            sock.getsockname()[1] for (host, _), sock in self._sockets.items() if host == 0
        )

    async def start(self, hosts: Sequence[str], ports: Sequence[int]) -> None:
        """All ports of all hosts or none; `::` is both families. Raises: OSError."""
        loop = asyncio.get_running_loop()
        self._hosts = tuple(hosts)
        try:
            for h, host in enumerate(hosts):
                for p, port in enumerate(ports if h == 0 else self.ports):
                    self._sockets[h, p] = _bound(host, port)
        except OSError:
            self.close()
            raise
        for place, sock in self._sockets.items():
            loop.add_reader(sock, self._answer_all, place, sock)

    def close(self) -> None:
        for sock in self._sockets.values():
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()
        self._sockets.clear()

    def _answer_all(self, place: tuple[int, int], sock: socket.socket) -> None:
        """What came, but not for so long that nobody else gets a turn."""
        for _ in range(TURN):
            try:
                data, ancillary, _, source = sock.recvmsg(MAX_DATAGRAM, ROOM)
            except BlockingIOError:
                return
            except OSError:  # of an answer before: nobody was there
                continue
            address = Address(_plain(source[0]), source[1])
            may_change = partial(self._may_change, address.host)
            reply = answer(data, address, self._asked(place, ancillary), may_change)
            if reply is None:
                continue
            leaves = self._sockets[self._other(place, reply.change)]
            way = [] if reply.change & CHANGE_ADDRESS else _from_where(ancillary)
            with contextlib.suppress(OSError):  # the client asks again
                leaves.sendmsg([reply.data], way, 0, source)

    def _may_change(self, host: str) -> bool:
        return self._changed.take(host) == 0

    def _asked(
        self, place: tuple[int, int], ancillary: Sequence[tuple[int, int, bytes]]
    ) -> Asked | None:
        host = _reached(ancillary) or self._hosts[place[0]]
        port, other_port = (
            sock.getsockname()[1] if (sock := self._sockets.get(key)) else None
            for key in (place, self._other(place, CHANGE_PORT))
        )
        other = self._other(place, CHANGE_ADDRESS)
        other_host = self._hosts[other[0]] if other in self._sockets and other != place else None
        return None if port is None else Asked(Address(host, port), other_port, other_host)

    def _other(self, place: tuple[int, int], change: int) -> tuple[int, int]:
        """The socket to answer from: the first and second port, and host of a family, belong
        together."""
        host, port = place
        if change & CHANGE_PORT:
            port ^= 1
        if change & CHANGE_ADDRESS:
            version = ipaddress.ip_address(self._hosts[host]).version
            like = [
                h
                for h, each in enumerate(self._hosts)
                if ipaddress.ip_address(each).version == version
            ]
            host = like[like.index(host) - 1]
        return host, port


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _from_where(ancillary: Sequence[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    """The address that was asked, as the one to answer from; the system chooses the way.

    Of `in_pktinfo` the local address is the second of three words, of `in6_pktinfo` the first 16
    bytes; what is left zero is an interface or not read.
    """
    for level, kind, value in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            return [(level, kind, bytes(4) + value[4:8] + bytes(4))]
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            return [(level, kind, value[:16] + bytes(4))]
    return []


def _reached(ancillary: Sequence[tuple[int, int, bytes]]) -> str | None:
    """The address of ours that a datagram was sent to."""
    for level, kind, value in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            return socket.inet_ntop(socket.AF_INET, value[8:12])
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            return _plain(socket.inet_ntop(socket.AF_INET6, value[:16]))
    return None


def _plain(host: str) -> str:
    """Without what a socket of both families puts before an address of IPv4, and the interface."""
    return host.removeprefix("::ffff:").partition("%")[0] if "." in host else host.partition("%")[0]
