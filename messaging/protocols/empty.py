"""Empty 1.0: headers alone, for instance an acknowledgement or a rotation.

Source: DIDComm Messaging v2.1, "The Empty Message".
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from messaging.message import Message
from messaging.protocols import body


@dataclass(frozen=True)
class Empty:
    TYPE: ClassVar[str] = "https://didcomm.org/empty/1.0"

    def to_message(self, **headers: Any) -> Message:
        return Message(self.TYPE, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        # The specification writes both forms.
        body.expect(message, cls.TYPE, cls.TYPE + "/empty")
        return cls()
