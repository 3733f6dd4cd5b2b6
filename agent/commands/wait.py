"""`agent wait`."""

from __future__ import annotations

import time

import click

from agent.errors import TookTooLong
from agent.mesh_ping import OnlyRelayed
from agent.output import json_option, print_json, remark
from agent.profile import Choice, profile_options
from agent.running import RunningSession
from agent.watching import is_usable, looks, state_of, why
from identity.did import shorten

VERSION = 1


@click.command(
    "wait",
    epilog="""\b
Examples:
  agent wait && echo everybody can be reached
  agent wait --direct --timeout 30
  agent wait --direct --json

Exit code 3: no session, or not everybody reached in time; 4: everybody is reached, but with
--direct somebody only through a relay.""",
)
@click.option("--direct", is_flag=True, help="Until no path leads through a relay.")
@click.option(
    "--timeout",
    "seconds",
    type=click.FloatRange(0.1, 86_400),
    default=60.0,
    show_default=True,
    help="Seconds to wait.",
)
@json_option
@profile_options
def command(choice: Choice, direct: bool, seconds: float, as_json: bool) -> None:
    """Wait until every party of the sessions that run here is reached through the mesh."""
    began, told = time.monotonic(), False
    sessions: list[RunningSession] = []
    for sessions in looks(choice.folder, seconds):
        state = state_of(sessions)
        if state == "direct" or (state == "usable" and not direct):
            break
        if not told and time.monotonic() - began > 1:
            told = True
            remark("waiting; agent status --watch shows for what")
    state = state_of(sessions)
    reached = state == "direct" or (state == "usable" and not direct)
    if as_json and reached:
        paths = {did: one["kind"] for each in sessions for did, one in each.paths.items()}
        waited = round(time.monotonic() - began, 3)
        print_json({"version": VERSION, "state": state, "seconds": waited, "paths": paths})
    if not reached:
        _raise(sessions, state, seconds)


def _raise(sessions: list[RunningSession], state: str, seconds: float) -> None:
    """Name the first pair that is not as it should be."""
    if not sessions:
        raise TookTooLong(f"no session runs here after {seconds:g} s", "agent run, agent join")
    pairs = [pair for session in sessions for pair in session.paths.items()]
    if state == "usable":
        did, path = next(pair for pair in pairs if pair[1].get("kind") != "direct")
        raise OnlyRelayed(f"no direct path to {shorten(did)}", why(path, time.time()) or None)
    lacking = [pair for pair in pairs if not is_usable(pair[1])]
    if not lacking:
        raise TookTooLong(f"there is no mesh yet after {seconds:g} s")
    did, path = lacking[0]
    raise TookTooLong(f"{shorten(did)} is not reached yet", why(path, time.time()) or None)
