"""`mediator run`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from mediator.cli import EXIT_CODES
from mediator.errors import StartedAsRoot
from mediator.settings.loading import load
from mediator.settings.options import setting_options
from mediator.settings.table import PREFIX


@click.command(
    "run",
    epilog=f"""\b
Examples:
  mediator run --data mediator.db
  mediator run --listen 0.0.0.0:8080 --public-url http://198.51.100.10:8080
  mediator run --config /etc/didmesh/mediator.toml
  {PREFIX}LOG_FORMAT=json mediator run --limits-inbox-messages 5000

\b
A configuration file has the same words:
  listen = "0.0.0.0:8080"
  public_url = "https://mediator.example"
  data = "/var/lib/didmesh/mediator.db"
  stun_ports = [3478, 3479, 3480]
  [limits]
  inbox_messages = 1000

{EXIT_CODES}""",
)
@setting_options
@click.option("--json", "as_json", is_flag=True, help="Say where it runs as one line of JSON.")
def command(file: Path | None, as_json: bool, **flags: Any) -> None:
    """Run a mediator until it is told to stop (SIGTERM or Ctrl-C).

    The first lines it prints are its DID and its invitation; give either to parties. The DID
    stays the same for as long as the data file and the public URL do.

    Every setting may be given as a flag, as an environment variable or in the file; the flag
    goes first. docs/operations.md has the table of all, limits included.
    """
    config = load(file, flags)
    if os.geteuid() == 0:
        raise StartedAsRoot
    from mediator.process import serve

    serve(config, as_json=as_json)
