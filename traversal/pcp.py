"""PCP: asking the gateway to open one UDP port, as bytes.

Source: RFC 6887, sections 7.1 and 7.2 (headers), 7.4 (result codes) and 11.1 (MAP).
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass, field
from enum import IntEnum

from traversal.candidate import Address

VERSION = 2
PORT = 5351  # of the server, shared with NAT-PMP
NONCE_SIZE = 12
MAX_SIZE = 1100
_ANSWERED = 0x80  # the R bit beside the opcode
_MAP = 1
_UDP = 17
_REQUEST = struct.Struct("!BBHI16s12sB3xHH16s")
_RESPONSE = struct.Struct("!BBBBII12x12sB3xHH16s")
_NO_ADDRESS = ipaddress.IPv6Address("::ffff:0.0.0.0").packed


class MalformedPcp(ValueError):
    """Not an answer to a MAP request for UDP; drop it."""


class Result(IntEnum):
    SUCCESS = 0
    UNSUPP_VERSION = 1
    NOT_AUTHORIZED = 2
    MALFORMED_REQUEST = 3
    UNSUPP_OPCODE = 4
    UNSUPP_OPTION = 5
    MALFORMED_OPTION = 6
    NETWORK_FAILURE = 7
    NO_RESOURCES = 8
    UNSUPP_PROTOCOL = 9
    USER_EX_QUOTA = 10
    CANNOT_PROVIDE_EXTERNAL = 11
    ADDRESS_MISMATCH = 12
    EXCESSIVE_REMOTE_PEERS = 13


@dataclass(frozen=True)
class MapRequest:
    """`client` is our own address, `lifetime` in seconds (0 deletes), `suggested` if there was one.

    Only who knows the nonce can change the mapping.
    """

    client: str
    internal_port: int
    lifetime: int
    nonce: bytes = field(repr=False)
    suggested: Address | None = None


@dataclass(frozen=True)
class MapResponse:
    """`result` is a number beyond `Result` where a gateway invents one."""

    result: int
    lifetime: int
    epoch: int
    nonce: bytes = field(repr=False)
    internal_port: int
    external: Address


def serialize_request(request: MapRequest) -> bytes:
    external = request.suggested
    return _REQUEST.pack(
        VERSION,
        _MAP,
        0,
        request.lifetime,
        _sixteen_bytes(request.client),
        request.nonce,
        _UDP,
        request.internal_port,
        external.port if external else 0,
        _sixteen_bytes(external.host) if external else _NO_ADDRESS,
    )


def parse_response(data: bytes) -> MapResponse:
    """Options behind the answer are skipped; we ask for none.

    Raises: MalformedPcp, for any other input whatsoever.
    """
    if not _RESPONSE.size <= len(data) <= MAX_SIZE:
        raise MalformedPcp(f"{len(data)} bytes")
    version, opcode, _, result, lifetime, epoch, nonce, protocol, inside, outside, host = (
        _RESPONSE.unpack_from(data)
    )
    if (version, opcode, protocol) != (VERSION, _ANSWERED | _MAP, _UDP):
        raise MalformedPcp("another version, opcode or protocol")
    external = Address(_written(host), outside)
    return MapResponse(result, lifetime, epoch, nonce, inside, external)


def _sixteen_bytes(host: str) -> bytes:
    ip = ipaddress.ip_address(host)
    return ip.packed if ip.version == 6 else ipaddress.IPv6Address(f"::ffff:{ip}").packed


def _written(packed: bytes) -> str:
    ip = ipaddress.IPv6Address(packed)
    return str(ip.ipv4_mapped or ip)
