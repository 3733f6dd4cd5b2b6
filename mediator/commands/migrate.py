"""`mediator migrate`."""

from __future__ import annotations

import click

from mediator.cli import EXIT_CODES


@click.command(
    "migrate",
    epilog=f"""\b
Examples:
  mediator migrate mediator.db postgresql://didmesh@db.example/mediator
  mediator migrate postgresql:///mediator mediator.db

{EXIT_CODES}""",
)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
def command(source: str, target: str) -> None:
    """Copy a mediator's keys, accounts and mail from one store to another, empty one.

    Each is a file or a postgresql:// URL. Stop the mediators first: mail that they accepted
    meanwhile would be left behind. All of it is copied or nothing, and FROM stays as it is.
    A password is better in ~/.pgpass or $PGPASSWORD than in the URL.
    """
    import asyncio

    from mediator.settings.places import parse_place
    from mediator.stores.copying import copy_store

    counts = asyncio.run(copy_store(parse_place(source), parse_place(target)))
    click.echo(
        f"copied {counts['identity']} identities, {counts['account']} accounts,"
        f" {counts['recipient']} recipients, {counts['queue']} messages"
        f" and {counts['parcel']} on their way"
    )
