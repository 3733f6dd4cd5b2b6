"""Routing 2.0: pass an envelope on to whom it says.

Source: DIDComm Messaging v2.1, "Routing Protocol 2.0".
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from messaging.encoding import MAX_BYTES
from messaging.errors import MalformedMessage
from messaging.message import Attachment, Message
from messaging.protocols import body

MAX_ATTACHMENTS = 20
# What is passed on travels once more inside a delivery, a third larger, and has to fit again.
MAX_FORWARDED = MAX_BYTES * 3 // 4 - 16 * 1024


@dataclass(frozen=True)
class Forward:
    TYPE: ClassVar[str] = "https://didcomm.org/routing/2.0/forward"

    next: str  # a DID or one of its keys
    attachments: tuple[Attachment, ...]  # an envelope each
    delay_milli: int | None = None  # wait so long; negative: a random time up to that

    def to_message(self, **headers: Any) -> Message:
        content: dict[str, Any] = {"next": self.next}
        if self.delay_milli is not None:
            content["delay_milli"] = self.delay_milli
        return Message(self.TYPE, content, attachments=self.attachments, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        content = body.expect(message, cls.TYPE)
        if not 0 < len(message.attachments) <= MAX_ATTACHMENTS:
            raise MalformedMessage(f"a forward has 1 to {MAX_ATTACHMENTS} attachments")
        delay = content.get("delay_milli")
        if delay is not None and type(delay) is not int:
            raise MalformedMessage("`delay_milli` is not a whole number")
        return cls(body.text(content, "next"), message.attachments, delay)

    def envelopes(self) -> tuple[bytes, ...]:
        """What to pass on. Raises: MalformedMessage, also for links: nobody fetches those."""
        envelopes = tuple(attachment.content() for attachment in self.attachments)
        if any(len(envelope) > MAX_FORWARDED for envelope in envelopes):
            raise MalformedMessage(f"an attached envelope is longer than {MAX_FORWARDED} bytes")
        return envelopes
