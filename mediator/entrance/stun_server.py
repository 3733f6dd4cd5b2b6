"""The STUN service: tells agents from which address their datagrams come.

Two ports, so that an agent notices a NAT whose mapping depends on the destination. An answer holds
the address and nothing else; it goes out only for a well-formed binding request, so that neither
strangers' noise nor another server's answers are answered. It leaves from the address that was
asked: a NAT lets in no answer of another.
Source: RFC 8489, sections 6.3 and 12.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from typing import Any

from traversal import stun
from traversal.candidate import Address
from traversal.stun import Class, MalformedStun, Message

MAX_UNKNOWN_NAMED = 4  # attribute numbers listed in a refusal
UNKNOWN_ATTRIBUTE = 420
MAX_DATAGRAM = 1500  # bytes; of a longer one the rest is not read
TURN = 64  # datagrams
IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)  # Linux; Python names it from 3.14 on
ROOM = socket.CMSG_SPACE(20)  # for `in6_pktinfo`, the longer of the two


class StunServer:
    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []

    @property
    def ports(self) -> tuple[int, ...]:
        """As bound; 0 was replaced by what the system chose."""
        return tuple(sock.getsockname()[1] for sock in self._sockets)

    async def start(self, host: str, ports: Sequence[int]) -> None:
        """All ports or none; `::` is both families. Raises: OSError, if one cannot be bound."""
        loop = asyncio.get_running_loop()
        try:
            for port in ports:
                self._sockets.append(_bound(host, port))
        except OSError:
            self.close()
            raise
        for sock in self._sockets:
            loop.add_reader(sock, _answer_all, sock)

    def close(self) -> None:
        for sock in self._sockets:
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()
        self._sockets.clear()


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


def _answer_all(sock: socket.socket) -> None:
    """What came, but not for so long that nobody else gets a turn."""
    for _ in range(TURN):
        try:
            data, ancillary, _, source = sock.recvmsg(MAX_DATAGRAM, ROOM)
        except BlockingIOError:
            return
        except OSError:  # of an answer before: nobody was there
            continue
        host = source[0].removeprefix("::ffff:") if "." in source[0] else source[0]
        reply = answer(data, Address(host.partition("%")[0], source[1]))
        if reply is not None:
            with contextlib.suppress(OSError):  # the client asks again
                sock.sendmsg([reply], _from_where(ancillary), 0, source)


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


def answer(data: bytes, source: Address) -> bytes | None:
    """The bytes to send back, if any."""
    try:
        request = stun.parse(data)
    except MalformedStun:
        return None
    if request.cls is not Class.REQUEST or request.method != stun.BINDING:
        return None
    fingerprint = "FINGERPRINT" in request.attributes
    attributes: dict[str, Any] = {"XOR-MAPPED-ADDRESS": source}
    cls = Class.SUCCESS
    if request.unknown:
        cls = Class.ERROR
        unknown = request.unknown[:MAX_UNKNOWN_NAMED]
        attributes = {"ERROR-CODE": (UNKNOWN_ATTRIBUTE, ""), "UNKNOWN-ATTRIBUTES": unknown}
    return stun.serialize(Message(cls, request.transaction, attributes), fingerprint=fingerprint)
