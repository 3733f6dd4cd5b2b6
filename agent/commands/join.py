"""`agent join`: knock at a lobby, see what will run and with whom, and compute with them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from agent.claims.wallet import NotShown
from agent.contacts import Contacts
from agent.errors import Exit, UsageMistake
from agent.first_profile import own_profile
from agent.launch.inputs import read_inputs
from agent.launch.program import Program
from agent.launch.store import ProgramStore
from agent.lobby.calls import link_for, next_call
from agent.lobby.files import LobbyFile
from agent.lobby.guest import LobbyGuest
from agent.lobby.joining import Joining
from agent.lobby.link import LobbyLink, mediator_of, parse_link
from agent.lobby.room import LobbyOver, Room
from agent.lobby.words import called
from agent.mail.invitation import find_mediator
from agent.mail.mailbox import Mailbox
from agent.mail.transport import Transport
from agent.network_helper.client import HANDED_OVER, NetworkHelper
from agent.person import Person
from agent.privileges import drop_root, ordinary_user
from agent.profile import Choice, session_options
from agent.report import Report
from agent.rootless.handover import is_inside
from agent.rootless.outside import rootless_option, run_inside
from agent.session.start import Computer, make_draft, speaker_of
from agent.taking_part import Manner, Part, check_line, issuers_for, lobby_options
from agent.words import parse_code
from identity.keystore import Profile
from resolvers.registry import default_registry
from resolvers.resolver import Resolver

LONG_TURN = 60.0  # seconds; turns that fail sooner are followed by a pause, up to as long


@dataclass(frozen=True)
class Wishes:
    """What the command line asks for."""

    role: str
    standing: bool
    part: Part
    manner: Manner


@click.command(
    "join",
    epilog="""\b
Examples:
  agent join 'https://mediator.example/i/?_oob=…#…' --input bid=150
  agent join lemon-river-stone --mediator https://mediator.example --input @bid.txt
  agent join --input bid=150
  agent join --standing --input @bid.txt
  agent join 'https://mediator.example/i/?_oob=…#…' --input bid=150 --claim vouch.txt

Who has no DID yet gets one, with its mail at the mediator of the link or code. Called again with
the same link it comes back to its seat. A program that does not come along wants your approval
before it runs. Without a link it waits until one of your contacts calls. With --standing it goes on
waiting, and takes part without asking in what you allowed by `agent allow`, and in nothing else.
Where the host requires claims, you see which and who will see them before they are shown; a vouch
that you gave by --claim is kept below $DIDMESH_HOME/claims until you remove its file.
Standard output carries the program's result and nothing else.

