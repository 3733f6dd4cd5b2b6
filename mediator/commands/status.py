"""`mediator status`."""

from __future__ import annotations

import http.client
import json
import time
from pathlib import Path
from typing import Any

import click

from mediator.addresses import shorten
from mediator.cli import EXIT_CODES
from mediator.operation.operator import administer, age, size
from mediator.settings.loading import load
from mediator.settings.options import json_option, print_json, store_options
from mediator.stores.administration import AccountSummary, Administration, Admission, Totals

_PASSES_ON = {
    True: "it passes mail on to others",
    False: "it passes nothing on to others",
    None: "no mediator was started on it yet",
}

RELAY_PATIENCE = 1.0  # seconds for a mediator on this host
MAX_FACTS = 64 * 1024  # bytes


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

    config = load(file, flags)
    relay = _relay(config.metrics)
    totals, accounts, admission = administer(config.data, look)
    facts = {**_facts(totals, accounts, admission, time.time()), "relay": relay}
    if as_json:
        print_json(facts)
    else:
        _print(facts)


def _relay(monitored: tuple[str, int] | None) -> dict[str, Any] | None:
    """What the running mediator says of its relay, where it is monitored; None if none says."""
    if monitored is None:
        return None
    connection = http.client.HTTPConnection(*monitored, timeout=RELAY_PATIENCE)
    try:
        connection.request("GET", "/relay")
        response = connection.getresponse()
        value = json.loads(response.read(MAX_FACTS)) if response.status == 200 else None
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return value if isinstance(value, dict) and isinstance(value.get("forwarding"), str) else None


def _relay_words(relay: dict[str, Any] | None) -> str:
    if relay is None:
        return "unknown: no mediator answers where its metrics would be"
    if relay["forwarding"] == "off":
        return "off"
    by = {"kernel": "in the kernel", "python": "by Python, which is slower"}
    words = by.get(relay["forwarding"], "unknown")
    others = relay.get("by_python") if relay["forwarding"] == "kernel" else 0
    among = f" ({others} by Python: from IPv4 to IPv6, or over WebSockets)" if others else ""
    return f"{words}; {relay.get('open')} pairs{among}, {relay.get('packets')} datagrams passed on"


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
    click.echo(f"relay         {_relay_words(facts['relay'])}")
    for account in facts["top"]:
        click.echo(f"  {account['did']:<20}  {_waiting(account)}")


def _waiting(queue: dict[str, Any]) -> str:
    words = f"{queue['messages']} messages, {size(queue['bytes'])}"
    oldest = queue["oldest_seconds"]
    return words if oldest is None else f"{words}, the oldest {age(oldest)} old"
