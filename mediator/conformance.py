"""What a public test suite wants and we do not do by ourselves: a switch each, all off.

They contradict a specification, or tell strangers what is none of their business
(docs/protocols/mediator.md says which does what).
"""

from __future__ import annotations

from dataclasses import dataclass, field


def switch(meaning: str) -> bool:
    """A field of Conformance; `meaning` is what operators read of it."""
    value: bool = field(default=False, metadata={"meaning": meaning})
    return value


@dataclass(frozen=True)
class Conformance:
    report_unknown_recipients: bool = switch(
        "tell whoever forwards mail for a DID that nobody registered, strangers too"
    )
    deny_second_request: bool = switch("deny mediation to whoever has it already")
    basic_messages: bool = switch("hear basicmessage 2.0, and report one without content")


DEFAULT = Conformance()
