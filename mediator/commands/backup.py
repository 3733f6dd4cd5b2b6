"""`mediator backup`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mediator.cli import EXIT_CODES
from mediator.errors import DatabaseError
from mediator.settings.loading import load
from mediator.settings.options import store_options


@click.command(
    "backup",
    epilog=f"""\b
Examples:
  mediator backup --data /var/lib/didmesh/mediator.db mediator-monday.db
  mediator backup --config /etc/didmesh/mediator.toml /backup/mediator.db

{EXIT_CODES}""",
)
@store_options
@click.argument("target", type=click.Path(path_type=Path))
def command(file: Path | None, target: Path, **flags: Any) -> None:
    """Write a copy of the data file to TARGET while the mediator runs on.

    The copy is of one moment and complete; it has the mediator's keys, so keep it as safe as
    the file itself. To go back to it, stop the mediator and put it in the file's place.
    """
    from mediator.stores.sqlite_backup import backup

    source = load(file, flags).data
    if not isinstance(source, Path):
        raise DatabaseError(source, "it is not a file", "PostgreSQL has pg_dump and pg_basebackup")
    click.echo(f"{target}: {backup(source, target)} bytes")
