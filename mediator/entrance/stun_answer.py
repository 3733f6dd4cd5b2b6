"""What the STUN service says to a request, and from which of its addresses; without a socket.

Whoever asks from where it is answered (CHANGE-REQUEST) measures what its NAT filters. Only the
source of the request is ever answered, and from elsewhere never with more bytes than it sent: to
a victim whose address is forged, the request itself would have been the larger one. A request
makes room by SOFTWARE, which every server may ignore.
Source: RFC 8489, sections 6.3 and 12; RFC 5780, sections 6.1 and 7.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from traversal import stun
from traversal.candidate import Address
from traversal.stun import CHANGE_ADDRESS, CHANGE_PORT, Class, MalformedStun, Message

MAX_UNKNOWN_NAMED = 4  # attribute numbers listed in a refusal
UNKNOWN_ATTRIBUTE, SERVER_ERROR = 420, 500
CHANGE_REQUEST = stun.BY_NAME["CHANGE-REQUEST"].number


@dataclass(frozen=True)
class Asked:
    """The address that a request came to, and the two others that the server has beside it."""

    here: Address
    other_port: int | None = None
    other_host: str | None = None

    def origin(self, change: int) -> Address | None:
        """From where such a request is to be answered; None if we are not there."""
        host = self.other_host if change & CHANGE_ADDRESS else self.here.host
        port = self.other_port if change & CHANGE_PORT else self.here.port
        return None if host is None or port is None else Address(host, port)


@dataclass(frozen=True)
class Answer:
    """`change` are the bits that the request had and that its answer obeys."""

    data: bytes
    change: int = 0


def answer(
    data: bytes,
    source: Address,
    asked: Asked | None = None,
    may_change: Callable[[], bool] = lambda: True,
) -> Answer | None:
    """What to send back to `source`, if anything; `may_change` limits how often from elsewhere."""
    try:
        request = stun.parse(data)
    except MalformedStun:
        return None
    if request.cls is not Class.REQUEST or request.method != stun.BINDING:
        return None
    if request.unknown:
        return Answer(_refusal(request, request.unknown[:MAX_UNKNOWN_NAMED]))
    change = request.attributes.get("CHANGE-REQUEST", 0) & (CHANGE_ADDRESS | CHANGE_PORT)
    origin = asked.origin(change) if asked else None
    found = _success(request, source, asked, origin, len(data))
    if not change:
        return Answer(found)
    if origin is None or len(found) > len(data):
        return Answer(_refusal(request, (CHANGE_REQUEST,)))
    if not may_change():
        return Answer(_serialized(request, Class.ERROR, {"ERROR-CODE": (SERVER_ERROR, "")}))
    return Answer(found, change)


def _success(
    request: Message, source: Address, asked: Asked | None, origin: Address | None, room: int
) -> bytes:
    """More than the address that was seen only where the request has left room for it."""
    attributes: dict[str, Any] = {"XOR-MAPPED-ADDRESS": source}
    plain = _serialized(request, Class.SUCCESS, attributes)
    if asked is not None and origin is not None:
        attributes["RESPONSE-ORIGIN"] = origin
        other = asked.origin(CHANGE_ADDRESS | CHANGE_PORT)
        if other is not None:
            attributes["OTHER-ADDRESS"] = other
    full = _serialized(request, Class.SUCCESS, attributes)
    return full if len(full) <= room else plain


def _refusal(request: Message, numbers: tuple[int, ...]) -> bytes:
    refused = {"ERROR-CODE": (UNKNOWN_ATTRIBUTE, ""), "UNKNOWN-ATTRIBUTES": numbers}
    return _serialized(request, Class.ERROR, refused)


def _serialized(request: Message, cls: Class, attributes: dict[str, Any]) -> bytes:
    fingerprint = "FINGERPRINT" in request.attributes
    return stun.serialize(Message(cls, request.transaction, attributes), fingerprint=fingerprint)
