"""Asks a person to allow a program, where the person can answer."""

from __future__ import annotations

import os
import sys

import click

from agent.launch import describing
from agent.launch.difference import difference
from agent.launch.program import Program
from agent.launch.sandbox import WORDS
from agent.launch.store import NotApproved, ProgramStore
from agent.plain import plain
from agent.sandboxing import find_sandbox


def allowed_program(store: ProgramStore, word: str) -> Program:
    """The program that a person calls by this word, once they have allowed it to run.

    Raises: NotApproved, if they have not, and say no or there is no terminal to ask.
    """
    return allowed(store, store.find(word), word)


def allowed(store: ProgramStore, program: Program, word: str | None = None) -> Program:
    """This very program, likewise; without a word for it, it is kept so that it can be shown."""
    if not store.is_approved(program.sha256) and not ask(store, program):
        if word is None:
            store.add(program)
        raise NotApproved(program.name, program.sha256, word or program.sha256[:16])
    return program


def ask(store: ProgramStore, program: Program) -> bool:
    """Show the program and ask; a yes is remembered for its hash."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    earlier = store.last_approved(program.name, but=program.sha256)
    changes = None if earlier is None else difference(earlier, program)
    for line in describing.lines(program, changes, approved=False):
        click.echo(plain(line), err=True)
    if os.getuid() == os.geteuid():  # else we only act as our user, and could not measure it
        click.echo(WORDS[find_sandbox().level], err=True)
    if not click.confirm("Let this program run with your inputs?", err=True):
        return False
    store.approve(program)
    return True
