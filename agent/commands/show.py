"""`agent show`."""

from __future__ import annotations

import click

from agent.output import did_options, print_did
from agent.profile import Choice, profile_options


@click.command(
    "show",
    epilog="""\b
Examples:
  agent show
  agent show --qr
  agent show --profile work --json""",
)
@did_options
@profile_options
def command(choice: Choice, qr: bool, as_json: bool) -> None:
    """Show your DID, as text or as a QR code.

    This is what the other parties need of you. No passphrase is asked: nothing secret is shown.
    """
    print_did(choice, choice.card(), qr=qr, as_json=as_json)
