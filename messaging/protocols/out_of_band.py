"""Out-of-band 2.0: an invitation that fits into a URL or a QR code.

Source: DIDComm Messaging v2.1, "Out Of Band Messages".
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs, urlsplit

from identity.codec import b64url_decode, b64url_encode
from messaging.errors import MalformedMessage
from messaging.message import Attachment, Message, new_id
from messaging.protocols import body

REQUEST_MEDIATE = "request-mediate"  # goal code of an invitation to take mail for somebody
JOIN_LOBBY = "https://didmesh.org/lobby/1.0"  # of an invitation to knock at a lobby
MAX_URL = 16 * 1024  # characters


@dataclass(frozen=True)
class Invitation:
    """Plaintext that anybody may have written: `frm` is only where to go and ask."""

    TYPE: ClassVar[str] = "https://didcomm.org/out-of-band/2.0/invitation"

    frm: str
    goal_code: str | None = None
    goal: str | None = None
    accept: tuple[str, ...] = ("didcomm/v2",)
    attachments: tuple[Attachment, ...] = ()
    id: str = field(default_factory=new_id)  # becomes the `pthid` of what it starts

    def to_message(self, **headers: Any) -> Message:
        content: dict[str, Any] = {"accept": list(self.accept)}
        if self.goal_code is not None:
            content["goal_code"] = self.goal_code
        if self.goal is not None:
            content["goal"] = self.goal
        return Message(
            self.TYPE,
            content,
            id=self.id,
            frm=self.frm,
            attachments=self.attachments,
            **headers,
        )

    @classmethod
    def from_message(cls, message: Message) -> Self:
        content = body.expect(message, cls.TYPE)
        if message.frm is None:
            raise MalformedMessage("an invitation says who it is `from`")
        return cls(
            message.frm,
            body.optional_text(content, "goal_code"),
            body.optional_text(content, "goal"),
            body.texts(content, "accept"),
            message.attachments,
            message.id,
        )

    def to_url(self, base: str) -> str:
        """`base` with the invitation as its query `_oob`."""
        separator = "&" if urlsplit(base).query else "?"
        return f"{base}{separator}_oob={b64url_encode(self.to_message().serialize())}"

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Raises: MalformedMessage."""
        if len(url) > MAX_URL:
            raise MalformedMessage(f"an invitation URL of more than {MAX_URL} characters")
        try:
            values = parse_qs(urlsplit(url).query, max_num_fields=32).get("_oob", [])
            data = b64url_decode("".join(values))
        except ValueError as error:
            raise MalformedMessage("not an invitation URL") from error
        if len(values) != 1:
            raise MalformedMessage("an invitation URL has one query `_oob`")
        return cls.from_message(Message.parse(data))
