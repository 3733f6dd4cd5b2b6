"""Connectivity checks beside WireGuard on its own UDP port: their forms and limits; no sockets.

Between agent and helper a check is one local datagram, the same both ways:

    0       4 or 6, the version of IP
    1..16   the other side's address, an IPv4 one first and then zeros
    17..18  its UDP port, big-endian
    19..    one STUN message

From the network it comes as a raw socket shows it: IPv4 with the IP header, IPv6 without, then
the UDP header and the message.
"""

import ipaddress
import struct
from functools import lru_cache
from typing import NamedTuple

COOKIE = bytes.fromhex("2112a442")  # RFC 8489, section 5
STUN_HEADER = 20  # bytes
MAX_MESSAGE = 1280  # bytes
MAX_SIZE = 60 + 8 + MAX_MESSAGE + 1  # bytes to read: longest headers, and one more than is allowed
_CHECK = struct.Struct("!B16sH")
_UDP = struct.Struct("!HHHH")

# Classic BPF, Linux's <linux/filter.h>
LOAD_WORD, LOAD_HALF, LOAD_WORD_X, LOAD_HALF_X, LENGTH_OF_IP = 0x20, 0x28, 0x40, 0x48, 0xB1
JUMP_EQUAL, RETURN = 0x15, 0x06


class MalformedCheck(ValueError):
    """Nothing that passes, in either direction."""


class Check(NamedTuple):
    host: str  # of the other side, an IP literal
    port: int
    message: bytes

    @property
    def version(self) -> int:
        return 6 if ":" in self.host else 4


def serialize(check: Check) -> bytes:
    packed = _packed(check.host)
    return _CHECK.pack(check.version, packed.ljust(16, b"\0"), check.port) + check.message


def parse(data: bytes) -> Check:
    """Raises: MalformedCheck, for all that is not a STUN message and one host."""
    if len(data) < _CHECK.size:
        raise MalformedCheck("wrong size")
    version, packed, port = _CHECK.unpack_from(data)
    if version not in (4, 6) or port == 0:
        raise MalformedCheck("no such address")
    host = _one_host(packed[:4] if version == 4 else packed)
    return Check(host, port, _stun(data[_CHECK.size :]))


def arrived(data: bytes, version: int, host: str) -> Check:
    """What a raw socket has read from this host. Raises: MalformedCheck."""
    start = (data[0] & 0xF) * 4 if version == 4 and data else 0
    if len(data) < start + _UDP.size:
        raise MalformedCheck("wrong size")
    port, _, length, _ = _UDP.unpack_from(data, start)
    return Check(host.partition("%")[0], port, _stun(data[start + _UDP.size : start + length]))


def udp_datagram(check: Check, source: str | None, port: int) -> bytes:
    """The UDP header and the message; with a source, its checksum over IPv4 as well."""
    length = _UDP.size + len(check.message)
    header = _UDP.pack(port, check.port, length, 0)
    if source is None:
        return header + check.message
    hosts = _packed(source) + _packed(check.host)
    checksum = _checksum(hosts + struct.pack("!HH", 17, length) + header + check.message)
    return _UDP.pack(port, check.port, length, checksum or 0xFFFF) + check.message


def receive_filter(version: int, port: int) -> bytes:
    """STUN over UDP to this port, as the program of a filter on a raw UDP socket."""
    load_half, load_word = (LOAD_HALF_X, LOAD_WORD_X) if version == 4 else (LOAD_HALF, LOAD_WORD)
    start = [(LENGTH_OF_IP, 0, 0, 0)] if version == 4 else []
    return _program(
        *start,
        (load_half, 0, 0, 2),  # UDP destination port
        (JUMP_EQUAL, 0, 3, port),
        (load_word, 0, 0, 12),  # behind the UDP header and the first word of the message
        (JUMP_EQUAL, 0, 1, int.from_bytes(COOKIE, "big")),
        (RETURN, 0, 0, 0xFFFF),
        (RETURN, 0, 0, 0),
    )


def deaf_filter() -> bytes:
    """Lets nothing through."""
    return _program((RETURN, 0, 0, 0))


# Asked about the same few addresses with every datagram.
@lru_cache(maxsize=1024)
def _packed(host: str) -> bytes:
    return ipaddress.ip_address(host).packed


@lru_cache(maxsize=1024)
def _one_host(packed: bytes) -> str:
    """Raises: MalformedCheck."""
    address = ipaddress.ip_address(packed)
    if address.is_multicast or address.is_unspecified or packed[:4] == b"\xff" * 4:
        raise MalformedCheck("not the address of one host")
    return str(address)


def _stun(message: bytes) -> bytes:
    if not STUN_HEADER <= len(message) <= MAX_MESSAGE:
        raise MalformedCheck("wrong size")
    if message[0] & 0xC0 or message[4:8] != COOKIE:
        raise MalformedCheck("not STUN")
    return message


def _program(*instructions: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def _checksum(data: bytes) -> int:
    """RFC 1071; a sum in one's complement is a remainder by 65535."""
    return ~(int.from_bytes(data + bytes(len(data) % 2), "big") % 0xFFFF) & 0xFFFF
