"""The command `mediator`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from mediator.errors import ConfigError, MediatorError

FAILED, USAGE, PRIVILEGE = 1, 2, 7

EXIT_CODES = """\b
Exit codes:
  0  done
  1  failed
  2  wrong usage or configuration
  7  started as root"""


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Store and forward DIDComm messages for parties that are not always reachable.

    A mediator keeps sealed messages until their recipient fetches them; it cannot read them.
    It is one process with one file.

    \b
    Examples:
      mediator run                                        for this machine alone
      mediator run --listen 0.0.0.0:8080 --public-url https://mediator.example
      mediator show                                       its DID and invitation
    """


@cli.command(epilog=EXIT_CODES)
@click.option("--config", type=click.Path(path_type=Path), help="TOML file; flags go before it.")
@click.option("--listen", metavar="HOST:PORT", help="Where to listen.  [127.0.0.1:8080]")
@click.option("--public-url", metavar="URL", help="How clients reach it; part of its DID.")
@click.option("--data", type=click.Path(path_type=Path), help="Its file: keys, accounts, queue.")
@click.option(
    "--stun-port",
    "stun_ports",
    metavar="N",
    type=int,
    multiple=True,
    help="UDP port for STUN; give it twice.  [3478, 3479]",
)
@click.option("--json", "as_json", is_flag=True, help="Say where it runs as one line of JSON.")
def run(config: Path | None, as_json: bool, **flags: Any) -> None:
    """Run the mediator until it is told to stop (SIGTERM or Ctrl-C).

    The first lines it prints are its DID and its invitation; give either to parties. The DID
    stays the same for as long as the data file and the public URL do.

    \b
    Examples:
      mediator run --data mediator.db
      mediator run --listen 0.0.0.0:8080 --public-url http://198.51.100.10:8080
      mediator run --config /etc/didmesh/mediator.toml

    \b
    A configuration file has the same words:
      listen = "0.0.0.0:8080"
      public_url = "https://mediator.example"
      data = "/var/lib/didmesh/mediator.db"
      stun_ports = [3478, 3479]
      [limits]
      inbox_messages = 1000
    """
    from mediator.config import load

    try:
        settings = load(config, {**flags, "stun_ports": flags["stun_ports"] or None})
        if os.geteuid() == 0:
            _fail(
                "it reads strangers' messages, so it does not run as root",
                "start it as an ordinary user; no port below 1024 is needed behind a proxy",
                PRIVILEGE,
            )
        from mediator.process import serve

        serve(settings, as_json=as_json)
    except MediatorError as error:
        _fail(str(error), error.hint, USAGE if isinstance(error, ConfigError) else FAILED)


@cli.command(epilog=EXIT_CODES)
@click.option("--data", type=click.Path(path_type=Path), help="The mediator's file.")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def show(data: Path | None, as_json: bool) -> None:
    """Show a mediator's DID, invitation and services, whether it runs or not.

    \b
    Examples:
      mediator show --data mediator.db
      mediator show --json | jq -r .did
    """
    from mediator.config import default_data
    from mediator.process import shown

    try:
        facts = shown(data or default_data())
    except MediatorError as error:
        _fail(str(error), error.hint, FAILED)
    if as_json:
        import orjson

        click.echo(orjson.dumps(facts))
    else:
        for name, value in facts.items():
            click.echo(f"{name} {value}")


def _fail(sentence: str, hint: str | None, code: int) -> NoReturn:
    click.echo(f"mediator: {sentence}", err=True)
    if hint:
        click.echo(f"mediator: hint: {hint}", err=True)
    sys.exit(code)


def main() -> None:
    cli(prog_name="mediator")


if __name__ == "__main__":
    main()
