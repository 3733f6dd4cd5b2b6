"""STUN messages: what connectivity checks and STUN servers say to each other.

The codec is one table of attributes (number, name, pack, unpack), named as the RFCs name them,
and two short loops. It knows no sockets.

    data = serialize(Message(Class.REQUEST, transaction, {"USERNAME": "b:a"}), key)
    message = parse(data)
    verify_integrity(data, key)

Source: RFC 8489; RFC 8445, section 7.1 (ICE); RFC 5780, section 7 (CHANGE-REQUEST and what
belongs to it); RFC 8656, section 18 (TURN); draft-thatcher-ice-renomination, section 5
(NOMINATION). Ours are
DISTRESS (docs/protocols/paths.md), BIND and OTHER-SIDE-BOUND (docs/protocols/relay.md).
"""

from __future__ import annotations

import binascii
import hmac
import ipaddress
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple

from traversal.candidate import Address

MAGIC_COOKIE = 0x2112A442
COOKIE = MAGIC_COOKIE.to_bytes(4, "big")
HEADER = struct.Struct("!HHI12s")
ATTRIBUTE_HEADER = struct.Struct("!HH")
BINDING = 0x001
BIND = 0xD1D  # of our relay; from the range that RFC 8489 18.1 leaves to designated experts
MAX_SIZE = 1280  # what every path carries; longer ones are not STUN to us
FINGERPRINT_XOR = 0x5354554E
FINGERPRINT_SIZE = 8
OPTIONAL = 0x8000  # attribute numbers from here on may be ignored when unknown
CHANGE_ADDRESS, CHANGE_PORT = 0x4, 0x2  # bits of CHANGE-REQUEST (RFC 5780, section 7.2)
USERNAME_LIMIT = 513
TEXT_LIMIT = 763


class MalformedStun(ValueError):
    """Not a STUN message, or a damaged one; drop it."""


class Class(IntEnum):
    """The two class bits of a message type."""

    REQUEST = 0
    INDICATION = 1
    SUCCESS = 2
    ERROR = 3


@dataclass(frozen=True)
class Message:
    """`attributes` go by name; `unknown` are numbers we should have understood (RFC 8489 14)."""

    cls: Class
    transaction: bytes  # 12 bytes
    attributes: Mapping[str, Any] = field(default_factory=dict)
    method: int = BINDING
    unknown: tuple[int, ...] = ()


@lru_cache(maxsize=16)
def parse(data: bytes) -> Message:
    """Read a STUN message; 20 bytes of header, then attributes padded to 4 bytes.

    Remembered for a moment: several ask of one datagram whom it is for, and then what it says.
    Unknown optional attributes are skipped, the first of equal ones counts, and what stands behind
    the integrity attribute is not believed. FINGERPRINT is checked, integrity is not.

    Raises: MalformedStun, for any other input whatsoever.
    Source: RFC 8489, sections 5 and 14.
    """
    kind, transaction = _parse_header(data)
    attributes: dict[str, Any] = {}
    unknown: list[int] = []
    for number, value, offset in _walk(data):
        entry = BY_NUMBER.get(number)
        if number == FINGERPRINT:
            _check_fingerprint(data, value, offset)
        if _is_unprotected(number, attributes):
            continue
        if entry is None:
            if number < OPTIONAL:
                unknown.append(number)
        elif entry.name not in attributes:
            attributes[entry.name] = entry.unpack(value, transaction)
    cls = Class((kind >> 7 & 2) | (kind >> 4 & 1))
    method = (kind >> 2 & 0xF80) | (kind >> 1 & 0x70) | (kind & 0xF)
    return Message(cls, transaction, attributes, method, tuple(unknown))


def transaction_of_request(data: bytes) -> bytes | None:
    """The transaction of a request of ours; None for anything else that we made."""
    return None if data[0] & 1 or data[1] & 0x10 else data[8:20]


