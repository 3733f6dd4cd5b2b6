"""Trust ping 2.0: are you there? Source: DIDComm Messaging v2.1, "Trust Ping Protocol 2.0"."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from messaging.message import Message
from messaging.protocols import body


@dataclass(frozen=True)
class Ping:
    TYPE: ClassVar[str] = "https://didcomm.org/trust-ping/2.0/ping"

    response_requested: bool = True

    def to_message(self, **headers: Any) -> Message:
        return Message(self.TYPE, {"response_requested": self.response_requested}, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        # Asked for unless refused in words: some clients misspell the member.
        return cls(body.expect(message, cls.TYPE).get("response_requested") is not False)


@dataclass(frozen=True)
class PingResponse:
    TYPE: ClassVar[str] = "https://didcomm.org/trust-ping/2.0/ping-response"

    def to_message(self, **headers: Any) -> Message:
        return Message(self.TYPE, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        body.expect(message, cls.TYPE)
        return cls()
