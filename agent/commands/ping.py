"""`agent ping`."""

from __future__ import annotations

import asyncio

import click

from agent.contacts import Contacts, following
from agent.errors import Exit, TookTooLong, UsageMistake
from agent.mail.mailbox import Mailbox
from agent.mesh_ping import MeshPing, session_with
from agent.output import json_option, patience, print_json
from agent.plain import plain
from agent.profile import Choice, profile_options
from identity.did import shorten
from identity.errors import InvalidDid
from resolvers.registry import default_registry

COUNT, COUNT_IN_SESSION = 3, 10
PAUSE_SECONDS = 1.0  # between one answer and the next question


@click.command(
    "ping",
    epilog="""\b
Examples:
  agent ping did:peer:2…
  agent ping did:peer:2… --count 1 --timeout 30 --json
  agent ping --answer

  agent ping bob && echo directly

In a running session the party's answers through the mesh are shown, each with its path, until one
comes directly. Exit code 4: it answers, but never directly; the reason is told.
Otherwise the mediators are asked. Any agent that waits for messages answers by itself: one that
runs `agent run`, and one that runs `agent ping --answer`. Exit code 3: not one answer came.""",
)
@click.argument("party", required=False, metavar="[NAME|DID]")
@click.option(
    "--count",
    type=click.IntRange(1, 1000),
    help="Answers at most; 3 through mediators, 10 in a session.",
)
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
    choice: Choice,
    party: str | None,
    count: int | None,
    seconds: float,
    answer: bool,
    as_json: bool,
) -> None:
    """Ask whether another party answers: in a running session by which path, else by mail.

    By mail the time printed is that of the whole round: to the other party's mediator, to its
    agent, and back through yours.
    """
    if answer == (party is not None):
        raise UsageMistake("give a party to ping, or --answer", "agent ping --help")
    if party is None:
        asyncio.run(_answer(choice))
        return
    did = _did(choice, party)
    session = session_with(choice.folder, did)
    if session is None:
        _by_mail(choice, did, count or COUNT, seconds, as_json=as_json)
    else:
        ping = MeshPing(choice.folder, session, did)
        _by_mesh(ping, count or COUNT_IN_SESSION, seconds, as_json=as_json)


def _by_mesh(ping: MeshPing, count: int, seconds: float, *, as_json: bool) -> None:
    for number, reply in enumerate(ping.answers(count, seconds), 1):
        if not as_json:
            click.echo(plain(reply.line(ping.did, number)))
    if as_json and ping.replies:
        print_json(ping.to_json())
        click.get_current_context().exit(Exit.OK if ping.direct else Exit.RELAYED)
    ping.check()


def _by_mail(choice: Choice, did: str, count: int, seconds: float, *, as_json: bool) -> None:
    with patience("waiting for an answer by mail"):
        times, trouble = asyncio.run(_ping(choice, did, count, seconds, quiet=as_json))
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
    choice: Choice, did: str, count: int, seconds: float, *, quiet: bool
) -> tuple[list[float | None], str | None]:
    """Round trip times in milliseconds, None without an answer; and what is wrong on our side."""
    times: list[float | None] = []
    async with _mailbox(choice) as mailbox:
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


async def _answer(choice: Choice) -> None:
    async with _mailbox(choice):
        click.echo("agent: answering pings; Ctrl-C ends it", err=True)
        await asyncio.Event().wait()


def _mailbox(choice: Choice) -> Mailbox:
    def tell(text: str) -> None:
        click.echo(f"agent: {plain(text)}", err=True)

    mailbox = Mailbox(choice.load(), default_registry())
    mailbox.on_rotation(following(Contacts(choice.folder), tell))
    return mailbox


def _line(did: str, number: int, ms: float | None, seconds: float) -> str:
    said = f"no answer within {seconds:g} s" if ms is None else f"{ms:.1f} ms"
    return f"{shorten(did)}: ping {number}: {said}"


def _did(choice: Choice, party: str) -> str:
    try:
        return Contacts(choice.folder).did(party)
    except InvalidDid as error:
        raise UsageMistake(str(error)) from error
