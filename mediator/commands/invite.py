"""`mediator invite`."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from pathlib import Path
from typing import Any

import click

from mediator.cli import EXIT_CODES
from mediator.operation.operator import administer, become_owner, place_of
from mediator.settings.options import json_option, print_json, store_options
from mediator.stores.administration import Administration, InvitationRecord

_UNITS = {"m": 60, "h": 3600, "d": 86_400}


class Span(click.ParamType[int]):
    name = "SPAN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", str(value))
        if found is None:
            self.fail(f"{value} is no span such as 30m, 12h or 7d", param, ctx)
        return int(found[1]) * _UNITS[found[2]]


@click.command(
    "invite",
    epilog=f"""\b
Examples:
  mediator invite                                   the public one, as link and QR code
  mediator invite --new --uses 1 --expires 7d --note "for Carol"
  mediator invite --new --json | jq -r .url

A new invitation lets in who follows it although registration is closed (`mediator accounts
registration closed`). Its link is a secret: send it to whom it is for. Wallets follow it as
out-of-band 2.0 says: its id is the `pthid` of their mediate-request. Works beside a running
mediator and without one.

{EXIT_CODES}""",
)
@store_options
@click.option("--new", is_flag=True, help="One of its own, which may be limited and revoked.")
@click.option("--uses", metavar="N", type=click.IntRange(1), help="By so many DIDs.  [any number]")
@click.option("--expires", metavar="SPAN", type=Span(), help="After 30m, 12h, 7d.  [never]")
@click.option("--note", metavar="TEXT", default="", help="Your own words, to know it again.")
@click.option("--no-qr", is_flag=True, help="The link alone.")
@json_option
def command(
    file: Path | None,
    new: bool,
    uses: int | None,
    expires: int | None,
    note: str,
    no_qr: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Make an invitation: a link and, in the terminal, a QR code."""
    if not new and (uses or expires or note):
        raise click.UsageError("--uses, --expires and --note are for a --new invitation")
    from mediator.process import shown_identity

    place = place_of(file, flags)
    become_owner(place)
    identity = asyncio.run(shown_identity(place))
    if new:
        now = int(time.time())
        record = InvitationRecord(
            secrets.token_hex(16),
            now,
            None if expires is None else now + expires,
            uses,
            note,
        )
        administer(place, lambda store: store.add_invitation(record))
        url = identity.invitation_with(record.id).to_url(identity.public_url)
        facts = {"url": url, "id": record.id, "uses": uses, "expires": record.expires, "note": note}
    else:
        url = identity.invitation_url
        facts = {
            "url": url,
            "id": identity.invitation_id,
            "uses": None,
            "expires": None,
            "note": "",
        }
    if as_json:
        print_json(facts)
        return
    click.echo(url)
    if not no_qr:
        draw_qr(url)
    if not new and not administer(place, _is_open):
        click.echo("mediator: registration is closed, so this lets nobody in", err=True)
        click.echo("mediator: hint: mediator invite --new", err=True)


async def _is_open(store: Administration) -> bool:
    return (await store.admission()).is_open


def draw_qr(text: str) -> None:
    """In half blocks, two rows of modules a line; nothing where the terminal is too narrow."""
    import os
    import sys

    import segno

    code = segno.make_qr(text, error="l")
    width = int(code.symbol_size(border=2)[0])
    if sys.stdout.isatty() and width > os.get_terminal_size(sys.stdout.fileno()).columns:
        click.echo(f"mediator: the QR code is {width} columns wide, the terminal is not", err=True)
        return
    code.terminal(out=sys.stdout, border=2, compact=True)
