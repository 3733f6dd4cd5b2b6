"""`agent host`: open a lobby, let people in, and compute with them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from agent.approval import allowed_program
from agent.contacts import Contacts
from agent.errors import UsageMistake
from agent.first_profile import own_profile
from agent.launch.inputs import read_inputs
from agent.launch.manifest import Manifest
from agent.launch.program import Program
from agent.launch.store import ProgramStore
from agent.lobby.events import Gathered
from agent.lobby.files import LobbyFile, newest_hosted
from agent.lobby.host import Host
from agent.lobby.hosting import Admission, Hosting
from agent.lobby.link import LobbyLink, new_token
from agent.lobby.requiring import login_required, own_claims, own_proofs, vouch_required
from agent.lobby.room import LobbyOver, Room
from agent.lobby.seats import Terms
from agent.mail.account import NoMediator
from agent.mail.mailbox import Mailbox
from agent.network_helper.client import NetworkHelper
from agent.output import TooNarrow, draw_qr
from agent.privileges import acting_as, drop_root, ordinary_user
from agent.profile import Choice, session_options
from agent.rootless.outside import rootless_option, run_inside
from agent.session.records import last_others
from agent.session.start import Computer, make_draft, speaker_of
from agent.taking_part import Manner, Part, check_line, issuers_for, lobby_options
from identity.keystore import home_folder
from messaging.protocols.lobby import Offered, Requirement, claims_of, pieces_of
from resolvers.registry import default_registry


@dataclass(frozen=True)
class Wishes:
    """What the command line asks for."""

    roles: tuple[str, ...]  # by seat, our own first
    title: str | None
    admission: Admission
    called: tuple[str, ...]  # DIDs
    hours: float
    manner: Manner
    requires: tuple[Requirement, ...] = ()


@click.command(
    "host",
    epilog="""\b
Examples:
  agent host auction --seats 3 --input bid=120 --mediator https://mediator.example
  agent host auction --seats 3 --input bid=120
  agent host auction --again --input bid=120
  agent host auction --with bob --with carol --input @bid.txt
  agent host auction --seats 3 --input bid=120 --require-vouch carol
  agent host auction --seats 3 --input bid=120 \\
      --require-login https://login.uni.example --client-id didmesh --email '*@uni.example'
  agent host --resume --input bid=120

Prints a link, its QR code and a spoken code. Who has them may knock; you let people in. While it
runs, type: admit WHO, refuse WHO, lock, start (without the free seats), close. Everybody signs the
same roster, and sees the same four words, before anything runs. You may interrupt it and go on
with --resume. Standard output carries the program's result and nothing else.

With --require-vouch nobody comes in for whom none of these has signed (agent vouch); you need a
vouch yourself, unless you are one of them, and every party checks those of all others. With
--require-login everybody logs in at that issuer, you too, each for its own agent; all see the
e-mail address that the issuer has verified, and check it themselves.

