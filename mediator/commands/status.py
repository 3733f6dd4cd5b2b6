"""`mediator status`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from mediator.addresses import shorten
from mediator.cli import EXIT_CODES
from mediator.operation.operator import administer, age, place_of, size
from mediator.settings.options import json_option, print_json, store_options
from mediator.stores.administration import AccountSummary, Administration, Admission, Totals

_PASSES_ON = {
    True: "it passes mail on to others",
    False: "it passes nothing on to others",
    None: "no mediator was started on it yet",
}


@click.command(
    "status",
    epilog=f"""\b
Examples:
  mediator status
  mediator status --top 3 --data mediator.db
  mediator status --json | jq .queued.oldest_seconds

Works beside a running mediator and without one. DIDs are shortened; `mediator accounts list --json`
has them whole.

{EXIT_CODES}""",
)
@store_options
@click.option(
    "--top", metavar="N", type=click.IntRange(0), default=10, help="So many accounts.  [10]"
)
@json_option
def command(file: Path | None, top: int, as_json: bool, **flags: Any) -> None:
    """Show what waits in the queues of a mediator, and for whom."""

    async def look(store: Administration) -> tuple[Totals, list[AccountSummary], Admission]:
        return await store.totals(), await store.accounts(top), await store.admission()

    totals, accounts, admission = administer(place_of(file, flags), look)
    facts = _facts(totals, accounts, admission, time.time())
    if as_json:
        print_json(facts)
    else:
        _print(facts)


def _facts(
    totals: Totals, accounts: list[AccountSummary], admission: Admission, now: float
) -> dict[str, Any]:
    return {
        "registration": "open" if admission.is_open else "closed",
        "accounts": totals.accounts,
        "recipients": totals.recipients,
        "queued": {
            "messages": totals.messages,
            "bytes": totals.bytes,
            "oldest_seconds": _since(totals.oldest, now),
        },
        "outgoing": {
            "messages": totals.parcels,
            "bytes": totals.parcel_bytes,
            "passes_on": totals.passes_on,
        },
        "unknown_recipient": totals.unknown_recipient,
        "top": [
            {
                "did": shorten(account.did),
                "recipients": account.recipients,
                "messages": account.messages,
                "bytes": account.bytes,
                "oldest_seconds": _since(account.oldest, now),
            }
            for account in accounts
            if account.messages
        ],
    }


def _since(moment: int | None, now: float) -> int | None:
    return None if moment is None else max(0, int(now - moment))


def _print(facts: dict[str, Any]) -> None:
    queued, outgoing = facts["queued"], facts["outgoing"]
    click.echo(f"registration  {facts['registration']}")
    click.echo(f"accounts      {facts['accounts']}, with {facts['recipients']} DIDs")
    click.echo(f"queued        {_waiting(queued)}")
    click.echo(
        f"outgoing      {outgoing['messages']} messages, {size(outgoing['bytes'])};"
        f" {_PASSES_ON[outgoing['passes_on']]}"
    )
    click.echo(
        f"unknown       {facts['unknown_recipient']} messages for DIDs that nobody has bound"
    )
    for account in facts["top"]:
        click.echo(f"  {account['did']:<20}  {_waiting(account)}")


def _waiting(queue: dict[str, Any]) -> str:
    words = f"{queue['messages']} messages, {size(queue['bytes'])}"
    oldest = queue["oldest_seconds"]
    return words if oldest is None else f"{words}, the oldest {age(oldest)} old"
