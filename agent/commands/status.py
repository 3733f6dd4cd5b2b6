"""`agent status`."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from agent.errors import MailboxError
from agent.mail.account import Account
from agent.mail.transport import Transport
from agent.output import json_option, print_json
from agent.plain import plain
from agent.profile import Choice, profile_options
from agent.running import RunningSession, running_sessions
from identity.keystore import Profile
from resolvers.registry import default_registry


@click.command(
    "status",
    epilog="""\b
Examples:
  agent status
  agent status --profile work --json

Asks the mediator; exit code 1 if it does not answer or does not know the DID.""",
)
@json_option
@profile_options
@click.pass_context
def command(context: click.Context, choice: Choice, as_json: bool) -> None:
    """Show your mail at the mediator and the sessions that run."""
    profile = choice.load()
    mediator = None if profile.mediator is None else asyncio.run(_ask(profile))
    sessions = running_sessions(choice.folder)
    if as_json:
        print_json(
            {
                "profile": choice.name,
                "did": profile.did,
                "mediator": mediator,
                "sessions": [session.to_json() for session in sessions],
            }
        )
    else:
        _print(choice, profile, mediator, sessions)
    if mediator is not None and not mediator["registered"]:
        context.exit(1)


async def _ask(profile: Profile) -> dict[str, Any]:
    """What the mediator says of us, as it is printed by --json."""
    facts: dict[str, Any] = {
        "did": profile.mediator,
        "reachable": False,
        "registered": False,
        "queued": None,
        "problem": None,
    }
    async with Transport() as transport:
        account = Account(profile, default_registry(), transport)
        try:
            facts["registered"] = await account.registered()
            facts["reachable"] = True
            if facts["registered"]:
                facts["queued"] = (await account.queue()).messages
        except MailboxError as error:
            facts["problem"] = str(error)
    return facts


def _print(
    choice: Choice,
    profile: Profile,
    mediator: dict[str, Any] | None,
    sessions: list[RunningSession],
) -> None:
    click.echo(f"profile     {choice.name}")
    click.echo(f"did         {profile.did}")
    click.echo(f"mediator    {_words(mediator)}")
    for session in sessions:
        click.echo(f"session     {session.session} (process {session.pid})")
        for party, path in session.lines():
            click.echo(f"  {party}  {path}")
    if not sessions:
        click.echo("sessions    none")


def _words(mediator: dict[str, Any] | None) -> str:
    if mediator is None:
        return "none: nobody can write to this DID"
    if not mediator["reachable"]:
        return f"not reachable: {plain(mediator['problem'])}"
    if not mediator["registered"]:
        return "reachable, but does not take mail for this DID: agent create-did registers it"
    return f"registered, {mediator['queued']} messages waiting"
