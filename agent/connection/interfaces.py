"""The machine's own addresses and its gateway, asked of the kernel in one netlink round trip each.

The netlink library of the network helper is not used here: it cannot run on uvloop, and its import
alone takes longer than everything else between start and first check.
Source: rtnetlink(7); linux/if_addr.h, linux/if_link.h, linux/rtnetlink.h.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import sys
from collections.abc import Iterator

from traversal.candidate import Address

NETLINK_ROUTE = 0
RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE = 18, 22, 26
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST_DUMP = 0x301
IFA_ADDRESS, IFA_LOCAL = 1, 2
RTA_GATEWAY, RTA_PRIORITY = 5, 6
RTN_UNICAST, RT_TABLE_MAIN = 1, 254
IFF_UP, IFF_LOOPBACK = 0x1, 0x8
MESSAGE = struct.Struct("=IHHII")  # length, type, flags, sequence, port
LINK = struct.Struct("=BxHiII")  # family, type, index, flags, change
IF_ADDRESS = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
ROUTE = struct.Struct("=BBBBBBBBI")  # family, lengths, service, table, protocol, scope, type, flags
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
    return [ip for ip in dict.fromkeys(found) if _is_of_use(ipaddress.ip_address(ip))]


def source_towards(address: Address) -> str | None:
    """The address of ours that datagrams to there leave from; None if there is no way.

    IPv6 is hardly ever translated: from a private address there is no way to the internet.
    """
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((address.host, address.port))  # asks the routing table and sends nothing
        source = Address(*probe.getsockname()[:2])
        stays = address.version == 6 and source.private and not address.private
        return None if stays else source.host
    return None


def _is_of_use(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """A link-local IPv6 address means nothing without an interface, which is ours alone to name."""
    return not ip.is_loopback and not (ip.version == 6 and ip.is_link_local)


def default_gateway() -> str | None:
    """The next hop of the IPv4 default route, the preferred one of several; None without one.

    Raises: OSError, if the kernel refuses.
    """
    found: list[tuple[int, str]] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as netlink:
        netlink.settimeout(WAIT)
        question = ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
        for body in _dump(netlink, RTM_GETROUTE, question):
            _, length, _, _, table, _, _, kind, _ = ROUTE.unpack_from(body)
            attributes = dict(_attributes(body[ROUTE.size :]))
            gateway = attributes.get(RTA_GATEWAY)
            if (length, table, kind) == (0, RT_TABLE_MAIN, RTN_UNICAST) and gateway:
                metric = int.from_bytes(attributes.get(RTA_PRIORITY, b""), sys.byteorder)
                found.append((metric, str(ipaddress.ip_address(gateway))))
    return min(found)[1] if found else None


def _usable_links(netlink: socket.socket) -> set[int]:
    links = (
        LINK.unpack_from(body) for body in _dump(netlink, RTM_GETLINK, LINK.pack(0, 0, 0, 0, 0))
    )
    return {index for _, _, index, flags, _ in links if flags & (IFF_UP | IFF_LOOPBACK) == IFF_UP}


def _addresses(netlink: socket.socket, family: int) -> Iterator[tuple[int, bytes]]:
    """Interface index and raw address; of a point-to-point link our own end."""
    for body in _dump(netlink, RTM_GETADDR, IF_ADDRESS.pack(family, 0, 0, 0, 0)):
        found, _, _, _, index = IF_ADDRESS.unpack_from(body)
        attributes = dict(_attributes(body[IF_ADDRESS.size :]))
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
