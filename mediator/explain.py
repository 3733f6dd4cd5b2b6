"""From an exception to what a person reads: one sentence, a hint, an exit code."""

from __future__ import annotations

import json
from dataclasses import dataclass

import click

from mediator.errors import ConfigError, MediatorError, StartedAsRoot

FAILED, USAGE, PRIVILEGE = 1, 2, 7
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
    if isinstance(error, MediatorError):
        return Explanation(str(error), error.hint, _code(error))
    if isinstance(error, click.Abort):
        return Explanation("interrupted", None, INTERRUPTED)
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        hint = None if context is None else f"{context.command_path} --help"
        return Explanation(error.format_message(), hint, error.exit_code)
    return None


def report(explanation: Explanation, *, as_json: bool) -> None:
    """Say it on standard error; with --json also as one JSON object on standard output."""
    click.echo(f"mediator: {explanation.message}", err=True)
    if explanation.hint:
        click.echo(f"mediator: hint: {explanation.hint}", err=True)
    if as_json:
        facts = {
            "error": explanation.message,
            "hint": explanation.hint,
            "exit_code": explanation.exit_code,
        }
        click.echo(json.dumps(facts))


def _code(error: MediatorError) -> int:
    if isinstance(error, ConfigError):
        return USAGE
    return PRIVILEGE if isinstance(error, StartedAsRoot) else FAILED
