"""Relay 1.0, a protocol of our own: tickets for pairs of UDP addresses that a mediator relays.

Asked of a mediator by one of its accounts; documented in docs/protocols/relay.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from messaging.errors import MalformedMessage
from messaging.message import Message
from messaging.protocols import body
from traversal.relay import (
    BadTicket,
    RelayPair,
    check_hosts,
    check_number,
    check_token,
    check_websocket,
)

PROTOCOL = "https://didmesh.org/relay/1.0"
MAX_TICKETS = 63  # the other parties of the largest session


@dataclass(frozen=True)
class Request:
    """For so many pairs of one session; asking again gives back what was not bound yet."""

    TYPE: ClassVar[str] = f"{PROTOCOL}/request"

    session: str  # SHA-256 in hex
    count: int

    def to_message(self, **headers: Any) -> Message:
        return Message(self.TYPE, {"session": self.session, "count": self.count}, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        content = body.expect(message, cls.TYPE)
        session, count = body.text(content, "session"), body.number(content, "count")
        if len(session) != 64 or set(session) - set("0123456789abcdef"):
            raise MalformedMessage("`session` is not a SHA-256 in hex")
        if not 0 < count <= MAX_TICKETS:
            raise MalformedMessage(f"`count` is not a number from 1 to {MAX_TICKETS}")
        return cls(session, count)


@dataclass(frozen=True)
class Tickets:
    """As many as were asked for, or fewer where the relay has no more for this account."""

    TYPE: ClassVar[str] = f"{PROTOCOL}/tickets"

    pairs: tuple[RelayPair, ...]

    def to_message(self, **headers: Any) -> Message:
        return Message(self.TYPE, {"tickets": [_to_json(pair) for pair in self.pairs]}, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        entries = body.objects(body.expect(message, cls.TYPE), "tickets", MAX_TICKETS)
        try:
            return cls(tuple(map(_from_json, entries)))
        except BadTicket as error:
            raise MalformedMessage(str(error)) from error


def _to_json(pair: RelayPair) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "hosts": list(pair.hosts),
        "port": pair.port,
        "ticket": pair.id,
        "secrets": list(pair.secrets),
        "bind_by": pair.bind_by,
        "until": pair.until,
        "rate": pair.rate,
    }
    return fields if pair.websocket is None else {**fields, "websocket": pair.websocket}


def _from_json(entry: Mapping[str, Any]) -> RelayPair:
    secrets = body.texts(entry, "secrets")
    if len(secrets) != 2:
        raise MalformedMessage("`secrets` are two")
    return RelayPair(
        check_hosts(entry.get("hosts", []), literal=False),
        check_number(entry.get("port"), range(1, 65536), "port"),
        check_token(entry.get("ticket"), "ticket"),
        (check_token(secrets[0], "secret"), check_token(secrets[1], "secret")),
        check_number(entry.get("bind_by"), range(1 << 32), "bind_by"),
        check_number(entry.get("until"), range(1 << 32), "until"),
        check_number(entry.get("rate"), range(1, 1 << 40), "rate"),
        check_websocket(entry.get("websocket")),
    )
