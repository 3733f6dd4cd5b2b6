"""What goes wrong around a party's program, with the words and the exit code for its owner.

AgentError                        1
├── UsageMistake                  2  the command makes no sense as it stands
├── TookTooLong                   3  nobody answered in time
├── ProfileMissing                1  there is no such profile yet
├── PassphraseMissing             2  the profile is encrypted and we may not ask
└── MailboxError                  1  transport, account and delivery draw its branches

Errors of the packages below (identity, resolvers, messaging) get their words in `agent.explain`.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What a command's exit code tells a script."""

    OK = 0
    FAILED = 1
    USAGE = 2
    TIMEOUT = 3
    RELAYED = 4  # a direct path was required and there is only a relayed one
    IDENTITY = 5  # somebody is not who we took them for
    REFUSED = 6  # refused by another party, or expired
    PRIVILEGE = 7  # may not do what it has to do on this machine


class AgentError(Exception):
    """Something a person can act on: one sentence, perhaps a hint, an exit code."""

    exit_code = Exit.FAILED

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageMistake(AgentError):
    exit_code = Exit.USAGE


class TookTooLong(AgentError):
    exit_code = Exit.TIMEOUT


class ProfileMissing(AgentError):
    def __init__(self, name: str) -> None:
        again = "" if name == "default" else f" --profile {name}"
        super().__init__(
            f"there is no profile {name!r} yet",
            f"agent create-did --mediator URL{again} makes one",
        )


class PassphraseMissing(AgentError):
    exit_code = Exit.USAGE

    def __init__(self, name: str, *, new: bool) -> None:
        super().__init__(
            f"profile {name!r} needs a passphrase, and there is no terminal to ask for it",
            "--passphrase-file FILE, or the variable DIDMESH_PASSPHRASE"
            + (", or --unencrypted" if new else ""),
        )


class MailboxError(AgentError):
    """Mail could not be fetched or brought."""
