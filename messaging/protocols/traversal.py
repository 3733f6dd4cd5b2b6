"""Traversal 1.0, a protocol of our own: which servers help a party to find its way through NATs?

Asked of a mediator. Documented in docs/protocols/.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from messaging.errors import MalformedMessage
from messaging.message import Message
from messaging.protocols import body

PROTOCOL = "https://didmesh.org/traversal/1.0"
MAX_SERVERS = 16


@dataclass(frozen=True)
class Query:
    TYPE: ClassVar[str] = f"{PROTOCOL}/query"

    def to_message(self, **headers: Any) -> Message:
        return Message(self.TYPE, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        body.expect(message, cls.TYPE)
        return cls()


@dataclass(frozen=True)
class StunServer:
    port: int
    host: str | None = None  # None: the host of the mediator's HTTP endpoint


@dataclass(frozen=True)
class Servers:
    TYPE: ClassVar[str] = f"{PROTOCOL}/servers"

    stun: tuple[StunServer, ...]

    def to_message(self, **headers: Any) -> Message:
        stun = [
            {"port": server.port} | ({} if server.host is None else {"host": server.host})
            for server in self.stun
        ]
        return Message(self.TYPE, {"stun": stun}, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        entries = body.objects(body.expect(message, cls.TYPE), "stun", MAX_SERVERS)
        return cls(tuple(_stun_server(entry) for entry in entries))


def _stun_server(entry: Mapping[str, Any]) -> StunServer:
    port, host = body.number(entry, "port"), body.optional_text(entry, "host")
    if not 0 < port < 65536 or (host is not None and len(host) > 255):
        raise MalformedMessage("a server has a port and perhaps a host")
    return StunServer(port, host)
