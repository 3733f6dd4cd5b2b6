"""`agent allow`: standing consent, for one program with exactly these parties, until a date."""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import click

from agent.approval import allowed_program
from agent.contacts import Contacts
from agent.errors import UsageMistake
from agent.launch.consents import Standing
from agent.launch.store import ProgramStore
from agent.lobby.words import called
from agent.output import json_option, print_json, remark
from agent.plain import plain
from agent.profile import Choice, profile_options

LEAST_PART = 8  # characters of a hash that may name a program


@click.command(
    "allow",
    epilog="""\b
Examples:
  agent allow auction --with bob --with carol --days 30
  agent allow
  agent allow auction --revoke
  agent join --standing --input @bid.txt

It holds for one program (by its hash), with exactly these parties and you, until then.
Without --with, --revoke takes back all that you allowed for the program.""",
)
@click.argument("program", required=False)
@click.option("--with", "others", multiple=True, metavar="NAME|DID", help="Another party.")
@click.option(
    "--days",
    type=click.FloatRange(0.001, 366),
    default=30.0,
    show_default=True,
    help="For how long.",
)
@click.option("--revoke", is_flag=True, help="Take it back: from now on you are asked.")
@json_option
@profile_options
def command(
    choice: Choice,
    program: str | None,
    others: tuple[str, ...],
    days: float,
    revoke: bool,
    as_json: bool,
) -> None:
    """Let PROGRAM run again with these parties without asking; alone, list what you allowed."""
    store, contacts = ProgramStore(choice.folder), Contacts(choice.folder)
    now = time.time()
    parties = {contacts.did(word) for word in others} | ({choice.card().did} if others else set())
    if program is None and (others or revoke):
        raise UsageMistake("which program? agent allow PROGRAM", "agent program list")
    if program is not None and revoke:
        _revoke(store, program, parties, now)
    elif program is not None:
        if not others:
            raise UsageMistake("with whom? --with NAME, once for each")
        loaded = allowed_program(store, program)
        store.consents.allow(loaded.sha256, parties, now + days * 86_400, now)
        remark(f"{loaded.name} {loaded.sha256[:16]} may run with them for {days:g} days")
    standing = store.consents.standing(now)
    if as_json:
        print_json([_to_json(store, one) for one in standing])
    elif program is None:
        for one in standing:
            until = datetime.fromtimestamp(one.until, UTC).isoformat(timespec="minutes")
            who = ", ".join(called(contacts, did, "") for did in sorted(one.parties))
            click.echo(plain(f"{_name(store, one)} {one.sha256[:16]} until {until}: {who}"))


def _revoke(store: ProgramStore, program: str, parties: Collection[str], now: float) -> None:
    """Raises: UsageMistake, if nothing of this kind was allowed."""
    standing = store.consents.standing(now)
    # A program that is gone, or came along with another version, is still known by its hash here.
    named = len(program) >= LEAST_PART
    hashes = {one.sha256 for one in standing if named and one.sha256.startswith(program)}
    sha256 = hashes.pop() if len(hashes) == 1 else store.find(program).sha256
    if not store.consents.revoke(sha256, parties, now):
        raise UsageMistake("you have not allowed this", "agent allow lists what you allowed")
    remark(f"{sha256[:16]} may not run with them any more without asking you")


def _to_json(store: ProgramStore, one: Standing) -> dict[str, Any]:
    return {
        "program": _name(store, one),
        "sha256": one.sha256,
        "parties": sorted(one.parties),
        "until": one.until,
    }


def _name(store: ProgramStore, one: Standing) -> str:
    return store.get(one.sha256).name if store.has(one.sha256) else "(gone)"
