"""`agent ping`."""

from __future__ import annotations

import asyncio

import click

from agent.errors import TookTooLong, UsageMistake
from agent.mail.mailbox import Mailbox
from agent.output import json_option, print_json
from agent.profile import Choice, profile_options
from identity.did import parse_did, shorten
from identity.errors import InvalidDid
from identity.keystore import Profile
from resolvers.registry import default_registry

PAUSE_SECONDS = 1.0  # between one answer and the next question


@click.command(
    "ping",
    epilog="""\b
Examples:
  agent ping did:peer:2…
  agent ping did:peer:2… --count 1 --timeout 30 --json
  agent ping --answer

Any agent that waits for messages answers by itself: one that runs `agent run`, and one that
runs `agent ping --answer`. Exit code 3: not one answer came.""",
)
@click.argument("did", required=False)
@click.option("--count", type=click.IntRange(1, 1000), default=3, show_default=True)
@click.option(
    "--timeout",
    "seconds",
    type=click.FloatRange(0.1, 3600),
    default=10.0,
    show_default=True,
    help="Seconds to wait for each answer.",
)
@click.option("--answer", is_flag=True, help="Answer pings until interrupted, instead of sending.")
@json_option
@profile_options
def command(
    choice: Choice, did: str | None, count: int, seconds: float, answer: bool, as_json: bool
) -> None:
    """Ask whether another agent answers, through the mediators.

    The time printed is that of the whole round: to the other party's mediator, to its agent, and
    back through yours.
    """
    if answer == (did is not None):
        raise UsageMistake("give a DID to ping, or --answer", "agent ping --help")
    if did is not None:
        _check(did)
    profile = choice.load()
    if did is None:
        asyncio.run(_answer(profile))
        return
    times, trouble = asyncio.run(_ping(profile, did, count, seconds, quiet=as_json))
    answers = [ms for ms in times if ms is not None]
    if as_json and answers:
        print_json({"did": did, "sent": count, "received": len(answers), "rtt_ms": times})
    if not answers:
        raise TookTooLong(
            f"no answer from {shorten(did)} to {count} pings within {seconds:g} s each",
            f"our own mediator brings nothing: {trouble}"
            if trouble
            else "the other party has to be waiting: agent ping --answer",
        )


async def _ping(
    profile: Profile, did: str, count: int, seconds: float, *, quiet: bool
) -> tuple[list[float | None], str | None]:
    """Round trip times in milliseconds, None without an answer; and what is wrong on our side."""
    times: list[float | None] = []
    async with Mailbox(profile, default_registry()) as mailbox:
        for number in range(1, count + 1):
            try:
                times.append(round(await mailbox.ping(did, seconds) * 1000, 1))
            except TookTooLong:
                times.append(None)
            if not quiet:
                click.echo(_line(did, number, times[-1], seconds))
            if number < count:
                await asyncio.sleep(PAUSE_SECONDS)
        return times, mailbox.trouble


async def _answer(profile: Profile) -> None:
    async with Mailbox(profile, default_registry()):
        click.echo("agent: answering pings; Ctrl-C ends it", err=True)
        await asyncio.Event().wait()


def _line(did: str, number: int, ms: float | None, seconds: float) -> str:
    said = f"no answer within {seconds:g} s" if ms is None else f"{ms:.1f} ms"
    return f"{shorten(did)}: ping {number}: {said}"


def _check(did: str) -> None:
    try:
        parse_did(did)
    except InvalidDid as error:
        raise UsageMistake(str(error)) from error
