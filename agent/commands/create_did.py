"""`agent create-did`."""

from __future__ import annotations

import asyncio

import click

from agent.first_profile import create_profile
from agent.output import TooNarrow, did_options, patience, print_did, remark
from agent.profile import Choice, profile_options


@click.command(
    "create-did",
    epilog="""\b
Examples:
  agent create-did --mediator https://mediator.example
  agent create-did --mediator https://mediator.example --profile work --qr
  DIDMESH_PASSPHRASE=… agent create-did --mediator did:peer:2… --json

Called again, it finishes what was interrupted and prints the same DID.""",
)
@click.option(
    "--mediator",
    metavar="URL|DID",
    help="Who keeps your mail: address, invitation link or DID. Without it you get no mail.",
)
@click.option("--unencrypted", is_flag=True, help="Keep the keys in a file without a passphrase.")
@did_options
@profile_options
def command(
    mediator: str | None, unencrypted: bool, choice: Choice, qr: bool, as_json: bool
) -> None:
    """Make keys and a DID, and register it at a mediator.

    The DID is what you give to the other parties; it says which mediator keeps your mail. The keys
    stay on this machine, in a file that a passphrase opens.
    """
    created = not choice.exists()
    profile, passphrase = None, None
    if not created:
        profile = choice.load()
    elif not unencrypted:
        passphrase = choice.passphrase_for_new()
    with patience("asking the mediator"):
        asyncio.run(create_profile(choice, profile, passphrase, mediator))
    try:
        print_did(choice, choice.card(), qr=qr, as_json=as_json, created=created)
    except TooNarrow as error:
        remark(f"{error}; {error.hint}")  # the DID is made all the same
