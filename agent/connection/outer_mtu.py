"""How large packets of the mesh may be so that WireGuard's, around them, leave in one piece.

WireGuard lets its packets be cut. What was cut can arrive, and then looks as if it had passed: a
probe inside the mesh does not tell. But the kernel knows what a route takes, and remembers for some
minutes what routers have said of a path ("fragmentation needed", "packet too big").
"""

from __future__ import annotations

import socket

from agent.wireguard.config import LEAST_MTU
from traversal.candidate import Address
from traversal.pairs import Path

# Bytes around a packet: IP, UDP, and WireGuard's type, receiver, counter and tag.
OVERHEAD = {4: 20 + 8 + 32, 6: 40 + 8 + 32}
THROUGH_TURN = 1408  # bytes; the server's channel adds 4 to a packet, and perhaps takes it by IPv6
# linux/in.h, linux/in6.h: option level, and what is known of a connected socket's path
KNOWN = {4: (socket.IPPROTO_IP, 14), 6: (socket.IPPROTO_IPV6, 24)}


def room_for_packets(path: Path) -> int:
    """Bytes of the largest packet that goes along this path uncut, by all the kernel knows."""
    if path.turn:
        return THROUGH_TURN
    known = route_mtu(path.endpoint)
    return LEAST_MTU if known is None else known - OVERHEAD[path.endpoint.version]


def route_mtu(address: Address) -> int | None:
    """Bytes of an IP packet to this address, None where no route leads."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    level, option = KNOWN[address.version]
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((address.host, address.port))
            return sock.getsockopt(level, option)
    except OSError:
        return None