def serialize(
    message: Message,
    key: bytes | None = None,
    *,
    fingerprint: bool = True,
    integrity: str = "MESSAGE-INTEGRITY-SHA256",
) -> bytes:
    """The bytes of a message, protected by this attribute if there is a key."""
    body = b"".join(
        _tlv(BY_NAME[name].number, BY_NAME[name].pack(value, message.transaction))
        for name, value in message.attributes.items()
    )
    if key is not None:
        number = BY_NAME[integrity].number
        algorithm, size = _ALGORITHMS[number]
        covered = _header(message, len(body) + 4 + size) + body
        body += _tlv(number, hmac.digest(key, covered, algorithm))
    if fingerprint:
        covered = _header(message, len(body) + FINGERPRINT_SIZE) + body
        body += _tlv(FINGERPRINT, _crc(covered))
    return _header(message, len(body)) + body


def verify_integrity(data: bytes, key: bytes, attribute: str = "MESSAGE-INTEGRITY-SHA256") -> bool:
    """Whether whoever made this parsed message knew the key; no attribute means no.

    The caller names the algorithm, so that a sender cannot choose the weaker one.
    Source: RFC 8489, sections 14.5 and 14.6.
    """
    number = BY_NAME[attribute].number
    algorithm, _ = _ALGORITHMS[number]
    for found, value, offset in _walk(data):
        if found == number:
            length = offset + 4 + len(value) - HEADER.size
            covered = data[:2] + length.to_bytes(2, "big") + data[4:offset]
            return hmac.compare_digest(hmac.digest(key, covered, algorithm), value)
    return False


def _parse_header(data: bytes) -> tuple[int, bytes]:
    if not HEADER.size <= len(data) <= MAX_SIZE:
        raise MalformedStun("wrong size")
    kind, length, cookie, transaction = HEADER.unpack_from(data)
    if kind & 0xC000 or cookie != MAGIC_COOKIE:
        raise MalformedStun("not STUN")
    if length % 4 or length != len(data) - HEADER.size:
        raise MalformedStun("wrong length in the header")
    return kind, transaction


