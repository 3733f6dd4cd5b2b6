"""Every command line that the documents show is one that the commands understand."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import agent.cli
import mediator.cli

ROOT = Path(__file__).parents[1]
GROUPS = {"agent": agent.cli.group, "mediator": mediator.cli.group}
DOCUMENTS = (*sorted(ROOT.glob("docs/**/*.md")), ROOT / "README.md")
LINE = re.compile(r"^ {4,}(?:\w+\$ )?(?:sudo (?:-\w+ )*)?(agent|mediator) ([a-z-].*)$")
ENDS = {"&&", "|", "(", ";", ">"}  # of the words that are for the command
ABSENT = "does not exist"  # files of a person: not here


def shown() -> Iterator[tuple[str, str, str]]:
    for document in DOCUMENTS:
        for line in document.read_text().replace("\\\n", "").splitlines():
            if (found := LINE.match(line)) is not None:
                yield str(document.relative_to(ROOT)), found[1], found[2]


def parse(name: str, words: list[str]) -> None:
    """Raises: click.UsageError."""
    command: click.Command = GROUPS[name]
    context = click.Context(command, info_name=name)
    while isinstance(command, click.Group):
        while words and words[0].startswith("-"):
            words = words[1:]  # of the group: -v
        name, *words = words
        found = command.get_command(context, name)
        if found is None:
            raise click.UsageError(f"there is no command {name}")
        command, context = found, click.Context(found, context, name)
    try:
        command.make_context(name, words, context.parent)
    except click.BadParameter as error:
        if ABSENT not in error.format_message():
            raise


@pytest.mark.parametrize(("document", "name", "line"), sorted({*shown()}))
def test_every_line_that_is_shown_is_understood(document: str, name: str, line: str) -> None:
    words = shlex.split(re.sub(r"\$\([^)]*\)", "today", line), comments=True)
    ends = [place for place, word in enumerate(words) if word in ENDS or word.startswith("(")]
    try:
        parse(name, words[: min(ends, default=len(words))])
    except click.UsageError as error:
        raise AssertionError(f"{document}: {name} {line}: {error.format_message()}") from None


@pytest.mark.parametrize(
    "line",
    ["hots auction", "host auction --seat 3", "allow --days 0 auction", "contacts nam x y"],
)
def test_a_line_that_is_wrong_would_be_found(line: str) -> None:
    with pytest.raises(click.UsageError):
        parse("agent", shlex.split(line))
