"""`agent doctor`."""

from __future__ import annotations

import asyncio
import os

import click

from agent.doctor import Finding, Level, exit_code, judge, to_json
from agent.errors import AgentError
from agent.examining import examine
from agent.output import json_option, print_json, remark
from agent.plain import plain
from agent.privileges import NoOrdinaryUser, acting_as, ordinary_user
from agent.profile import Choice, profile_options
from identity.errors import IdentityError

SIGNS = {Level.OK: "ok", Level.NOTE: "note", Level.WRONG: "WRONG"}


@click.command(
    "doctor",
    epilog="""\b
Examples:
  agent doctor
  sudo agent doctor
  agent doctor --json

Changes nothing; the network helper is started once and ended. Exit code 7: the privilege for a
mesh is missing; 1: something else is wrong. Notes do not count.""",
)
@json_option
@profile_options
@click.pass_context
def command(context: click.Context, choice: Choice, as_json: bool) -> None:
    """Say whether a session can run on this machine, and what to do where not."""
    remark("looking; this takes a few seconds")
    with acting_as(_user()):
        folder, mediator = choice.folder, mediator_of(choice)
    findings = judge(asyncio.run(examine(folder, mediator)))
    if as_json:
        print_json(to_json(findings))
    else:
        for finding in findings:
            _print(finding)
    context.exit(exit_code(findings))


def _user() -> int | None:
    """Whose profile is meant where root asks; root's own where nobody is named."""
    try:
        return ordinary_user(os.environ) if os.geteuid() == 0 else None
    except NoOrdinaryUser:
        return None


def mediator_of(choice: Choice) -> str | None:
    """The DID of the profile's mediator, if that is known without a passphrase."""
    try:
        return choice.card().mediator if choice.exists() else None
    except (AgentError, IdentityError, OSError):
        return None


def _print(finding: Finding) -> None:
    click.echo(plain(f"{SIGNS[finding.level]:<6}{finding.name:<17}{finding.text}"))
    if finding.todo is not None and finding.level is not Level.OK:
        click.echo(plain(f"{'':<23}-> {finding.todo}"))