def _walk(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Every attribute as number, value and the offset where it starts."""
    offset = HEADER.size
    while offset < len(data):
        number, length = ATTRIBUTE_HEADER.unpack_from(data, offset)
        end = offset + 4 + length
        if end > len(data):
            raise MalformedStun("an attribute ends behind the message")
        yield number, data[offset + 4 : end], offset
        offset = end + -length % 4


def _is_unprotected(number: int, before: Mapping[str, Any]) -> bool:
    """Behind an integrity attribute nothing is covered by it (RFC 8489 14.5, 14.6)."""
    if number == FINGERPRINT:
        return False
    if "MESSAGE-INTEGRITY-SHA256" in before:
        return True
    return "MESSAGE-INTEGRITY" in before and number != MESSAGE_INTEGRITY_SHA256


def _check_fingerprint(data: bytes, value: bytes, offset: int) -> None:
    if offset + FINGERPRINT_SIZE != len(data):
        raise MalformedStun("FINGERPRINT is not last")
    if value != _crc(data[:offset]):
        raise MalformedStun("FINGERPRINT does not match")


def _crc(covered: bytes) -> bytes:
    return (binascii.crc32(covered) ^ FINGERPRINT_XOR).to_bytes(4, "big")


def _header(message: Message, length: int) -> bytes:
    method, cls = message.method, message.cls
    kind = (method & 0xF80) << 2 | (method & 0x70) << 1 | (method & 0xF)
    kind |= (cls & 2) << 7 | (cls & 1) << 4
    return HEADER.pack(kind, length, MAGIC_COOKIE, message.transaction)


def _tlv(number: int, value: bytes) -> bytes:
    return ATTRIBUTE_HEADER.pack(number, len(value)) + value + bytes(-len(value) % 4)


def _pack_address(value: Address, _: bytes) -> bytes:
    ip = ipaddress.ip_address(value.host)
    family = 1 if ip.version == 4 else 2
    return struct.pack("!xBH", family, value.port) + ip.packed


def _unpack_address(data: bytes, _: bytes) -> Address:
    if len(data) < 4 or len(data) != {1: 8, 2: 20}.get(data[1]):
        raise MalformedStun("an address of unknown family or size")
    return Address(str(ipaddress.ip_address(data[4:])), int.from_bytes(data[2:4], "big"))


def _pack_xor_address(value: Address, transaction: bytes) -> bytes:
    return _xor_address(_pack_address(value, transaction), transaction)


def _unpack_xor_address(data: bytes, transaction: bytes) -> Address:
    return _unpack_address(_xor_address(data, transaction), transaction)


def _xor_address(data: bytes, transaction: bytes) -> bytes:
    pad = bytes(2) + COOKIE[:2] + COOKIE + transaction
    return bytes(a ^ b for a, b in zip(data, pad, strict=False))


def _pack_text(value: str, _: bytes) -> bytes:
    return value.encode()


def _unpack_text(limit: int) -> Callable[[bytes, bytes], str]:
    def unpack(data: bytes, _: bytes) -> str:
        if len(data) > limit:
            raise MalformedStun("a text is too long")
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise MalformedStun("a text is not UTF-8") from error

    return unpack


def _pack_number(size: int) -> Callable[[int, bytes], bytes]:
    return lambda value, _: value.to_bytes(size, "big")


def _unpack_number(size: int) -> Callable[[bytes, bytes], int]:
    return lambda data, _: int.from_bytes(_sized(data, size), "big")


def _pack_bytes(value: bytes, _: bytes) -> bytes:
    return value


def _unpack_bytes(size: int) -> Callable[[bytes, bytes], bytes]:
    return lambda data, _: _sized(data, size)


def _unpack_all(data: bytes, _: bytes) -> bytes:
    return data


def _pack_flag(_value: bool, _: bytes) -> bytes:
    return b""


def _unpack_flag(data: bytes, _: bytes) -> bool:
    _sized(data, 0)
    return True


def _pack_error(value: tuple[int, str], _: bytes) -> bytes:
    code, reason = value
    return struct.pack("!xxBB", *divmod(code, 100)) + reason.encode()


def _unpack_error(data: bytes, transaction: bytes) -> tuple[int, str]:
    if len(data) < 4 or not (3 <= data[2] & 7 <= 6 and data[3] < 100):
        raise MalformedStun("an error code that does not exist")
    return (data[2] & 7) * 100 + data[3], _unpack_text(TEXT_LIMIT)(data[4:], transaction)


def _pack_numbers(values: tuple[int, ...], _: bytes) -> bytes:
    return struct.pack(f"!{len(values)}H", *values)


def _unpack_numbers(data: bytes, _: bytes) -> tuple[int, ...]:
    if len(data) % 2:
        raise MalformedStun("half a number")
    return struct.unpack(f"!{len(data) // 2}H", data)


def _pack_front(size: int) -> Callable[[int, bytes], bytes]:
    """A number in the first bytes of four; the others are reserved."""
    return lambda value, _: value.to_bytes(size, "big").ljust(4, b"\0")


def _unpack_front(size: int) -> Callable[[bytes, bytes], int]:
    return lambda data, _: int.from_bytes(_sized(data, 4)[:size], "big")


def _pack_family(version: int, _: bytes) -> bytes:
    return bytes([1 if version == 4 else 2, 0, 0, 0])


def _unpack_family(data: bytes, _: bytes) -> int:
    if _sized(data, 4)[0] not in (1, 2):
        raise MalformedStun("an address family that does not exist")
    return 4 if data[0] == 1 else 6


def _pack_algorithms(values: tuple[int, ...], _: bytes) -> bytes:
    return b"".join(struct.pack("!HH", value, 0) for value in values)


def _unpack_algorithms(data: bytes, _: bytes) -> tuple[int, ...]:
    """Numbers of algorithms; those with parameters are none that we know."""
    found, offset = [], 0
    while offset < len(data):
        if offset + 4 > len(data):
            raise MalformedStun("half an algorithm")
        number, length = ATTRIBUTE_HEADER.unpack_from(data, offset)
        offset += 4 + length + -length % 4
        if length == 0:
            found.append(number)
    return tuple(found)


def _sized(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise MalformedStun(f"{len(data)} bytes where {size} belong")
    return data


class _Attribute(NamedTuple):
    number: int
    name: str
    pack: Callable[[Any, bytes], bytes]
    unpack: Callable[[bytes, bytes], Any]


MESSAGE_INTEGRITY_SHA256 = 0x001C
_ALGORITHMS = {0x0008: ("sha1", 20), MESSAGE_INTEGRITY_SHA256: ("sha256", 32)}  # name, bytes
FINGERPRINT = 0x8028

ATTRIBUTES = (
    _Attribute(0x0001, "MAPPED-ADDRESS", _pack_address, _unpack_address),
    _Attribute(0x0003, "CHANGE-REQUEST", _pack_number(4), _unpack_number(4)),
    _Attribute(0x0006, "USERNAME", _pack_text, _unpack_text(USERNAME_LIMIT)),
    _Attribute(0x0008, "MESSAGE-INTEGRITY", _pack_bytes, _unpack_bytes(20)),
    _Attribute(0x0009, "ERROR-CODE", _pack_error, _unpack_error),
    _Attribute(0x000A, "UNKNOWN-ATTRIBUTES", _pack_numbers, _unpack_numbers),
    _Attribute(0x000C, "CHANNEL-NUMBER", _pack_front(2), _unpack_front(2)),
    _Attribute(0x000D, "LIFETIME", _pack_number(4), _unpack_number(4)),
    _Attribute(0x0012, "XOR-PEER-ADDRESS", _pack_xor_address, _unpack_xor_address),
    _Attribute(0x0013, "DATA", _pack_bytes, _unpack_all),
    _Attribute(0x0014, "REALM", _pack_text, _unpack_text(TEXT_LIMIT)),
    _Attribute(0x0015, "NONCE", _pack_text, _unpack_text(TEXT_LIMIT)),
    _Attribute(0x0016, "XOR-RELAYED-ADDRESS", _pack_xor_address, _unpack_xor_address),
    _Attribute(0x0017, "REQUESTED-ADDRESS-FAMILY", _pack_family, _unpack_family),
    _Attribute(0x0019, "REQUESTED-TRANSPORT", _pack_front(1), _unpack_front(1)),
    _Attribute(0x001C, "MESSAGE-INTEGRITY-SHA256", _pack_bytes, _unpack_bytes(32)),
    _Attribute(0x001D, "PASSWORD-ALGORITHM", _pack_algorithms, _unpack_algorithms),
    _Attribute(0x0020, "XOR-MAPPED-ADDRESS", _pack_xor_address, _unpack_xor_address),
    _Attribute(0x0024, "PRIORITY", _pack_number(4), _unpack_number(4)),
    _Attribute(0x0025, "USE-CANDIDATE", _pack_flag, _unpack_flag),
    _Attribute(0x0026, "PADDING", _pack_bytes, _unpack_all),
    _Attribute(0x8002, "PASSWORD-ALGORITHMS", _pack_algorithms, _unpack_algorithms),
    _Attribute(0x8022, "SOFTWARE", _pack_text, _unpack_text(TEXT_LIMIT)),
    _Attribute(0x8028, "FINGERPRINT", _pack_number(4), _unpack_number(4)),
    _Attribute(0x8029, "ICE-CONTROLLED", _pack_number(8), _unpack_number(8)),
    _Attribute(0x802A, "ICE-CONTROLLING", _pack_number(8), _unpack_number(8)),
    _Attribute(0x802B, "RESPONSE-ORIGIN", _pack_address, _unpack_address),
    _Attribute(0x802C, "OTHER-ADDRESS", _pack_address, _unpack_address),
    _Attribute(0xC001, "NOMINATION", _pack_number(4), _unpack_number(4)),
    _Attribute(0xC0DE, "DISTRESS", _pack_number(4), _unpack_number(4)),
    _Attribute(0xFD1D, "OTHER-SIDE-BOUND", _pack_flag, _unpack_flag),
)
BY_NUMBER = {entry.number: entry for entry in ATTRIBUTES}
BY_NAME = {entry.name: entry for entry in ATTRIBUTES}
