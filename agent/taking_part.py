"""How one takes part: the options that `agent run`, `host` and `join` have in common.

A command under `computing_options` is given `part`, a Part; under `lobby_options` `manner` as well.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from agent.browser import open_browser, way_in
from agent.claims.folder import ClaimFolder, read_given
from agent.claims.issuers import Issuers
from agent.claims.logging_in import LOGIN_SECONDS, LoggingIn, LoginFails
from agent.claims.wallet import Wallet
from agent.contacts import Contacts, following
from agent.errors import UsageMistake
from agent.mail.mailbox import Mailbox
from agent.person import Person, person_for
from agent.profile import Choice
from agent.report import JsonReport, PlainReport, Report
from agent.rootless.handover import is_inside
from identity.keystore import Profile
from messaging.protocols.lobby import MAX_NAME
from resolvers.resolver import Resolver

Command = Callable[..., Any]


@dataclass(frozen=True)
class Part:
    """What a person brings to a computation, and how long it waits for others."""

    inputs: tuple[str, ...]  # as the command line has them
    patience: int  # seconds to wait for the other parties to come
    retries: int  # how often to begin again when a party was lost
    report: Report

    def mailbox(self, choice: Choice, profile: Profile, resolver: Resolver) -> Mailbox:
        """Of this person, whose contacts it follows to their next DIDs. Raises: NoMediator."""
        mailbox = Mailbox(profile, resolver)
        contacts, report = Contacts(choice.folder), self.report
        mailbox.on_rotation(following(contacts, lambda text: report.event("contact", text=text)))
        return mailbox


@dataclass(frozen=True)
class Manner:
    """How a person is in a lobby."""

    name: str  # what it calls itself
    trusting: bool  # the phrase is shown, and not asked about
    answers: bool  # questions are events, answers JSON lines
    claims: tuple[str, ...]  # files with vouches, to be shown

    def person(self, report: Report) -> Person:
        return person_for(report, answers=self.answers)

    def wallet(
        self, choice: Choice, me: str, lobby: str, issuers: Issuers, report: Report
    ) -> Wallet:
        """With the vouches given now, which are kept for the next time, and those kept before.

        Raises: UsageMistake, OSError.
        """
        folder = ClaimFolder(choice.folder, choice.name)
        given = [read_given(word) for word in self.claims]
        for token in given:
            folder.keep(token)
        logging_in = LoggingIn(issuers, lambda url: _shown(url, report))
        return Wallet(me, lobby, folder, given, issuers, logging_in)


@contextmanager
def _shown(url: str, report: Report) -> Iterator[None]:
    """Where to log in, as words and in a browser, for as long as that may be.

    Raises: LoginFails, in namespaces of our own: no browser comes to a port there.
    """
    if is_inside():
        raise LoginFails("a browser finds no way back to a rootless agent", "without --rootless")
    text = f"log in in your browser, within {LOGIN_SECONDS / 60:g} minutes: {url}"
    report.event("lobby", what="login", text=text, url=url)
    with way_in(url) as way:
        open_browser(way)
        yield


def issuers_for(resolver: Resolver, report: Report) -> Issuers:
    """Whose keys claims are judged by; trouble with them is told as news of the lobby."""
    return Issuers(resolver, lambda text: report.event("lobby", what="issuer", text=text))


def computing_options(waiting: str) -> Callable[[Command], Command]:
    """Add --input, --timeout (to wait for whom, in words), --retries and --json."""

    def add(command: Command) -> Command:
        @functools.wraps(command)
        def with_part(
            *, inputs: tuple[str, ...], timeout: int, retries: int, as_json: bool, **rest: Any
        ) -> Any:
            report: Report = JsonReport() if as_json else PlainReport()
            return command(part=Part(inputs, timeout, retries, report), **rest)

        return _INPUT(_timeout(waiting)(_RETRIES(_JSON(with_part))))

    return add


def lobby_options(command: Command) -> Command:
    """The same, with --name, --yes, --answers and --claim."""

    @functools.wraps(command)
    def with_manner(
        *,
        part: Part,
        name: str,
        trusting: bool,
        answers: bool,
        claims: tuple[str, ...],
        **rest: Any,
    ) -> Any:
        if answers and not isinstance(part.report, JsonReport):
            raise UsageMistake("--answers goes with --json")
        check_line(name)
        return command(part=part, manner=Manner(name, trusting, answers, claims), **rest)

    add = computing_options("the others once all have signed")
    return _NAME(_CLAIM(_YES(add(_ANSWERS(with_manner)))))


def check_line(*texts: str) -> None:
    """Raises: UsageMistake, unless others may be shown each of these."""
    for text in texts:
        if not text.isprintable() or len(text) > MAX_NAME:
            raise UsageMistake(f"a name or title is one line of at most {MAX_NAME} characters")


def _timeout(waiting: str) -> Callable[[Command], Command]:
    return click.option(
        "--timeout",
        default=600,
        show_default=True,
        type=click.IntRange(1, 86_400),
        metavar="SECONDS",
        help=f"How long to wait for {waiting}.",
    )


_INPUT = click.option(
    "--input", "inputs", multiple=True, metavar="NAME=VALUE|@FILE", help="A private input of yours."
)
_RETRIES = click.option(
    "--retries",
    default=0,
    show_default=True,
    type=click.IntRange(0, 99),
    metavar="COUNT",
    help="How often to begin again when a party was lost, as soon as it is back.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print every event as a JSON line.")
_NAME = click.option("--name", default="", metavar="TEXT", help="What you call yourself.")
_CLAIM = click.option(
    "--claim",
    "claims",
    multiple=True,
    metavar="FILE|-",
    help="A vouch to show where one is required; kept for the next time.",
)
_YES = click.option(
    "--yes", "trusting", is_flag=True, help="Show the phrase, and do not ask about it."
)
_ANSWERS = click.option(
    "--answers", is_flag=True, help="With --json: questions are events, answers JSON lines."
)
