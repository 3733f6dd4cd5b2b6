"""How commands print: the option --json, and a DID as text or QR code."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import click

from agent.errors import UsageMistake
from agent.profile import Card, Choice
from identity.did import shorten

_QUIET_ZONE = 2  # modules around the code

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_qr_option = click.option("--qr", is_flag=True, help="Draw the DID as a QR code.")


def print_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))


def did_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --qr and --json."""
    return _qr_option(json_option(command))


def print_did(choice: Choice, card: Card, *, qr: bool, as_json: bool, **more: object) -> None:
    """The DID alone on standard output, so that it can be piped; the rest on standard error."""
    if as_json:
        if qr:
            raise UsageMistake("--json draws no QR code", "leave one of the two out")
        print_json({"profile": choice.name, **asdict(card), **more})
        return
    click.echo(card.did)
    if card.mediator is None:
        _remark("no mediator: nobody can write to this DID")
    elif card.registered:
        _remark(f"mail is kept by {shorten(card.mediator)}")
    else:
        _remark("not registered at its mediator yet: agent create-did finishes that")
    if qr:
        draw_qr(card.did)


def draw_qr(text: str) -> None:
    """A QR code in half blocks, two rows of modules a line. Raises: UsageMistake."""
    import segno

    code = segno.make_qr(text, error="l")
    width = code.symbol_size(border=_QUIET_ZONE)[0]
    columns = shutil.get_terminal_size().columns
    if sys.stdout.isatty() and width > columns:
        raise UsageMistake(
            f"the QR code is {width} columns wide and the terminal has {columns}",
            "make the window wider or its letters smaller",
        )
    code.terminal(out=sys.stdout, border=_QUIET_ZONE, compact=True)


def _remark(text: str) -> None:
    click.echo(f"agent: {text}", err=True)
