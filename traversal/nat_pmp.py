"""NAT-PMP: the older and simpler way to ask a gateway for a UDP port, as bytes.

Source: RFC 6886, sections 3.2 (external address), 3.3 (mappings) and 3.5 (result codes).
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

VERSION = 0
_ANSWERED = 128
_EXTERNAL, _MAP_UDP = 0, 1
_HEADER = struct.Struct("!BBHI")  # version, opcode, result, seconds since the start of its epoch
_MAP_REQUEST = struct.Struct("!BB2xHHI")
_MAPPING = struct.Struct("!HHI")  # internal port, external port, lifetime

EXTERNAL_REQUEST = bytes([VERSION, _EXTERNAL])


class MalformedNatPmp(ValueError):
    """Not an answer to a question of ours; drop it."""


class Result(IntEnum):
    SUCCESS = 0
    UNSUPPORTED_VERSION = 1
    NOT_AUTHORIZED = 2
    NETWORK_FAILURE = 3
    OUT_OF_RESOURCES = 4
    UNSUPPORTED_OPCODE = 5


@dataclass(frozen=True)
class ExternalAddress:
    host: str


@dataclass(frozen=True)
class Mapping:
    """`lifetime` in seconds; 0 when it was deleted."""

    internal_port: int
    external_port: int
    lifetime: int


@dataclass(frozen=True)
class Refused:
    """`result` is a number beyond `Result` where a gateway invents one."""

    result: int


Answer: TypeAlias = ExternalAddress | Mapping | Refused


def map_request(internal_port: int, external_port: int, lifetime: int) -> bytes:
    """`external_port` is a wish; lifetime 0 deletes, and wants it to be 0 too."""
    return _MAP_REQUEST.pack(VERSION, _MAP_UDP, internal_port, external_port, lifetime)


def parse_response(data: bytes) -> Answer:
    """Raises: MalformedNatPmp, for any other input whatsoever."""
    if len(data) < _HEADER.size:
        raise MalformedNatPmp(f"{len(data)} bytes")
    version, opcode, result, _ = _HEADER.unpack_from(data)
    if version != VERSION or opcode < _ANSWERED:
        raise MalformedNatPmp("no answer of this version")
    if result != Result.SUCCESS:
        return Refused(result)
    rest = data[_HEADER.size :]
    if opcode == _ANSWERED | _EXTERNAL and len(rest) == 4:
        return ExternalAddress(str(ipaddress.IPv4Address(rest)))
    if opcode == _ANSWERED | _MAP_UDP and len(rest) == _MAPPING.size:
        return Mapping(*_MAPPING.unpack(rest))
    raise MalformedNatPmp("neither an address nor a mapping")
