"""`agent program`: keep, show and approve programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from agent.launch import describing, program
from agent.launch.describing import parties
from agent.launch.difference import difference
from agent.launch.program import Program
from agent.launch.store import ProgramStore
from agent.output import json_option, print_json, remark
from agent.plain import plain
from identity.keystore import home_folder


@click.group(
    "program",
    epilog="""\b
Examples:
  agent program add ./sum
  agent program show sum
  agent program approve sum
  agent program list

A program is a folder with a manifest.toml, or a tar archive of one (docs/howto/write-a-program.md).
It is known by its hash: whatever changes in it makes it another program, which wants your
approval again.""",
)
def command() -> None:
    """Keep, show and approve the programs that you compute with."""


@command.command("add")
@click.argument("path", type=click.Path(exists=True, path_type=Path), metavar="FOLDER|ARCHIVE")
@json_option
def add(path: Path, as_json: bool) -> None:
    """Keep a program, without allowing it to run yet.

    Prints its hash. Exit codes: 0 it is kept; 2 it is no program, and why.
    """
    store, found = _store(), program.load_path(path)
    new = store.add(found)
    if as_json:
        print_json({"name": found.name, "sha256": found.sha256, "new": new})
        return
    click.echo(found.sha256)
    remark(f"{found.name} is kept" if new else f"{found.name} was kept already")
    if not store.is_approved(found.sha256):
        remark(f"hint: agent program show {found.sha256[:16]}, and approve lets it run")


@command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the programs that come along and those you added."""
    store = _store()
    along = [found for name in program.shipped() if (found := program.load_shipped(name))]
    rows = [(one, True) for one in along] + [(one, False) for one in store.added()]
    if as_json:
        print_json([_row(store, one, along=came) for one, came in rows])
        return
    for one, came in rows:
        state = "comes along" if came else "approved" if store.is_approved(one.sha256) else "waits"
        words = f"{parties(one.manifest)}; {one.manifest.title}"
        click.echo(plain(f"{one.sha256[:16]}  {state:<11}  {one.name}: {words}"))


@command.command("show")
@click.argument("word", metavar="NAME|HASH|PATH")
@json_option
def show(word: str, as_json: bool) -> None:
    """Show what a program asks for, what it opens to whom, and what changed.

    The difference is against the version of the same name that you approved last.
    """
    store = _store()
    found = store.find(word)
    earlier = store.last_approved(found.name, but=found.sha256)
    approved = store.is_approved(found.sha256)
    changes = None if earlier is None or approved else difference(earlier, found)
    if as_json:
        print_json(describing.to_json(found, changes, approved=approved))
        return
    for line in describing.lines(found, changes, approved=approved):
        click.echo(plain(line))


@command.command("approve")
@click.argument("word", metavar="NAME|HASH|PATH")
@json_option
def approve(word: str, as_json: bool) -> None:
    """Allow a program, exactly as it is now, to run with your inputs.

    The approval is for its hash: it is remembered, and ends with `agent program rm`.
    """
    store = _store()
    found = store.find(word)
    store.approve(found)
    if as_json:
        print_json({"name": found.name, "sha256": found.sha256, "approved": True})
        return
    click.echo(found.sha256)
    remark(f"{found.name} may run here from now on")


@command.command("rm")
@click.argument("word", metavar="NAME|HASH")
@json_option
def remove(word: str, as_json: bool) -> None:
    """Forget a program you added, and every consent to it."""
    store = _store()
    found = store.find(word)
    store.remove(found.sha256)
    if as_json:
        print_json({"name": found.name, "sha256": found.sha256, "removed": True})
        return
    remark(f"{found.name} {found.sha256[:16]} is forgotten")


def _store() -> ProgramStore:
    return ProgramStore(home_folder())


def _row(store: ProgramStore, one: Program, *, along: bool) -> dict[str, Any]:
    return {
        "name": one.name,
        "title": one.manifest.title,
        "sha256": one.sha256,
        "comes_along": along,
        "approved": store.is_approved(one.sha256),
    }
