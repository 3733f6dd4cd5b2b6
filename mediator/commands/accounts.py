"""`mediator accounts …`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from identity.errors import InvalidDid
from mediator.addresses import canonical, shorten
from mediator.cli import EXIT_CODES
from mediator.errors import MediatorError
from mediator.operation.operator import administer, age, place_of, size
from mediator.settings.options import json_option, print_json, store_options
from mediator.stores.administration import (
    WILDCARD,
    AccountSummary,
    Administration,
    InvitationRecord,
    Rule,
)

SHOWN = 8  # characters of an invitation's id, which is a secret


class NoSuch(MediatorError):
    """Nothing was changed, since there is nothing like that."""


@click.group(
    "accounts",
    epilog=f"""\b
Examples:
  mediator accounts list
  mediator accounts close did:peer:2.Ez6LS…
  mediator accounts registration closed          only with an invitation, or if allowed
  mediator accounts allow 'did:web:example.org*'
  mediator accounts deny did:peer:2.Ez6LS…
  mediator accounts invitations

A rule names a DID, or how DIDs begin and then `*`; the most specific one decides. Whoever is denied
can neither open an account nor use one, and what it forwards in its own name is refused. A running
mediator heeds a change within two seconds.

{EXIT_CODES}""",
)
def command() -> None:
    """List and close accounts; say who may open one.

    All of it works beside a running mediator and without one.
    """


@command.command(
    "list",
    short_help="Accounts, those with most mail first.",
    epilog="\b\nExamples:\n  mediator accounts list --limit 20 --json",
)
@store_options
@click.option("--limit", metavar="N", type=click.IntRange(1), help="So many.  [all]")
@click.option("--whole", is_flag=True, help="DIDs in full length.")
@json_option
def list_(file: Path | None, limit: int | None, whole: bool, as_json: bool, **flags: Any) -> None:
    """Accounts, those with most messages waiting first; --json has whole DIDs."""
    accounts = administer(place_of(file, flags), lambda store: store.accounts(limit))
    if as_json:
        print_json({"accounts": [asdict(account) for account in accounts]})
        return
    for account in accounts:
        did = account.did if whole else shorten(account.did)
        since = age(time.time() - account.created)
        click.echo(
            f"{did:<20}  {account.messages} messages, {size(account.bytes)},"
            f" {account.recipients} DIDs, {since} old"
        )


@command.command(
    "close",
    short_help="Delete an account with its mail.",
    epilog="\b\nExamples:\n  mediator accounts close did:peer:2.Ez6LS…",
)
@click.argument("did")
@store_options
@json_option
def close(file: Path | None, did: str, as_json: bool, **flags: Any) -> None:
    """Delete an account with its bindings and all mail that waits for it.

    DID may be shortened as `mediator status` and `list` print it. It may be opened again: `deny`
    keeps it away.
    """

    async def work(store: Administration) -> dict[str, Any]:
        whole = _find(did, await store.accounts())
        closed = await store.close_account(whole)
        if closed is None:
            raise NoSuch(f"there is no account {shorten(whole)}")
        return {"did": whole, **asdict(closed)}

    facts = administer(place_of(file, flags), work)
    if as_json:
        print_json(facts)
    else:
        click.echo(
            f"closed {shorten(facts['did'])}: {facts['recipients']} DIDs,"
            f" {facts['messages']} messages, {size(facts['bytes'])}"
        )


def _find(did: str, accounts: Sequence[AccountSummary]) -> str:
    if "…" not in did:
        return _canonical(did)
    found = [account.did for account in accounts if shorten(account.did) == did]
    if len(found) != 1:
        raise NoSuch(
            f"{len(found)} accounts are shortened to {did}",
            "mediator accounts list --whole shows them in full length",
        )
    return found[0]


@command.command(
    "allow",
    short_help="Let DIDs in though registration is closed.",
    epilog="\b\nExamples:\n  mediator accounts allow 'did:web:example.org*'",
)
@click.argument("pattern")
@store_options
@json_option
def allow(file: Path | None, pattern: str, as_json: bool, **flags: Any) -> None:
    """Let these DIDs open an account, though registration is closed."""
    _set_rule(file, flags, Rule(_pattern(pattern), allow=True), as_json)


@command.command(
    "deny",
    short_help="Keep DIDs away.",
    epilog="\b\nExamples:\n  mediator accounts deny did:peer:2.Ez6LS…",
)
@click.argument("pattern")
@store_options
@json_option
def deny(file: Path | None, pattern: str, as_json: bool, **flags: Any) -> None:
    """Keep these DIDs away, those that have an account already among them."""
    _set_rule(file, flags, Rule(_pattern(pattern), allow=False), as_json)


def _set_rule(file: Path | None, flags: dict[str, Any], rule: Rule, as_json: bool) -> None:
    administer(place_of(file, flags), lambda store: store.set_rule(rule, int(time.time())))
    if as_json:
        print_json(asdict(rule))
    else:
        click.echo(_words(rule))


@command.command("forget", epilog="\b\nExamples:\n  mediator accounts forget did:peer:2.Ez6LS…")
@click.argument("pattern")
@store_options
@json_option
def forget(file: Path | None, pattern: str, as_json: bool, **flags: Any) -> None:
    """Remove a rule."""
    found = administer(place_of(file, flags), lambda store: store.remove_rule(_pattern(pattern)))
    if not found:
        raise NoSuch(f"there is no rule {pattern}", "mediator accounts rules shows them")
    if as_json:
        print_json({"forgotten": pattern})
    else:
        click.echo(f"forgot {pattern}")


@command.command(
    "rules",
    short_help="What is allowed and denied.",
    epilog="\b\nExamples:\n  mediator accounts rules --json",
)
@store_options
@json_option
def rules(file: Path | None, as_json: bool, **flags: Any) -> None:
    """What is allowed and denied, besides what registration says."""
    admission = administer(place_of(file, flags), lambda store: store.admission())
    if as_json:
        print_json({"rules": [asdict(rule) for rule in admission.rules]})
        return
    for rule in admission.rules:
        click.echo(_words(rule))


@command.command(
    "registration",
    short_help="Open, or only for whom you let in.",
    epilog="\b\nExamples:\n  mediator accounts registration closed",
)
@click.argument("state", type=click.Choice(["open", "closed"]), required=False)
@store_options
@json_option
def registration(file: Path | None, state: str | None, as_json: bool, **flags: Any) -> None:
    """Show or say whether anybody may open an account.

    Closed, only those may who are allowed by a rule or follow a --new invitation. Accounts that
    there are go on.
    """

    async def work(store: Administration) -> bool:
        if state is not None:
            await store.set_open(state == "open")
        return (await store.admission()).is_open

    is_open = administer(place_of(file, flags), work)
    words = "open" if is_open else "closed"
    if as_json:
        print_json({"registration": words})
    else:
        click.echo(words)


@command.command(
    "invitations",
    short_help="Those of `mediator invite --new`.",
    epilog="\b\nExamples:\n  mediator accounts invitations --json",
)
@store_options
@json_option
def invitations(file: Path | None, as_json: bool, **flags: Any) -> None:
    """The invitations of `mediator invite --new`; --json has their whole ids, which are secret."""
    found = administer(place_of(file, flags), lambda store: store.invitations())
    now = int(time.time())
    if as_json:
        print_json({"invitations": [{**asdict(i), "usable": i.usable(now)} for i in found]})
        return
    for each in found:
        uses = "any number" if each.uses is None else str(each.uses)
        ends = "" if each.expires is None else f", {_ends(each.expires - now)}"
        click.echo(f"{each.id[:SHOWN]}…  used {each.used} of {uses}{ends}  {each.note}".rstrip())


@command.command(
    "revoke",
    short_help="Make an invitation worthless.",
    epilog="\b\nExamples:\n  mediator accounts revoke 3f9a0c51",
)
@click.argument("invitation")
@store_options
@json_option
def revoke(file: Path | None, invitation: str, as_json: bool, **flags: Any) -> None:
    """Make an invitation worthless, named by the first characters of its id.

    Accounts that were opened through it stay.
    """

    async def work(store: Administration) -> InvitationRecord:
        beginning = invitation.rstrip("…")
        found = [each for each in await store.invitations() if each.id.startswith(beginning)]
        if len(found) != 1 or not beginning:
            raise NoSuch(f"{len(found)} invitations begin so", "mediator accounts invitations")
        await store.revoke_invitation(found[0].id)
        return found[0]

    record = administer(place_of(file, flags), work)
    if as_json:
        print_json({"revoked": record.id, "used": record.used})
    else:
        click.echo(f"revoked {record.id[:SHOWN]}…, which {record.used} DIDs had followed")


def _words(rule: Rule) -> str:
    return f"{'allow' if rule.allow else 'deny'}  {rule.pattern}"


def _ends(seconds: int) -> str:
    return f"ends in {age(seconds)}" if seconds > 0 else "ended"


def _pattern(text: str) -> str:
    """Raises: click.UsageError."""
    beginning, star, rest = text.partition(WILDCARD)
    if not star:
        return _canonical(text)
    if rest or not ("did:".startswith(beginning) or beginning.startswith("did:")):
        raise click.UsageError("a rule is a DID, or how DIDs begin and then one * at the end")
    return text


def _canonical(text: str) -> str:
    try:
        return canonical(text)
    except InvalidDid as error:
        raise click.UsageError(str(error)) from error
