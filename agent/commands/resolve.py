"""`agent resolve`."""

from __future__ import annotations

import asyncio
import json

import click

from agent.output import json_option, patience
from resolvers.registry import default_registry


@click.command(
    "resolve",
    epilog="""\b
Examples:
  agent resolve did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK
  agent resolve did:peer:2… --json | jq .didDocument.service

--json prints a DID resolution result as W3C defines it, also when there is no document.""",
)
@click.argument("did")
@json_option
@click.pass_context
def command(context: click.Context, did: str, as_json: bool) -> None:
    """Look up the DID document of any DID."""
    with patience("looking it up"):
        result = asyncio.run(default_registry().resolve_result(did))
    if as_json:
        click.echo(json.dumps(result.to_json()))
        context.exit(0 if result.error is None else 1)
    if result.error is not None:
        raise result.error
    if result.document is not None:
        click.echo(json.dumps(result.document.to_json(), indent=2))
