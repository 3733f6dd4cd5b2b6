"""Where a party is seen by others, told inside the mesh: how two meet again when no mail goes.

Who has no direct path to somebody asks everybody else, and each answers with the public addresses
at which it reaches the others directly. An address is tried like any other of that party, with its
credentials, so that a wrong one costs a few checks. Datagrams beside the pulses, on their port:

    ask       2
    answer    3, and for each party: its rank, 4 or 6, its address (16 bytes, an IPv4 one first and
              then zeros), its UDP port (big-endian)
"""

from __future__ import annotations

import ipaddress
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from traversal.candidate import Address, is_elsewhere

ASK, ANSWER = b"\x02", b"\x03"
ANSWER_EVERY = 1.0  # seconds, at least, between two answers to one party
HEARD_FOR = 60.0  # seconds in which what was heard of a party is no news
MOST_HEARD = 4  # addresses of one party that are news in that time
MAX_PARTIES = 64
_ENTRY = struct.Struct("!BB16sH")
MAX_ANSWER = 1 + _ENTRY.size * (MAX_PARTIES - 2)  # bytes: of all but the two who speak


def answer(seen: Mapping[int, Address]) -> bytes:
    """`seen` by rank; what only means something in a network of ours stays out."""
    return ANSWER + b"".join(
        _ENTRY.pack(
            rank, at.version, ipaddress.ip_address(at.host).packed.ljust(16, b"\0"), at.port
        )
        for rank, at in seen.items()
        if is_public(at)
    )


def parse(data: bytes) -> dict[int, Address]:
    """An answer's addresses by rank; what nobody could mean is passed over, entry by entry."""
    if data[:1] != ANSWER or len(data) > MAX_ANSWER or (len(data) - 1) % _ENTRY.size:
        return {}
    found = {}
    for rank, version, packed, port in _ENTRY.iter_unpack(data[1:]):
        if version in (4, 6) and port != 0:
            address = Address(
                str(ipaddress.ip_address(packed[:4] if version == 4 else packed)), port
            )
            if is_public(address):
                found[rank] = address
    return found


def is_public(address: Address) -> bool:
    """Whether it can be another machine's, seen from anywhere."""
    return is_elsewhere(address.host) and not address.private


@dataclass
class Sightings:
    """How often is answered, and what of an answer is news; by DID, `now` in seconds."""

    _answered: dict[str, float] = field(default_factory=dict)
    _heard: dict[str, dict[Address, float]] = field(default_factory=dict)

    def may_answer(self, asker: str, now: float) -> bool:
        if now < self._answered.get(asker, -math.inf) + ANSWER_EVERY:
            return False
        self._answered[asker] = now
        return True

    def is_news(self, party: str, address: Address, now: float) -> bool:
        """Many who tell the same, or ever others, do not have us check without end."""
        known = self._heard.setdefault(party, {})
        for old in [at for at, since in known.items() if now >= since + HEARD_FOR]:
            del known[old]
        if address in known or len(known) >= MOST_HEARD:
            return False
        known[address] = now
        return True
