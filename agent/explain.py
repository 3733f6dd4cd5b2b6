"""From an exception to what a person reads: one sentence, a hint, an exit code."""

from __future__ import annotations

import json
from dataclasses import dataclass

import click

from agent.errors import AgentError, Exit
from agent.plain import plain

INTERRUPTED = 130  # as shells say it: 128 + SIGINT


@dataclass(frozen=True)
class Explanation:
    message: str
    hint: str | None
    exit_code: int


def explain(error: BaseException) -> Explanation | None:
    """Words for an error that a person can act on; None for a fault of ours."""
    if isinstance(error, BaseExceptionGroup):
        return explain(error.exceptions[0])
    if isinstance(error, AgentError):
        return Explanation(str(error), error.hint, error.exit_code)
    if isinstance(error, click.Abort):
        return Explanation("interrupted", None, INTERRUPTED)
    if isinstance(error, click.ClickException):
        return Explanation(error.format_message(), _usage_hint(error), error.exit_code)
    if isinstance(error, OSError):
        return Explanation(_system_words(error), None, Exit.FAILED)
    return _explain_packages_below(error)


def report(explanation: Explanation, *, as_json: bool) -> None:
    """Say it on standard error; with --json also as one JSON object on standard output."""
    click.echo(f"agent: {plain(explanation.message)}", err=True)
    if explanation.hint:
        click.echo(f"agent: hint: {plain(explanation.hint)}", err=True)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "error": explanation.message,
                    "hint": explanation.hint,
                    "exit_code": int(explanation.exit_code),
                }
            )
        )


def _usage_hint(error: click.ClickException) -> str | None:
    context = getattr(error, "ctx", None)
    return f"{context.command_path} --help" if context is not None else None


def _system_words(error: OSError) -> str:
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    return f"{error.filename}: {reason}" if error.filename else reason


def _explain_packages_below(error: BaseException) -> Explanation | None:
    # Imported here: whoever raised one of these has imported its module already.
    from agent.launch.adapters import AdapterError
    from agent.launch.inputs import InputError
    from agent.launch.manifest import ManifestError
    from agent.launch.program import ProgramError
    from identity.errors import IdentityError, InvalidDid, WrongPassphrase
    from messaging.errors import MessagingError
    from resolvers.resolver import ResolutionError

    hint = None
    if isinstance(error, WrongPassphrase):
        hint = "the passphrase of `agent create-did`; nothing was changed"
    if isinstance(error, InputError | InvalidDid | ManifestError | ProgramError):
        return Explanation(str(error), hint, Exit.USAGE)
    if isinstance(error, AdapterError | IdentityError | ResolutionError | MessagingError):
        return Explanation(str(error), hint, Exit.FAILED)
    return None
