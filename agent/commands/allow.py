"""`agent allow`: standing consent, for one program with exactly these parties, until a date."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import click

from agent.approval import allowed_program
from agent.contacts import Contacts
from agent.errors import UsageMistake
from agent.launch.store import ProgramStore
from agent.lobby.words import called
from agent.output import json_option, print_json, remark
from agent.plain import plain
from agent.profile import Choice, profile_options


@click.command(
    "allow",
    epilog="""\b
Examples:
  agent allow auction --with bob --with carol --days 30
  agent allow
  agent join --standing --input @bid.txt

It holds for one program (by its hash), with exactly these parties and you, until then.
`agent program rm` takes it back before.""",
)
@click.argument("program", required=False)
@click.option("--with", "others", multiple=True, metavar="NAME|DID", help="Another party.")
@click.option("--days", type=click.FloatRange(0.001, 366), default=30.0, show_default=True)
@json_option
@profile_options
def command(
    choice: Choice, program: str | None, others: tuple[str, ...], days: float, as_json: bool
) -> None:
    """Let PROGRAM run again with these parties without asking; alone, list what you allowed."""
    store, contacts = ProgramStore(choice.folder), Contacts(choice.folder)
    now = time.time()
    if program is not None:
        if not others:
            raise UsageMistake("with whom? --with NAME, once for each")
        loaded = allowed_program(store, program)
        me = choice.card().did
        parties = {me, *(contacts.did(word) for word in others)}
        store.consents.allow(loaded.sha256, parties, now + days * 86_400, now)
        remark(f"{loaded.name} {loaded.sha256[:16]} may run with them for {days:g} days")
    standing = store.consents.standing(now)
    if as_json:
        print_json(
            [
                {"sha256": one.sha256, "parties": sorted(one.parties), "until": one.until}
                for one in standing
            ]
        )
    elif program is None:
        for one in standing:
            until = datetime.fromtimestamp(one.until, UTC).isoformat(timespec="minutes")
            who = ", ".join(called(contacts, did, "") for did in sorted(one.parties))
            click.echo(plain(f"{one.sha256[:16]} until {until}: {who}"))
