"""`agent export`: a running session's mesh, as other tools read it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from agent.errors import AgentError, UsageMistake
from agent.profile import Choice, profile_options
from agent.running import RunningSession, running_sessions, socket_of
from agent.telling import ask

KINDS = ("wg-quick", "hosts", "mpyc", "json")


@click.command(
    "export",
    epilog="""\b
Examples:
  agent export hosts
  agent export mpyc --output .config/party.ini
  agent export wg-quick --session 4f2a --output mesh.conf

wg-quick holds the session's private key: it is told only when you ask for it, and --output writes
with mode 0600. What is exported holds while the session runs; then the other parties' agents remove
their ends of it. Exit codes: 1 no session runs; 2 which session is not clear.""",
)
@click.argument("kind", type=click.Choice(KINDS))
@click.option("--session", "prefix", default="", metavar="ID", help="How the session's ID begins.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write there, for your eyes only, instead of printing.",
)
@profile_options
def command(choice: Choice, kind: str, prefix: str, output: Path | None) -> None:
    """Print the mesh of a running session for other tools: wg-quick, hosts, mpyc or json."""
    session = _chosen(running_sessions(choice.folder), prefix)
    path = socket_of(choice.folder, session)
    try:
        text = ask(path, kind) if path is not None else ""
    except OSError as error:
        raise AgentError("the session does not answer: it has just ended") from error
    if not text:
        raise AgentError("the session has no mesh yet", "try again when it is up")
    if output is None:
        click.echo(text, nl=False)
    else:
        _write(output, text)


def _chosen(sessions: list[RunningSession], prefix: str) -> RunningSession:
    found = [session for session in sessions if session.session.startswith(prefix)]
    if not found:
        raise AgentError("no such session runs", "agent status lists those that do")
    if len(found) > 1:
        raise UsageMistake("several sessions run", "say which by --session and its first letters")
    return found[0]


def _write(output: Path, text: str) -> None:
    """Never readable by anybody else, not even at first, whatever was there before."""
    new = output.with_name(f"{output.name}.{os.getpid()}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(output)
