"""`agent create-did`."""

from __future__ import annotations

import asyncio

import click

from agent.errors import UsageMistake
from agent.mail.account import Account
from agent.mail.invitation import Invited, find_mediator
from agent.mail.transport import Transport
from agent.output import TooNarrow, did_options, print_did, remark
from agent.profile import Card, Choice, profile_options
from identity import did_peer
from identity.keys import Curve, PrivateKey
from identity.keystore import Profile
from resolvers.local import LocalResolver


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
    card = asyncio.run(_create(choice, profile, passphrase, mediator))
    try:
        print_did(choice, card, qr=qr, as_json=as_json, created=created)
    except TooNarrow as error:
        remark(f"{error}; {error.hint}")  # the DID is made all the same


async def _create(
    choice: Choice, profile: Profile | None, passphrase: str | None, mediator: str | None
) -> Card:
    async with Transport() as transport:
        invited = (
            await find_mediator(mediator, transport) if mediator is not None else Invited(None)
        )
        if profile is None:
            profile = make_profile(invited.mediator)
            # Saved before anybody hears of it: what is interrupted from here on can be finished.
            choice.create(profile, passphrase)
        elif invited.mediator not in (None, profile.mediator):
            raise UsageMistake(
                f"profile {choice.name!r} has its mail at another mediator",
                "--profile NAME makes another DID for that one",
            )
        if profile.mediator is not None:
            await Account(profile, LocalResolver(), transport).register(invited.by)
    card = Card(profile.did, profile.mediator, registered=profile.mediator is not None)
    choice.write_card(card)
    return card


def make_profile(mediator: str | None) -> Profile:
    """Fresh keys and the did:peer:2 of them, whose mail goes to `mediator`."""
    agreement, authentication = (
        PrivateKey.generate(Curve.X25519),
        PrivateKey.generate(Curve.ED25519),
    )
    services = [] if mediator is None else [did_peer.didcomm_service(mediator)]
    did = did_peer.create_2([agreement.public], [authentication.public], services)
    return Profile(did, {f"{did}#key-1": agreement, f"{did}#key-2": authentication}, mediator)
