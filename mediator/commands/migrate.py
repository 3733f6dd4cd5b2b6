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

    Each is a file or a postgresql:// URL. Mediators may go on using FROM meanwhile: what they
    accept is copied, too. At the end FROM takes nothing more; its mediators answer 503 until
    they are started on TO. All of it is copied or nothing. A password is better in ~/.pgpass or
    $PGPASSWORD than in the URL.
    """
    import asyncio

    from mediator.operation.operator import become_owner
    from mediator.settings.places import parse_place
    from mediator.stores.copying import copy_store

    origin, goal = parse_place(source), parse_place(target)
    become_owner(origin)
    counts = asyncio.run(copy_store(origin, goal))
    click.echo(
        f"copied {counts['identity']} identities, {counts['account']} accounts,"
        f" {counts['recipient']} recipients, {counts['queue']} messages"
        f" and {counts['parcel']} on their way"
    )
    click.echo(f"{origin} takes nothing more: start its mediators on {goal} now")
