"""`agent status`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial
from typing import Any

import click

from agent.contacts import Contacts
from agent.errors import MailboxError
from agent.lobby.words import called
from agent.mail.account import Account
from agent.mail.transport import Transport
from agent.output import json_option, patience, print_json
from agent.plain import plain
from agent.profile import Choice, profile_options
from agent.running import RunningSession, running_sessions
from agent.watching import table
from identity.keystore import Profile
from resolvers.registry import default_registry

VERSION = 1  # of what --json prints
SECOND = 1.0


@click.command(
    "status",
    epilog="""\b
Examples:
  agent status
  agent status --profile work --json
  agent status --watch
  agent status --watch --json

With --watch: each pair's path, how long it is in use, why it is relayed and when a better one is
tried, until Ctrl-C; no passphrase is asked. Otherwise your mediator is asked; exit code 1 if it
does not answer or does not know the DID.""",
)
@click.option("--watch", is_flag=True, help="Follow the sessions' paths, once a second.")
@json_option
@profile_options
@click.pass_context
def command(context: click.Context, choice: Choice, watch: bool, as_json: bool) -> None:
    """Show your mail at the mediator and the sessions that run."""
    if watch:
        with contextlib.suppress(KeyboardInterrupt):
            _watch(choice, as_json=as_json)
        return
    profile = choice.load()
    with patience("asking the mediator"):
        mediator = None if profile.mediator is None else asyncio.run(_ask(profile))
    sessions = running_sessions(choice.folder)
    if as_json:
        print_json(
            {
                "version": VERSION,
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


def _watch(choice: Choice, *, as_json: bool) -> None:
    """Until interrupted; an object a second with --json, a table that changes otherwise."""
    if as_json:
        while True:
            sessions = [one.to_json() for one in running_sessions(choice.folder)]
            print_json({"version": VERSION, "t": round(time.time(), 3), "sessions": sessions})
            time.sleep(SECOND)
    from rich.live import Live

    contacts = Contacts(choice.folder)
    with Live(auto_refresh=False) as live:
        while True:
            shown = table(
                running_sessions(choice.folder), partial(called, contacts, name=""), time.time()
            )
            live.update(shown, refresh=True)
            time.sleep(SECOND)


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
