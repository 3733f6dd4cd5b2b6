"""A lobby from a guest's chair: knocks, shows what will run, asks its owner, and waits."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agent.claims.evidence import Moment, Proof, Unproven
from agent.claims.proving import prove
from agent.errors import AgentError, Exit
from agent.launch import describing
from agent.launch.difference import difference
from agent.launch.inputs import InputError, read_inputs
from agent.launch.program import Program, ProgramError
from agent.launch.store import ProgramStore
from agent.lobby.events import (
    Admitted,
    Began,
    DraftMaker,
    Gathered,
    GuestEvent,
    Over,
    PieceCame,
    ProgramCame,
    Reopened,
    RosterChanged,
    Settling,
    Wanted,
)
from agent.lobby.guest import LobbyGuest
from agent.lobby.room import LobbyOver, Room
from agent.lobby.sitting import Sitting
from agent.lobby.words import called, required, roster_facts
from agent.session.descriptor import Draft
from agent.session.start import make_draft
from messaging.protocols.lobby import Requirement, Roster, to_jsons


class NotConsented(AgentError):
    """The program may not run here: its owner said no, or nobody could be asked."""

    exit_code = Exit.REFUSED

    def __init__(self, name: str, sha256: str) -> None:
        super().__init__(
            f"you have not approved {name} {sha256[:16]}",
            f"it is kept: agent program show {sha256[:16]}, agent program approve {sha256[:16]}; "
            "then join again",
        )


@dataclass
class Joining:
    """Knocks, and `gather`s."""

    room: Room
    guest: LobbyGuest
    store: ProgramStore
    given: Sequence[str]  # inputs as the command line has them
    standing: bool = False  # only what its owner allowed for exactly these parties
    program: Program | None = None
    inputs: Mapping[str, int] = field(default_factory=dict)
    _archive: asyncio.Future[bytes] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    _sitting: Sitting = field(init=False)

    def __post_init__(self) -> None:
        link = self.guest.link
        self._sitting = Sitting(
            self.room,
            self.guest,
            link.lobby,
            link.expires,
            on_change=self._react,
            save=lambda: self.room.file.write(self.guest.to_json()),
        )

    async def gather(self) -> Gathered:
        """Until everybody has signed the same roster.

        Raises: LobbyOver, WentAway, NotConsented, InputError.
        """
        return await self._sitting.last(self._knock, "the same agent join brings you back")

    def _knock(self) -> None:
        self._react()
        self._sitting.start(self._obey())
        link = self.guest.link
        host = called(self.room.contacts, link.host, "")
        self.room.tell(
            "knocked",
            f"knocked at the lobby of {host}: {link.goal}. Waiting for the host to let you in",
            host=link.host,
            goal=link.goal,
            waiting=[host],
        )

    # what the machine tells

    def _react(self) -> None:
        while (event := self.guest.next_event()) is not None:
            self._act(event)

    def _act(self, event: GuestEvent) -> None:
        room = self.room
        match event:
            case Wanted(requires):
                self._sitting.start(self._show_claims(requires))
            case Admitted(roster):
                room.tell("admitted", f"you are in: {roster.title}", title=roster.title)
                self._sitting.start(self._tell_roster(roster))
                self._sitting.start(self._decide(roster))
            case RosterChanged(roster):
                self._sitting.start(self._tell_roster(roster))
            case PieceCame(have, of):
                room.tell("piece", f"the program: {have} of {of} pieces", have=have, of=of)
            case ProgramCame(archive):
                if not self._archive.done():
                    self._archive.set_result(archive)
            case Settling():
                self._sitting.start(self._settle(event))
            case Reopened(reason):
                room.tell("reopened", f"the roster is open again: {reason}")
            case Began(gathered):
                room.tell("began", "everybody has signed the same roster")
                self._sitting.end(gathered)
            case Over(reason):
                self._sitting.fail(LobbyOver(f"the lobby is over for you: {reason}"))

    async def _obey(self) -> None:
        """What our owner says."""
        while (await self.room.person.word()).lower() != "leave":
            self.room.tell("help", "say leave to give up your seat")
        self.guest.leave("its owner left")
        self._sitting.fail(LobbyOver("you left the lobby"))
        self._sitting.pump()

    async def _show_claims(self, requires: Sequence[Requirement]) -> None:
        """Say what is required and who will see it, and show it if our owner agrees."""
        words = required(self.room.contacts, requires)
        self.room.tell("required", f"this lobby requires {words}", requires=to_jsons(requires))

        async def consent() -> bool:
            question = f"Show this: {words}?"
            return await self.room.person.agrees(question, "claims", requires=to_jsons(requires))

        asks = self.room.person.is_there and not self.standing
        try:
            claims = await self.room.wallet.claims_for(requires, consent if asks else None)
        except AgentError as error:
            self.guest.leave("it does not show what is required")
            self._sitting.fail(error)
        else:
            self.guest.present(claims, time.time())
        self._sitting.pump()

    async def _decide(self, roster: Roster) -> None:
        """Get the program, have it approved, ask for inputs, and say that we are ready."""
        try:
            program = await self._fetched(roster)
            self._tell_program(program)
            if not await self._approved(program):
                self.guest.leave(f"{program.name} is not approved there")
                self._sitting.fail(NotConsented(program.name, program.sha256))
            else:
                role = next(seat.role for seat in roster.entries if seat.did == self.room.me)
                inputs = await self._asked(program, role)
                self.program, self.inputs = program, inputs
                self.guest.approve(self._draft_maker(program, role), time.time())
                self.room.tell("ready", "you are ready; waiting for the others")
        except (InputError, ProgramError) as error:
            self.guest.leave("it cannot take part with these inputs, or this program")
            self._sitting.fail(error)
        self._sitting.pump()

    async def _fetched(self, roster: Roster) -> Program:
        sha256 = roster.program.sha256
        if self.store.has(sha256):
            return self.store.get(sha256)
        self.room.tell("fetch", f"fetching {roster.program.name} from the host", sha256=sha256)
        self.guest.fetch(time.time())
        self._sitting.pump()
        return self.store.add_archive(await self._archive, sha256)

    def _tell_program(self, program: Program) -> None:
        approved = self.store.is_approved(program.sha256)
        opens = "; ".join(f"{one.what}, to {one.audience}" for one in program.manifest.opens)
        self.room.tell(
            "program",
            f"will run {program.name} {program.sha256[:16]}; opens {opens}",
            program=describing.to_json(program, None, approved=approved),
        )

    async def _approved(self, program: Program) -> bool:
        if self.store.is_approved(program.sha256):
            return True
        if self.room.trusting or not self.room.person.is_there:
            return False
        earlier = self.store.last_approved(program.name, but=program.sha256)
        changes = None if earlier is None else difference(earlier, program)
        for line in describing.lines(program, changes, approved=False):
            self.room.tell("show", line)
        shown = describing.to_json(program, changes, approved=False)
        question = "Let this program run with your inputs?"
        if not await self.room.person.agrees(question, "program", program=shown):
            return False
        self.store.approve(program)
        return True

    def _draft_maker(self, program: Program, role: str) -> DraftMaker:
        """The draft that we make of a roster in which we have this role."""

        def draft_for(parties: Sequence[str], roles: Sequence[str]) -> Draft:
            manifest = program.manifest
            if not manifest.min_parties <= len(parties) <= manifest.max_parties:
                raise ValueError(f"the program is not for {len(parties)} parties")
            if Counter(roles) != Counter(manifest.seats(len(parties))):
                raise ValueError("the final roster has other roles than the program")
            if roles[parties.index(self.room.me)] != role:
                raise ValueError("the final roster has another role for us")
            return make_draft(program, parties, roles)

        return draft_for

    async def _asked(self, program: Program, role: str) -> dict[str, int]:
        """All inputs: those given on the command line, and answers for the others."""
        given = list(self.given)
        if self.room.person.is_there and not any(text.startswith("@") for text in given):
            have = {text.partition("=")[0].strip() for text in given}
            for wanted in program.manifest.inputs_of(role):
                if wanted.name not in have:
                    question = f"{wanted.name}: {wanted.title} ({wanted.range})?"
                    about = {"name": wanted.name, "title": wanted.title}
                    limits = {"min": wanted.min, "max": wanted.max}
                    answer = await self.room.person.line(question, "input", **about, **limits)
                    given.append(f"{wanted.name}={answer}")
        return read_inputs(program.manifest, given, role)

    async def _settle(self, settling: Settling) -> None:
        """Look everybody up, show the phrase, and sign, if the roster is still the same."""
        parties = settling.gathered.draft.parties
        sha256 = str(settling.gathered.descriptor.content["program"]["sha256"])
        if self.standing and not self.store.consents.allows(sha256, parties, time.time()):
            self.guest.leave("its owner has not allowed this program with these parties")
            self._sitting.pump()
            return
        documents = await self.room.documents(parties)
        evidence = await self.room.issuers.evidence(settling.gathered.requires)
        self.guest.know(documents, time.time(), evidence)
        same = await self.room.same_phrase(settling.gathered.descriptor)
        if not self.guest.is_settled_on(settling.gathered):
            return
        if same:
            self.guest.confirm(time.time())
            if self.guest.is_settled_on(settling.gathered):
                self.room.tell("signed", "you signed the roster; waiting for everybody's signature")
        else:
            self.guest.leave("the words that people read to each other differ")
        self._sitting.pump()

    async def _tell_roster(self, roster: Roster) -> None:
        proofs = await self._proofs(roster) if roster.requires else {}
        if roster is self.guest.roster:
            facts = roster_facts(self.room.contacts, roster, self.room.me, proofs)
            self.room.report.event("lobby", what="roster", **facts)

    async def _proofs(self, roster: Roster) -> dict[str, Sequence[Proof]]:
        """What everybody's claims come to who has shown any; by DID."""
        evidence = await self.room.issuers.evidence(roster.requires)
        proofs: dict[str, Sequence[Proof]] = {}
        moment = Moment(roster.lobby, time.time())
        for seat in roster.entries:
            with contextlib.suppress(Unproven):  # if it stays so, we sign nothing
                proofs[seat.did] = prove(seat.did, seat.claims, roster.requires, evidence, moment)
        return proofs
