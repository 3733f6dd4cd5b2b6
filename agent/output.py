"""How commands print: the option --json, and a DID as text or QR code."""

from __future__ import annotations

import functools
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, TextIO

import click

from agent.errors import AgentError, UsageMistake
from agent.plain import plain
from agent.profile import Card, Choice
from identity.did import shorten

_QUIET_ZONE = 2  # modules around the code

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_qr_option = click.option("--qr", is_flag=True, help="Draw the DID as a QR code.")


def print_json(value: object) -> None:
    click.echo(json.dumps(value))


def did_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --qr and --json; the two exclude each other."""

    @functools.wraps(command)
    def with_one_of_them(*, qr: bool, as_json: bool, **rest: Any) -> Any:
        if qr and as_json:
            raise UsageMistake("--json draws no QR code", "leave one of the two out")
        return command(qr=qr, as_json=as_json, **rest)

    return _qr_option(json_option(with_one_of_them))


def print_did(choice: Choice, card: Card, *, qr: bool, as_json: bool, **more: object) -> None:
    """The DID alone on standard output, so that it can be piped; the rest on standard error.

    Raises: TooNarrow, when all but the QR code is printed.
    """
    if as_json:
        print_json({"profile": choice.name, **asdict(card), **more})
        return
    click.echo(card.did)
    if card.mediator is None:
        remark("no mediator: nobody can write to this DID")
    elif card.registered:
        remark(f"mail is kept by {shorten(card.mediator)}")
    else:
        remark("not registered at its mediator yet: agent create-did finishes that")
    if qr:
        draw_qr(card.did)


class TooNarrow(AgentError):
    """No terminal of this width can show it; wrapped lines would be unreadable."""

    def __init__(self, width: int, columns: int) -> None:
        super().__init__(
            f"the QR code is {width} columns wide and the terminal has {columns}",
            "a wider window or smaller letters, then: agent show --qr",
        )


def draw_qr(text: str, out: TextIO | None = None) -> None:
    """A QR code in half blocks, two rows of modules a line, on standard output unless `out`.

    Raises: TooNarrow.
    """
    out = out or sys.stdout
    import segno

    code = segno.make_qr(text, error="l")
    width = int(code.symbol_size(border=_QUIET_ZONE)[0])
    if out.isatty():
        columns = os.get_terminal_size(out.fileno()).columns
        if width > columns:
            raise TooNarrow(width, columns)
    code.terminal(out=out, border=_QUIET_ZONE, compact=True)


def remark(text: str) -> None:
    click.echo(f"agent: {plain(text)}", err=True)


@contextmanager
def patience(text: str, seconds: float = 1.0) -> Iterator[None]:
    """Remark this to the person at a terminal once what runs inside takes longer than that."""
    timer = threading.Timer(seconds, remark, [text])
    timer.daemon = True
    if sys.stderr.isatty():
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
