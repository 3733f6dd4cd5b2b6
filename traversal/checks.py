"""Checks and their answers: the two messages that a pair of parties says to each other.

`Checks` holds the credentials of one pair of parties: it makes what is sent, and lets in only what
the other party made, once.
Source: RFC 8445, section 7; docs/protocols/paths.md, message by message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from traversal import stun
from traversal.candidate import Address, Kind, LocalSide, RemoteSide, priority
from traversal.stun import Class, MalformedStun, Message

MAX_REMEMBERED = 256  # transactions of theirs that would be noticed if they came again
ROLE_CONFLICT = 487


class Checks:
    """`token(n)` gives n unpredictable bytes."""

    def __init__(
        self,
        local: LocalSide,
        remote: RemoteSide,
        *,
        controlling: bool,
        token: Callable[[int], bytes],
    ) -> None:
        self._local, self._remote = local, remote
        self._token = token
        self._role, self._their_role = "ICE-CONTROLLING", "ICE-CONTROLLED"
        if not controlling:
            self._role, self._their_role = self._their_role, self._role
        self._tie_breaker = int.from_bytes(token(8), "big")
        self._remembered: dict[bytes, None] = {}

    @property
    def username(self) -> str:
        """What the other party's checks carry."""
        return f"{self._local.ufrag}:{self._remote.ufrag}"

    def make(
        self, destination: Address, word: int | None, complaint: int | None
    ) -> tuple[bytes, bytes]:
        """A check that says these numbers: its transaction, and its bytes."""
        attributes: dict[str, object] = {
            "USERNAME": f"{self._remote.ufrag}:{self._local.ufrag}",
            "PRIORITY": priority(Kind.PEER_REFLEXIVE, destination.version),
            self._role: self._tie_breaker,
        }
        if word is not None:
            attributes["NOMINATION"] = word
        if complaint is not None:
            attributes["DISTRESS"] = complaint
        request = Message(Class.REQUEST, self._token(12), attributes)
        return request.transaction, stun.serialize(request, self._remote.password.encode())

    def answer(self, request: Message, source: Address) -> bytes:
        """Never longer than the check, which had more attributes."""
        if self.is_of_our_role(request):
            cls, attributes = Class.ERROR, dict[str, Any]({"ERROR-CODE": (ROLE_CONFLICT, "")})
        else:
            cls, attributes = Class.SUCCESS, {"XOR-MAPPED-ADDRESS": source}
        response = Message(cls, request.transaction, attributes)
        return stun.serialize(response, self._local.password.encode())

    def read(self, data: bytes) -> Message | None:
        """A check or an answer; None for anything else, and for a check that came before."""
        try:
            message = stun.parse(data)
        except MalformedStun:
            return None
        if message.method != stun.BINDING or message.unknown:
            return None
        if message.cls is Class.REQUEST:
            return message if self._is_fresh_check(message, data) else None
        if message.cls is Class.INDICATION:
            return None
        return message if stun.verify_integrity(data, self._remote.password.encode()) else None

    def is_of_our_role(self, request: Message) -> bool:
        """Whether the other side claims our role, so that the offers do not belong together."""
        return self._their_role not in request.attributes

    def _is_fresh_check(self, request: Message, data: bytes) -> bool:
        if request.attributes.get("USERNAME") != self.username:
            return False
        if not stun.verify_integrity(data, self._local.password.encode()):
            return False
        if request.transaction in self._remembered:
            return False
        self._remembered[request.transaction] = None
        if len(self._remembered) > MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        return True


def is_role_conflict(response: Message) -> bool:
    code, _ = response.attributes.get("ERROR-CODE", (0, ""))
    return response.cls is Class.ERROR and bool(code == ROLE_CONFLICT)
