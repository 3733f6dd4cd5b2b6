"""`mediator show`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mediator.cli import EXIT_CODES
from mediator.settings.loading import load
from mediator.settings.options import json_option, store_options


@click.command(
    "show",
    epilog=f"""\b
Examples:
  mediator show --data mediator.db
  mediator show --json | jq -r .did

{EXIT_CODES}""",
)
@store_options
@json_option
def command(file: Path | None, as_json: bool, **flags: Any) -> None:
    """Show a mediator's DID, invitation and services, whether it runs or not."""
    from mediator.process import shown

    facts = shown(load(file, flags).data)
    if as_json:
        import orjson

        click.echo(orjson.dumps(facts))
    else:
        for name, value in facts.items():
            click.echo(f"{name} {value}")
