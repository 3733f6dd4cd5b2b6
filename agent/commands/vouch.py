"""`agent vouch`: sign for somebody's DID, so that they are let in where our word counts."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import click

from agent.claims import vouch
from agent.contacts import Contacts
from agent.errors import UsageMistake
from agent.lobby.words import shown
from agent.output import json_option, print_json, remark
from agent.profile import Choice, profile_options
from agent.session.start import speaker_of
from agent.taking_part import check_line
from resolvers.registry import default_registry


@click.command(
    "vouch",
    epilog="""\b
Examples:
  agent vouch bob
  agent vouch bob --as 'Bob of the library' --days 7
  agent vouch did:peer:2… --as bob > vouch.txt

Prints the vouch, which is no secret: only who has that DID's keys can use it. Its holder runs
agent join LINK --claim FILE where a host requires your word (agent host --require-vouch). It cannot
be taken back, so keep the days few. Vouch for whose DID you have from themselves.""",
)
@click.argument("who")
@click.option("--as", "name", metavar="NAME", help="What you call them, for others to read.")
@click.option(
    "--days",
    type=click.FloatRange(0.001, 366),
    default=30.0,
    show_default=True,
    help="For how long.",
)
@json_option
@profile_options
def command(choice: Choice, who: str, name: str | None, days: float, as_json: bool) -> None:
    """Sign that the DID of WHO (a contact's name, or a DID) is who you say."""
    contacts = Contacts(choice.folder)
    did = contacts.did(who)
    contact = contacts.of(did)
    name = name or (contact.name if contact else "")
    if not name:
        raise UsageMistake("by which name do you know them? --as NAME")
    check_line(name)
    profile = choice.load()
    document = asyncio.run(default_registry().resolve(profile.did))
    now = time.time()
    until = int(now + days * 86_400)
    token = vouch.make(profile.did, speaker_of(profile, document), did, name, now, until - now)
    if as_json:
        facts = {"vouch": token, "issuer": profile.did, "subject": did, "name": name}
        print_json({**facts, "until": until})
        return
    click.echo(token)
    end = datetime.fromtimestamp(until, UTC).isoformat(timespec="minutes")
    remark(f"you vouch for {shown(did)} as {name!r} until {end}")
