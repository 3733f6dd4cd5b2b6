"""Agents in one process, their mail at a real mediator, log in where their host requires it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.claims.folder import ClaimFolder
from agent.claims.issuers import Issuers
from agent.claims.logging_in import LoggingIn
from agent.claims.wallet import DoesNotHold, Wallet
from agent.contacts import Contacts
from agent.first_profile import make_profile
from agent.launch.program import load_shipped
from agent.launch.store import ProgramStore
from agent.lobby.events import Gathered
from agent.lobby.files import LobbyFile
from agent.lobby.guest import LobbyGuest
from agent.lobby.host import Host
from agent.lobby.hosting import Admission, Hosting
from agent.lobby.joining import Joining
from agent.lobby.link import LobbyLink
from agent.lobby.requiring import login_required, own_claims, own_proofs
from agent.lobby.room import Room
from agent.lobby.seats import Terms
from agent.mail.account import Account
from agent.mail.mailbox import Mailbox
from agent.mail.transport import Transport
from agent.session.start import make_draft, speaker_of
from messaging.protocols.lobby import Offered, pieces_of
from resolvers.registry import default_registry
from tests.support import mediator_process
from tests.support.openid import CLIENT
from tests.support.openid_server import LOOPBACK, SmallIssuer

pytestmark = pytest.mark.slow
RESOLVER = default_registry()
PATIENCE = 90.0  # seconds


@dataclass
class Yes:
    """A person who agrees to everything, and types nothing unasked."""

    bid: str
    is_there: bool = True
    asked: list[str] = field(default_factory=list)

    async def word(self) -> str:
        await asyncio.Event().wait()
        return ""

    async def line(self, question: str, kind: str, **about: object) -> str:
        return self.bid

    async def agrees(self, question: str, kind: str, **about: object) -> bool:
        self.asked.append(kind)
        return True


@dataclass
class Events:
    told: list[dict[str, Any]] = field(default_factory=list)

    def event(self, kind: str, /, **facts: Any) -> None:
        self.told.append({"event": kind, **facts})

    def last(self, what: str) -> dict[str, Any]:
        return [told for told in self.told if told.get("what") == what][-1]


@pytest.fixture(scope="module")
def mediator() -> Iterator[str]:
    with (
        mediator_process.folder() as folder,
        mediator_process.process(mediator_process.run_argv(folder / "m.db")) as started,
    ):
        yield str(mediator_process.facts(started)["did"])


class Agent:
    """One party, with a browser in which `name` logs in."""

    def __init__(self, name: str, mediator: str, issuer: SmallIssuer, home: Path) -> None:
        self.name, self.home, self.issuer = name, home / name, issuer
        self.profile = make_profile(mediator)
        self.person, self.report = Yes("120"), Events()
        self.pages: list[asyncio.Task[Any]] = []

    @contextlib.asynccontextmanager
    async def room(self, lobby: str) -> Any:
        async with Transport() as transport:
            account = Account(self.profile, RESOLVER, transport)
            await account.register(str(self.profile.mediator))
        issuers = Issuers(RESOLVER, lambda text: None, LOOPBACK)
        logging_in = LoggingIn(issuers, self.browse, seconds=30)
        folder = ClaimFolder(self.home, "default")
        async with Mailbox(self.profile, RESOLVER) as mailbox:
            yield Room(
                me=self.profile.did,
                mailbox=mailbox,
                resolver=RESOLVER,
                contacts=Contacts(self.home),
                person=self.person,  # type: ignore[arg-type]
                report=self.report,
                file=LobbyFile(self.home, "default", lobby),
                issuers=issuers,
                wallet=Wallet(self.profile.did, lobby, folder, (), issuers, logging_in),
                trusting=False,
            )

    @contextlib.contextmanager
    def browse(self, url: str) -> Iterator[None]:
        self.pages.append(asyncio.ensure_future(self.issuer.returning(self.name)(url)))
        yield

    async def host(self, terms: Terms, link: LobbyLink) -> Gathered:
        program = load_shipped("auction")
        assert program is not None
        async with self.room(terms.lobby) as room:
            own = await own_claims(room, terms.requires)
            proofs = await own_proofs(room, terms.requires, own)
            host = Host(
                terms,
                me=self.profile.did,
                name=self.name,
                nonce=secrets.token_urlsafe(32),
                speaker=speaker_of(self.profile, await RESOLVER.resolve(self.profile.did)),
                draft_for=lambda parties, roles: make_draft(program, parties, roles),
                pieces=pieces_of(program.archive()),
                claims=own,
            )
            url, mediator = link.to_url("https://m.example"), str(self.profile.mediator)
            hosting = Hosting(room, host, url, mediator, Admission.ANYONE, (), proofs)
            return await hosting.gather()

    async def join(self, link: LobbyLink) -> Gathered:
        async with self.room(link.lobby) as room:
            guest = LobbyGuest(
                link,
                me=self.profile.did,
                name=self.name,
                role="",
                nonce=secrets.token_urlsafe(32),
                created=int(time.time() * 1000),
                speaker=speaker_of(self.profile, await RESOLVER.resolve(self.profile.did)),
                now=time.time(),
            )
            return await Joining(room, guest, ProgramStore(self.home), ()).gather()


async def test_three_agents_log_in_and_sign_who_they_are_and_a_stranger_stays_outside(
    mediator: str, tmp_path: Path
) -> None:
    program = load_shipped("auction")
    assert program is not None
    async with SmallIssuer(email=lambda code: EMAILS[code]).running() as issuer:
        agents = {name: Agent(name, mediator, issuer, tmp_path) for name in EMAILS}
        alice, bob, carol, eve = agents.values()
        link = LobbyLink.new(alice.profile.did, "an auction", int(time.time()) + 600)
        terms = Terms(
            lobby=link.lobby,
            token=link.token,
            title="an auction",
            program=Offered(program.name, program.sha256, len(pieces_of(program.archive()))),
            seats=3,
            least=3,
            roles=("party",) * 3,
            expires=link.expires,
            requires=login_required(issuer.address, CLIENT, "*@uni.example"),
        )
        async with asyncio.timeout(PATIENCE):
            async with asyncio.TaskGroup() as group:
                outside = group.create_task(fails(eve.join(link)))
                tasks = [alice.host(terms, link), bob.join(link), carol.join(link)]
                going = [group.create_task(task) for task in tasks]
    assert "is not *@uni.example" in outside.result()
    told = [task.result() for task in going]
    assert len({gathered.descriptor.id for gathered in told}) == 1
    assert len({gathered.claims_sha256 for gathered in told}) == 1
    for agent in (alice, bob, carol):
        seats = agent.report.last("roster")["roster"]
        shown = {claim["who"] for seat in seats for claim in seat["claims"]}
        assert "alice@uni.example" in shown
    seats = alice.report.last("roster")["roster"]
    assert {seat["claims"][0]["text"] for seat in seats} == {
        f"{EMAILS[name]} by {issuer.address}" for name in ("alice", "bob", "carol")
    }
    assert bob.person.asked[0] == "claims", "its owner is asked before a browser opens"
    assert "everybody in the lobby" in bob.report.last("required")["text"]
    assert not any(eve.profile.did in str(event) for event in alice.report.told)


async def fails(joining: Coroutine[Any, Any, Gathered]) -> str:
    with pytest.raises(DoesNotHold) as caught:
        await joining
    return str(caught.value)


EMAILS = {
    "alice": "alice@uni.example",
    "bob": "bob@uni.example",
    "carol": "carol@uni.example",
    "eve": "eve@elsewhere.example",
}