Exit codes: as `agent run`; 6 also when the lobby was closed or has expired.""",
)
@click.argument("program", required=False)
@click.option("--seats", type=click.IntRange(2, 64), help="Parties in all, you among them.")
@click.option("--role", metavar="ROLE", help="Your own, where parties differ in what they do.")
@click.option("--title", metavar="TEXT", help="What this is, for the people you invite.")
@click.option("--with", "called", multiple=True, metavar="NAME|DID", help="Call and let in.")
@click.option("--again", is_flag=True, help="Call everybody that you computed with last.")
@click.option(
    "--admit",
    type=click.Choice([str(choice) for choice in Admission]),
    default=str(Admission.ASK),
    show_default=True,
    help="Whom to let in without asking you.",
)
@click.option(
    "--require-vouch",
    "vouchers",
    multiple=True,
    metavar="NAME|DID",
    help="Let in only for whom this one vouches (or another one that you name so).",
)
@click.option(
    "--require-login",
    "issuer",
    metavar="ISSUER",
    help="Let in only who logs in there (OpenID Connect); its address begins with https://.",
)
@click.option("--client-id", metavar="ID", help="What that issuer calls this application.")
@click.option("--email", metavar="PATTERN", help="Whose address is this: NAME@DOMAIN or *@DOMAIN.")
@click.option(
    "--mediator", metavar="URL|DID", help="Who shall keep your mail, if you have no DID yet."
)
@click.option(
    "--hours", type=click.FloatRange(0.01, 720), default=24.0, show_default=True, help="Until when."
)
@click.option("--resume", is_flag=True, help="Go on with the lobby that you hosted last.")
@lobby_options
@rootless_option
@session_options
def command(
    choice: Choice,
    program: str | None,
    seats: int | None,
    role: str | None,
    title: str | None,
    called: tuple[str, ...],
    again: bool,
    admit: str,
    vouchers: tuple[str, ...],
    issuer: str | None,
    client_id: str | None,
    email: str | None,
    mediator: str | None,
    hours: float,
    resume: bool,
    part: Part,
    manner: Manner,
    rootless: bool,
) -> None:
    """Open a lobby for PROGRAM, and compute it with whom you let in."""
    check_line(title or "")
    login = login_required(issuer, client_id, email)
    if resume and (vouchers or login):
        raise UsageMistake("a lobby goes on with what it required before", "--resume alone")
    if resume == (program is not None):
        raise UsageMistake("name a program, or --resume", "agent host --help")
    run_inside(rootless)
    user = ordinary_user(os.environ) if os.geteuid() == 0 else None
    with acting_as(user):  # what root may read is not our user's to see
        if mediator is not None and choice.exists():
            raise UsageMistake(
                "--mediator is for who has no DID yet; yours has its mail where it is",
                "--profile NAME makes another DID",
            )
        store = ProgramStore(home_folder())
        kept = _kept(choice) if resume else None
        loaded = store.get(kept["terms"]["program"]["sha256"]) if kept else None
        loaded = loaded or allowed_program(store, str(program))
        store.add(loaded)
        contacts = Contacts(home_folder())
        others = last_others(choice.folder, choice.card().did) if again else ()
        dids = tuple(dict.fromkeys((*map(contacts.did, called), *others)))
        if kept is None:
            count = seats or len(dids) + 1
            check_seats(loaded, count, len(dids))
            roles = seat_roles(loaded.manifest, count, role)
        else:
            roles = tuple(kept["terms"]["roles"])
        values = read_inputs(loaded.manifest, part.inputs, roles[0])
        requires = (*vouch_required([contacts.did(word) for word in vouchers]), *login)
    wishes = Wishes(roles, title, Admission(admit), dids, hours, manner, requires)
    code = asyncio.run(_host(user, choice, mediator, loaded, values, wishes, kept, part))
    click.get_current_context().exit(code)


async def _host(
    user: int | None,
    choice: Choice,
    mediator: str | None,
    program: Program,
    inputs: dict[str, int],
    wishes: Wishes,
    kept: Mapping[str, Any] | None,
    part: Part,
) -> int:
    async with NetworkHelper.start(user) as helper:
        if user is not None:
            drop_root(user)  # from here on we read what strangers send
        report = part.report
        profile = await own_profile(choice, mediator, report)
        resolver = default_registry()
        computer = Computer(choice, profile, program, inputs, helper, resolver, part)
        async with part.mailbox(choice, profile, resolver) as mailbox:
            if kept and kept["gathered"] is not None:
                text = "this lobby has begun; going on from there"
                report.event("lobby", what="resumed", text=text)
                file = LobbyFile(choice.folder, choice.name, kept["terms"]["lobby"])
                begun = kept["gathered"]
                draft = make_draft(program, begun["parties"], begun["roles"])
                code = await computer.compute(draft, mailbox)
            else:
                file, gathered = await _gather(computer, mailbox, wishes, kept)
                began = gathered.created / 1000
                code = await computer.compute(gathered.draft, mailbox, gathered.nonces[0], began)
        file.remove()
        return code


async def _gather(
    computer: Computer, mailbox: Mailbox, wishes: Wishes, kept: Mapping[str, Any] | None
) -> tuple[LobbyFile, Gathered]:
    choice, profile = computer.choice, computer.profile
    if profile.mediator is None:
        raise NoMediator(profile.did)
    manner = wishes.manner
    async with manner.person(computer.report) as person:
        terms = Terms.from_json(kept["terms"]) if kept else new_terms(computer.program, wishes)
        mediator = (await mailbox.account.endpoints()).http
        url = kept["link"] if kept else _link(terms, profile.did).to_url(mediator)
        file = LobbyFile(choice.folder, choice.name, terms.lobby)
        issuers = issuers_for(computer.resolver, computer.report)
        room = Room(
            me=profile.did,
            mailbox=mailbox,
            resolver=computer.resolver,
            contacts=Contacts(choice.folder),
            person=person,
            report=computer.report,
            file=file,
            issuers=issuers,
            wallet=manner.wallet(choice, profile.did, terms.lobby, issuers, computer.report),
            trusting=manner.trusting,
        )
        own = claims_of(kept) if kept else await own_claims(room, terms.requires)
        proofs = await own_proofs(room, terms.requires, own)
        document = await computer.resolver.resolve(profile.did)
        host = Host(
            terms,
            me=profile.did,
            name=manner.name,
            nonce=kept["nonce"] if kept else secrets.token_urlsafe(32),
            speaker=speaker_of(profile, document),
            draft_for=lambda parties, roles: make_draft(computer.program, parties, roles),
            pieces=pieces_of(computer.program.archive()),
            claims=own,
        )
        if kept:
            host.restore(kept, time.time())
        about = (url, profile.mediator, wishes.admission, wishes.called)
        hosting = Hosting(room, host, *about, proofs)
        room.tell("open", f"the lobby is open: {url}", link=url, expires=terms.expires)
        _draw(url)
        try:
            gathered = await hosting.gather()
        except LobbyOver:
            file.remove()
            raise
        others = {guest.did: guest.name for guest in host.guests.values()}
        room.contacts.meet({did: others[did] for did in gathered.draft.parties[1:]})
        return file, gathered


def new_terms(program: Program, wishes: Wishes) -> Terms:
    title = wishes.title or program.manifest.title
    archive = program.archive()
    expires = int(time.time() + wishes.hours * 3600)
    return Terms(
        lobby=new_token(),
        token=new_token(),
        title=title,
        program=Offered(program.name, program.sha256, len(pieces_of(archive))),
        seats=len(wishes.roles),
        least=program.manifest.min_parties,
        roles=wishes.roles,
        expires=expires,
        requires=wishes.requires,
    )


def seat_roles(manifest: Manifest, seats: int, own: str | None) -> tuple[str, ...]:
    """The role of every seat, our own first. Raises: UsageMistake."""
    roles = list(manifest.seats(seats))
    own = own or roles[0]
    if own not in roles:
        raise UsageMistake(
            f"{own!r} is no role of {manifest.name}", ", ".join(dict.fromkeys(roles))
        )
    roles.remove(own)
    return (own, *roles)


def check_seats(program: Program, seats: int, called: int) -> None:
    """Raises: UsageMistake."""
    least, most = program.manifest.min_parties, program.manifest.max_parties
    if not least <= seats <= most:
        raise UsageMistake(
            f"{program.name} is for {least} to {most} parties, not for {seats}",
            f"--seats {least}",
        )
    if called >= seats:
        raise UsageMistake(f"{called} others and you do not fit {seats} seats")


def _link(terms: Terms, me: str) -> LobbyLink:
    goal = f"{terms.title} ({terms.seats} parties)"
    return LobbyLink(terms.lobby, me, goal, terms.expires, terms.token)


def _kept(choice: Choice) -> dict[str, Any]:
    """What is left of the lobby that this profile hosted last. Raises: UsageMistake."""
    lobby = newest_hosted(choice.folder, choice.name)
    kept = lobby and LobbyFile(choice.folder, choice.name, lobby).read()
    if not kept:
        raise UsageMistake("you host no lobby to go on with", "agent host PROGRAM --seats N")
    return kept


def _draw(url: str) -> None:
    """The link as a QR code, for phones to carry it; where the terminal has room for it."""
    if sys.stderr.isatty():
        with contextlib.suppress(TooNarrow):
            draw_qr(url, sys.stderr)
