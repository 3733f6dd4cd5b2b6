"""`agent contacts`: our own names for other parties."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from agent.contacts import Contacts, pair_id
from agent.errors import UsageMistake
from agent.lobby.words import shown
from agent.output import json_option, print_json, remark
from agent.plain import plain
from agent.profile import Choice, profile_options
from agent.words import phrase
from identity.keystore import home_folder


@click.group(
    "contacts",
    epilog="""\b
Examples:
  agent contacts list
  agent contacts name did:peer:2… bob
  agent contacts name Ez6LSbysY2 bob
  agent contacts verify bob
  agent contacts rm bob

A name is yours alone, and stands for the DID wherever a command takes one: agent run --with bob.
Whom you computed with is listed without a name; a part of the DID that fits only one will do.
Verified means that you compared words with that person, not that a server said so.""",
)
def command() -> None:
    """Your names for other parties, and whether you verified them."""


@command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """All contacts, and whom you met and did not name."""
    contacts = Contacts(home_folder())
    if as_json:
        known = [asdict(one) for one in contacts.all()]
        print_json({"contacts": known, "met": [asdict(one) for one in contacts.met()]})
        return
    for one in contacts.all():
        state = "verified" if one.verified else "not verified"
        moved = f", its {len(one.former) + 1}th DID" if one.former else ""
        click.echo(plain(f"{one.name}: {state}{moved}  {shown(one.did)}"))
    for other in contacts.met():
        says = f', called itself "{other.called}"' if other.called else ""
        click.echo(plain(f"(no name){says}  {shown(other.did)}"))


@command.command("name")
@click.argument("did")
@click.argument("name")
def name_(did: str, name: str) -> None:
    """Call DID (or a part of one that you met) NAME from now on."""
    contact = Contacts(home_folder()).name(did, name)
    remark(f"{contact.name} is {shown(contact.did)}; agent contacts verify {contact.name!r}")


@command.command("verify")
@click.argument("name")
@click.option("--yes", "compared", is_flag=True, help="You have compared the words already.")
@json_option
@profile_options
def verify(choice: Choice, name: str, compared: bool, as_json: bool) -> None:
    """Compare four words with NAME, on the telephone or face to face.

    Both of you run this; the words are the same if each has the other's true DID. With --json
    nobody is asked: --yes says that they are.
    """
    contacts = Contacts(choice.folder)
    contact = contacts.named(name)
    words = phrase(pair_id(choice.card().did, contact.did))
    if not as_json:
        click.echo(words)
    if not compared and not as_json:
        if not sys.stdin.isatty():
            raise UsageMistake("nobody is there to compare the words", "--yes, once you have")
        compared = click.confirm(f"Does {plain(name)} read the same words?", err=True)
    if compared:
        contacts.verify(name)
    if as_json:
        verified = contacts.named(name).verified
        print_json({"name": name, "words": words, "verified": verified})
    elif not compared:
        remark(f"{name} stays unverified; if the words differ, one of you has another's DID")


@command.command("rm")
@click.argument("name")
def rm(name: str) -> None:
    """Forget NAME."""
    Contacts(home_folder()).remove(name)
