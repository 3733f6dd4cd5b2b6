"""Report problem 2.0: what went wrong, for programs and for people.

Source: DIDComm Messaging v2.1, "Problem Reports".
"""

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from messaging.message import Message
from messaging.protocols import body

_PLACEHOLDER = re.compile(r"\{(\d{1,3})\}")


@dataclass(frozen=True)
class ProblemReport:
    """Answers the message whose thread is the header `pthid`."""

    TYPE: ClassVar[str] = "https://didcomm.org/report-problem/2.0/problem-report"

    code: str  # sorter (e, w), scope (p, m, a state), descriptors: "e.p.xfer.cant-use-endpoint"
    comment: str | None = None  # with {1} for the first of `args`
    args: tuple[str, ...] = ()
    escalate_to: str | None = None

    def to_message(self, **headers: Any) -> Message:
        content: dict[str, Any] = {"code": self.code}
        if self.comment is not None:
            content["comment"] = self.comment
        if self.args:
            content["args"] = list(self.args)
        if self.escalate_to is not None:
            content["escalate_to"] = self.escalate_to
        return Message(self.TYPE, content, **headers)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        content = body.expect(message, cls.TYPE)
        return cls(
            body.text(content, "code"),
            body.optional_text(content, "comment"),
            body.texts(content, "args"),
            body.optional_text(content, "escalate_to"),
        )

    @property
    def text(self) -> str:
        """The comment with its arguments in place; one that is missing reads `?`."""

        def argument(match: re.Match[str]) -> str:
            position = int(match[1])
            return self.args[position - 1] if 0 < position <= len(self.args) else "?"

        return _PLACEHOLDER.sub(argument, self.comment or self.code)
