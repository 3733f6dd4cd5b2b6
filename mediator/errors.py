"""What can go wrong in a mediator, by who has to act.

MediatorError
├── ConfigError      the operator: a setting is wrong
├── DataFileError    the operator: the data file cannot be used
├── DatabaseError    the operator: the database cannot be used
├── CannotListen     the operator: an address is taken or not ours
├── StartedAsRoot    the operator: it reads strangers' bytes, so it may not be root
└── Refusal          the sender of a message: told by a problem report
"""

from __future__ import annotations

from pathlib import Path


class MediatorError(Exception):
    """Carries a sentence and, where there is one, a hint what to do."""

    def __init__(self, sentence: str, hint: str | None = None) -> None:
        super().__init__(sentence)
        self.hint = hint


class ConfigError(MediatorError):
    pass


class DataFileError(MediatorError):
    def __init__(self, path: Path, reason: str, hint: str | None = None) -> None:
        super().__init__(f"cannot use {path}: {reason}", hint)


class DatabaseError(MediatorError):
    def __init__(self, place: object, reason: str, hint: str | None = None) -> None:
        super().__init__(f"cannot use {place}: {reason}", hint)


class CannotListen(MediatorError):
    pass


class StartedAsRoot(MediatorError):
    def __init__(self) -> None:
        super().__init__(
            "it reads strangers' messages, so it does not run as root",
            "start it as an ordinary user; no port below 1024 is needed behind a proxy",
        )


class Refusal(MediatorError):
    """A message is not accepted; `code` is a problem code of docs/protocols/mediator.md."""

    def __init__(
        self, code: str, comment: str, *, status: int = 200, report: str | None = None
    ) -> None:
        super().__init__(comment)
        self.code = code
        self.comment = comment
        self.report = report  # the type of the report, where a protocol has one of its own
        self.status = status  # of HTTP to a proven sender: some give up on anything but 200
