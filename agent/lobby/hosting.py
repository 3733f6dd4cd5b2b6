"""A lobby from its host's chair: opens it, lets people in, and gathers a session's beginning."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from agent.claims.evidence import Proof
from agent.errors import MailboxError
from agent.lobby.code import Door, Doorkeeper, door_of
from agent.lobby.events import (
    Began,
    Came,
    Gathered,
    GotReady,
    HostEvent,
    Knocked,
    NotProven,
    Over,
    Parted,
    Presented,
    Reopened,
    Settling,
)
from agent.lobby.host import Host
from agent.lobby.room import LobbyOver, Room
from agent.lobby.sitting import Sitting
from agent.lobby.words import called, proven, roster_facts
from agent.words import new_code
from messaging.errors import MessagingError
from messaging.protocols.lobby import Answer, Call, GiveLink, LobbyMessage, Prove, Speak
from resolvers.resolver import ResolutionError

MAX_CODES = 3  # of a lobby: each lets anybody guess once
DOORS = 5  # tried, when others stand in one


class Admission(StrEnum):
    """Whom the host lets in without asking its owner."""

    ASK = "ask"  # nobody
    CONTACTS = "contacts"  # whom we have a name for
    ANYONE = "anyone"  # whoever has the link


@dataclass
class Hosting:
    """Opens a lobby, and `gather`s."""

    room: Room
    host: Host
    link: str
    mediator: str  # its DID
    admission: Admission
    called: Sequence[str]  # DIDs that hear of the lobby from us, and are let in
    proofs: Sequence[Proof] = ()  # what our own claims come to
    _keeper: Doorkeeper | None = None
    _door: Door | None = None
    _first_words: set[str] = field(default_factory=set)  # of all codes so far
    _codes: int = 0
    _told: str = ""
    _sitting: Sitting = field(init=False)

    def __post_init__(self) -> None:
        terms = self.host.terms
        self._sitting = Sitting(
            self.room,
            self.host,
            terms.lobby,
            terms.expires,
            on_change=self._react,
            save=lambda: self.room.file.write({**self.host.to_json(), "link": self.link}),
            aside=self._aside,
        )

    async def gather(self) -> Gathered:
        """Until everybody has signed the same roster. Raises: LobbyOver, WentAway."""
        try:
            return await self._sitting.last(self._open, "agent host --resume goes on with it")
        finally:
            await self._close_door()

    def _open(self) -> None:
        self._react()
        self._sitting.start(self._obey())
        self._sitting.start(self._open_door())
        for did in self.called:
            self._sitting.send(did, Call(self.link))

    # what the machine tells

    def _react(self) -> None:
        while (event := self.host.next_event()) is not None:
            self._act(event)
        self._tell_waiting()

    def _act(self, event: HostEvent) -> None:
        room = self.room
        match event:
            case Presented(did):
                self._sitting.start(self._examine(did))
            case NotProven(did, reason):
                text = f"{self._called(did)} was refused: {reason}"
                room.tell("not-proven", text, did=did, reason=reason)
            case Knocked():
                self._knocked(event)
            case Came(did):
                room.tell("admitted", f"{self._called(did)} is in", did=did)
            case GotReady(did):
                room.tell("ready", f"{self._called(did)} is ready", did=did)
            case Parted(did, reason):
                room.tell("left", f"{self._called(did)} is gone: {reason}", did=did)
            case Settling():
                self._sitting.start(self._settle(event))
            case Reopened(reason):
                room.tell("reopened", f"the roster is open again: {reason}")
            case Began(gathered):
                room.tell("began", "everybody has signed the same roster")
                self._sitting.end(gathered)
            case Over(reason):
                self._sitting.fail(LobbyOver(f"the lobby is over: {reason}"))

    async def _examine(self, did: str) -> None:
        evidence = await self.room.issuers.evidence(self.host.terms.requires)
        self.host.examine(did, evidence, time.time())
        self._sitting.pump()

    def _knocked(self, knock: Knocked) -> None:
        known = self.room.contacts.of(knock.did) is not None
        proofs = [proven(self.room.contacts, proof) for proof in knock.proofs]
        who = ", ".join([called(self.room.contacts, knock.did, knock.name), *proofs])
        facts = {"did": knock.did, "calls_itself": knock.name, "known": known}
        self.room.tell("knock", f"{who} knocks", **facts)
        welcome = (
            self.admission is Admission.ANYONE
            or knock.did in self.called
            or (self.admission is Admission.CONTACTS and known)
        )
        if welcome:
            self._admit(knock.did)
        elif self.room.person.is_there:
            self._sitting.start(self._ask_about(knock.did, who))

    async def _ask_about(self, did: str, who: str) -> None:
        if await self.room.person.agrees(f"Let {who} in?", "admit", did=did):
            self._admit(did)
        else:
            self.host.refuse(did, "the host does not let you in", time.time())
        self._sitting.pump()

    def _admit(self, did: str) -> None:
        try:
            self.host.admit(did, time.time())
        except ValueError as error:
            self.room.tell("not-admitted", str(error), did=did)

    async def _settle(self, settling: Settling) -> None:
        """Look everybody up, show the phrase, and confirm, if the roster is still the same."""
        documents = await self.room.documents(settling.gathered.draft.parties)
        self.host.know(documents, time.time())
        same = await self.room.same_phrase(settling.gathered.descriptor)
        if self.host.gathered != settling.gathered:
            return
        if same:
            self.host.confirm(time.time())
        else:
            self.host.close("the words that people read to each other differ", ours=True)
        self._sitting.pump()

    # what our owner says

    async def _obey(self) -> None:
        while True:
            words = (await self.room.person.word()).split(maxsplit=1)
            if words:
                self._do(words[0].lower(), words[1] if len(words) > 1 else "")
                self._sitting.pump()

    def _do(self, verb: str, about: str) -> None:
        now = time.time()
        try:
            match verb:
                case "admit":
                    self.host.admit(self._meant(about), now)
                case "refuse":
                    self.host.refuse(self._meant(about), "the host does not let you in", now)
                case "lock":
                    self.host.lock(now)
                    self.room.tell("locked", "nobody else may knock")
                case "start":
                    self.host.start(now)
                case "close":
                    self.host.close("the host closed it", ours=True)
                case _:
                    self.room.tell("help", "say admit WHO, refuse WHO, lock, start or close")
        except ValueError as error:
            self.room.tell("not-done", str(error))

    def _meant(self, about: str) -> str:
        """The guest that a person means: by name, by part of its DID, or the only one."""
        guests = list(self.host.guests.values())
        if not about:
            guests = self.host.knocking()
        found = [
            guest.did
            for guest in guests
            if not about or about in (guest.name, self._called(guest.did)) or about in guest.did
        ]
        if len(found) != 1:
            raise ValueError(f"{about or 'that'!r} names {len(found)} guests")
        return found[0]

    # the spoken code

    async def _open_door(self) -> None:
        """Stand in a door of a fresh code; without one the link is the only way in."""
        for _ in range(DOORS):
            code = new_code(self._first_words)
            # Who still tries a burnt code must not come to the next one's door, and burn it.
            self._first_words.add(code.partition("-")[0])
            door = door_of(code, self.mediator)
            try:
                await self.room.mailbox.open_door(door.did, door.keys)
            except (MailboxError, MessagingError, ResolutionError) as error:
                trouble = str(error)
                continue
            self._codes += 1
            self._keeper = Doorkeeper(code, self.room.me, self.link)
            self._door = door
            self.room.tell("code", f"or say: {code.replace('-', ' ')}", code=code)
            return
        self.room.tell("no-code", f"no spoken code this time: {trouble}")

    async def _close_door(self) -> None:
        door, self._door = self._door, None
        if door is not None:
            try:
                await self.room.mailbox.close_door(door.did)
            except (MailboxError, MessagingError, ResolutionError) as error:
                self.room.trouble(str(error))

    def _aside(self, sender: str, content: LobbyMessage) -> bool:
        if self._keeper is None or not isinstance(content, Speak | Answer | Prove | GiveLink):
            return False
        for did, answer in self._keeper.handle_message(sender, content):
            self._sitting.send(did, answer)
        if self._keeper.burnt:
            self._keeper = None
            self.room.tell("burnt", "somebody tried a wrong code: it is burnt")
            self._sitting.start(self._another_code())
        return True

    async def _another_code(self) -> None:
        await self._close_door()
        if self._codes < MAX_CODES:
            await self._open_door()
        else:
            self.room.tell("no-code", "no more codes in this lobby; the link still works")

    # words

    def _tell_waiting(self) -> None:
        roster = self.host.roster()
        proofs = {self.room.me: self.proofs}
        proofs |= {guest.did: guest.proofs for guest in self.host.guests.values()}
        facts = roster_facts(self.room.contacts, roster, self.room.me, proofs)
        waiting = [self._called(did) for did in self.host.waiting_for()]
        free = roster.seats - len(roster.entries)
        missing = [*waiting, *([f"{free} more to knock"] if free else [])]
        text = str(facts["text"]) + (f". Waiting for {', '.join(missing)}" if missing else "")
        if text != self._told and not self._sitting.is_over:
            self._told = text
            self.room.report.event(
                "lobby", what="roster", waiting=missing, **{**facts, "text": text}
            )

    def _called(self, did: str) -> str:
        guest = self.host.guests.get(did)
        return called(self.room.contacts, did, guest.name if guest else "")
