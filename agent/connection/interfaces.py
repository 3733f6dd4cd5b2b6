"""The machine's own addresses, asked of the kernel in one netlink round trip each.

The netlink library of the network helper is not used here: it cannot run on uvloop, and its import
alone takes longer than everything else between start and first check.
Source: rtnetlink(7); linux/if_addr.h, linux/if_link.h.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator

NETLINK_ROUTE = 0
RTM_GETLINK, RTM_GETADDR = 18, 22
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST_DUMP = 0x301
IFA_ADDRESS, IFA_LOCAL = 1, 2
IFF_UP, IFF_LOOPBACK = 0x1, 0x8
MESSAGE = struct.Struct("=IHHII")  # length, type, flags, sequence, port
LINK = struct.Struct("=BxHiII")  # family, type, index, flags, change
ADDRESS = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
ATTRIBUTE = struct.Struct("=HH")  # length, type
ANSWER_SIZE = 1 << 16
WAIT = 1.0  # seconds; the kernel answers in microseconds


def local_addresses(family: socket.AddressFamily = socket.AF_INET) -> list[str]:
    """Unicast addresses of this family of all interfaces that are up, loopback left out.

    Raises: OSError, if the kernel refuses.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as netlink:
        netlink.settimeout(WAIT)
        usable = _usable_links(netlink)
        found = [
            str(ipaddress.ip_address(raw))
            for index, raw in _addresses(netlink, family)
            if index in usable
        ]
    return [ip for ip in dict.fromkeys(found) if not ipaddress.ip_address(ip).is_loopback]


def _usable_links(netlink: socket.socket) -> set[int]:
    links = (
        LINK.unpack_from(body) for body in _dump(netlink, RTM_GETLINK, LINK.pack(0, 0, 0, 0, 0))
    )
    return {index for _, _, index, flags, _ in links if flags & (IFF_UP | IFF_LOOPBACK) == IFF_UP}


def _addresses(netlink: socket.socket, family: int) -> Iterator[tuple[int, bytes]]:
    """Interface index and raw address; of a point-to-point link our own end."""
    for body in _dump(netlink, RTM_GETADDR, ADDRESS.pack(family, 0, 0, 0, 0)):
        found, _, _, _, index = ADDRESS.unpack_from(body)
        attributes = dict(_attributes(body[ADDRESS.size :]))
        raw = attributes.get(IFA_LOCAL) or attributes.get(IFA_ADDRESS)
        if found == family and raw:
            yield index, raw


def _dump(netlink: socket.socket, kind: int, body: bytes) -> Iterator[bytes]:
    """The bodies of everything the kernel lists in answer to one request."""
    length = MESSAGE.size + len(body)
    netlink.send(MESSAGE.pack(length, kind, NLM_F_REQUEST_DUMP, 0, 0) + body)
    while True:
        data = netlink.recv(ANSWER_SIZE)
        while data:
            length, kind, *_ = MESSAGE.unpack_from(data)
            if kind == NLMSG_DONE:
                return
            if kind == NLMSG_ERROR:
                raise OSError("the kernel does not list its interfaces")
            yield data[MESSAGE.size : length]
            data = data[length + -length % 4 :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(data)
        yield kind, data[ATTRIBUTE.size : length]
        data = data[length + -length % 4 :]