Exit codes: as `agent run`; 5 the link or the code is not the host's; 6 you were not let in, the
lobby was closed or has expired, you did not approve the program, or showed no claim.""",
)
@click.argument("link", required=False)
@click.option("--mediator", metavar="URL|DID", help="Where a spoken code leads to.")
@click.option("--role", default="", metavar="ROLE", help="The seat that you would like.")
@click.option("--standing", is_flag=True, help="Take part in what you allowed, again and again.")
@lobby_options
@rootless_option
@session_options
def command(
    choice: Choice,
    link: str | None,
    mediator: str | None,
    role: str,
    standing: bool,
    part: Part,
    manner: Manner,
    rootless: bool,
) -> None:
    """Knock at the lobby of LINK (or of a spoken code), and compute with whom you meet there."""
    check_line(role)
    if standing and link is not None:
        raise UsageMistake("--standing waits for calls, it follows no link")
    target = _target(link, mediator)
    if isinstance(target, LobbyLink):
        mediator = mediator_of(str(link))
    # A helper that is handed over serves one session: who handed it over starts the turns.
    if standing and not is_inside() and HANDED_OVER not in os.environ:
        _take_turns()
    run_inside(rootless)
    user = ordinary_user(os.environ) if os.geteuid() == 0 else None
    wishes = Wishes(role, standing, part, manner)
    code = asyncio.run(_join(user, choice, target, mediator, wishes))
    click.get_current_context().exit(code)


def _take_turns() -> None:
    """Return in a new process for every turn; this one starts the next and reads nothing.

    A turn gives up its privileges, and its helper serves one session: so a process each.
    """
    pause = 0.0
    while (child := os.fork()) != 0:
        began = time.monotonic()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_, child=child: _end(child))
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code not in (Exit.OK, Exit.FAILED, Exit.TIMEOUT, Exit.REFUSED):
            click.get_current_context().exit(code)
        short = code != Exit.OK and time.monotonic() - began < LONG_TURN
        pause = min(2 * pause + 1, LONG_TURN) if short else 0.0
        time.sleep(pause)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(child: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGTERM)
    os.waitpid(child, 0)
    os._exit(int(Exit.OK))


def _target(text: str | None, mediator: str | None) -> LobbyLink | str | None:
    """A link, a code, or nothing. Raises: UsageMistake, LinkExpired, LinkSwapped."""
    if text is None or "://" in text:
        return None if text is None else parse_link(text, time.time())
    if mediator is None:
        raise UsageMistake(
            "this is no link; for a spoken code, say which mediator",
            f"agent join {text} --mediator https://mediator.example",
        )
    try:
        return parse_code(text)
    except ValueError as error:
        raise UsageMistake(str(error)) from error


async def _join(
    user: int | None,
    choice: Choice,
    target: LobbyLink | str | None,
    mediator: str | None,
    wishes: Wishes,
) -> int:
    async with NetworkHelper.start(user) as helper:
        if user is not None:
            drop_root(user)  # from here on we read what strangers send
        profile = await own_profile(choice, mediator, wishes.part.report)
        resolver = default_registry()
        async with wishes.part.mailbox(choice, profile, resolver) as mailbox:
            guest = _Guest(choice, profile, resolver, helper, mailbox, wishes)
            if isinstance(target, LobbyLink):
                return await guest.follow(target)
            if isinstance(target, str):
                return await guest.follow(await guest.ask_for_link(target, str(mediator)))
            return await guest.follow(await guest.called())


@dataclass(frozen=True)
class _Guest:
    choice: Choice
    profile: Profile
    resolver: Resolver
    helper: NetworkHelper
    mailbox: Mailbox
    wishes: Wishes

    @property
    def report(self) -> Report:
        return self.wishes.part.report

    async def follow(self, link: LobbyLink) -> int:
        """Take a seat in this lobby and compute; the exit code."""
        file = LobbyFile(self.choice.folder, self.choice.name, link.lobby)
        kept = file.read()
        if kept and kept["gathered"] is not None:
            return await self.go_on(link, kept)
        store = ProgramStore(self.choice.folder)
        async with self._person() as person:
            room = self._room(person, file, link.lobby)
            document = await self.resolver.resolve(self.profile.did)
            machine = LobbyGuest(
                link,
                me=self.profile.did,
                name=self.wishes.manner.name,
                role=self.wishes.role,
                nonce=kept["nonce"] if kept else secrets.token_urlsafe(32),
                created=kept["created"] if kept else int(time.time() * 1000),
                speaker=speaker_of(self.profile, document),
                now=time.time(),
            )
            if kept:
                machine.restore(kept, time.time())
            joining = Joining(room, machine, store, self.wishes.part.inputs, self.wishes.standing)
            try:
                gathered = await joining.gather()
            except (LobbyOver, NotShown):
                file.remove()
                raise
            seats = machine.roster.entries if machine.roster else ()
            names = {seat.did: seat.name for seat in seats}
            me = self.profile.did
            parties = gathered.draft.parties
            room.contacts.meet({did: names.get(did, "") for did in parties if did != me})
        if joining.program is None:
            raise RuntimeError("a lobby begins with a program that was approved")
        computer = self._computer(joining.program, joining.inputs)
        nonce = gathered.nonces[parties.index(me)]
        code = await computer.compute(gathered.draft, self.mailbox, nonce, gathered.created / 1000)
        file.remove()
        return code

    async def go_on(self, link: LobbyLink, kept: Mapping[str, Any]) -> int:
        """Compute what a lobby began, after an interruption."""
        text = "this lobby has begun; going on from there"
        self.report.event("lobby", what="resumed", text=text)
        program = ProgramStore(self.choice.folder).get(kept["roster"]["program"]["sha256"])
        begun = kept["gathered"]
        draft = make_draft(program, begun["parties"], begun["roles"])
        role = draft.roles[draft.parties.index(self.profile.did)]
        inputs = read_inputs(program.manifest, self.wishes.part.inputs, role)
        code = await self._computer(program, inputs).compute(draft, self.mailbox)
        LobbyFile(self.choice.folder, self.choice.name, link.lobby).remove()
        return code

    async def ask_for_link(self, code: str, mediator: str) -> LobbyLink:
        """What a spoken code stands for."""
        async with Transport() as transport:
            found = (await find_mediator(mediator, transport)).mediator
        return await link_for(code, self.mailbox, str(found))

    async def called(self) -> LobbyLink:
        """The lobby that a contact calls us to, and that our owner wants to see."""
        contacts = Contacts(self.choice.folder)
        while True:
            self.report.event("lobby", what="waiting", text="waiting until a contact calls")
            async with self._person() as person:
                link = await next_call(self.mailbox, contacts)
                who = called(contacts, link.host, "")
                text = f"{who} calls you: {link.goal}"
                self.report.event("lobby", what="called", text=text, host=link.host)
                asks = person.is_there and not (self.wishes.manner.trusting or self.wishes.standing)
                wanted = not asks or await person.agrees(
                    f"{text}. Knock there?", "knock", host=link.host, goal=link.goal
                )
            if wanted:
                return link

    def _person(self) -> Person:
        return self.wishes.manner.person(self.report)

    def _room(self, person: Person, file: LobbyFile, lobby: str) -> Room:
        issuers = issuers_for(self.resolver, self.report)
        wallet = self.wishes.manner.wallet(
            self.choice, self.profile.did, lobby, issuers, self.report
        )
        return Room(
            me=self.profile.did,
            mailbox=self.mailbox,
            resolver=self.resolver,
            contacts=Contacts(self.choice.folder),
            person=person,
            report=self.report,
            file=file,
            issuers=issuers,
            wallet=wallet,
            trusting=self.wishes.manner.trusting or self.wishes.standing,
        )

    def _computer(self, program: Program, inputs: Mapping[str, int]) -> Computer:
        return Computer(
            self.choice,
            self.profile,
            program,
            inputs,
            self.helper,
            self.resolver,
            self.wishes.part,
        )
