"""Lobbies whose parties have real keys and DIDs and talk in memory."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from agent.claims.evidence import Evidence
from agent.lobby.events import Began, GuestEvent, HostEvent, Over, Settling
from agent.lobby.guest import LobbyGuest
from agent.lobby.host import Host
from agent.lobby.link import LobbyLink
from agent.lobby.seats import Terms
from agent.session.descriptor import Draft
from messaging.protocols.lobby import Claim, LobbyMessage, Offered, Requirement, pieces_of
from tests.support.sessions import NOW, Party, draft_of, make_parties

ARCHIVE = b"a program" * 30_000  # three pieces
PROGRAM = Offered("auction", sha256(ARCHIVE).hexdigest(), len(pieces_of(ARCHIVE)))
OTHER_ARCHIVE = b"another one" * 30_000

Mail = tuple[str, str, LobbyMessage]  # sender, recipient, message


def draft_for(parties: Sequence[str], roles: Sequence[str]) -> Draft:
    """What an honest party makes of a roster, having read the program."""
    return replace(draft_of([]), parties=tuple(parties), sha256=PROGRAM.sha256)


@dataclass
class Lobby:
    """A host and its guests, and the mail between them that nobody has delivered yet.

    `parties[0]` hosts. Everybody's owner agrees to everything at once, as far as `obliging`.
    """

    parties: Sequence[Party]
    seats: int = 0
    obliging: bool = True
    now: float = NOW
    requires: tuple[Requirement, ...] = ()
    claims: dict[str, tuple[Claim, ...]] = field(default_factory=dict)  # what each shows, by DID
    host: Host = field(init=False)
    link: LobbyLink = field(init=False)
    guests: dict[str, LobbyGuest] = field(default_factory=dict)
    events: dict[str, list[HostEvent | GuestEvent]] = field(default_factory=dict)
    mail: list[Mail] = field(default_factory=list)
    sent: int = 0
    joins: int = 0

    def __post_init__(self) -> None:
        me = self.parties[0]
        self.link = LobbyLink.new(me.did, "auction", int(NOW) + 3600)
        self.host = self.new_host(secrets.token_urlsafe(32))
        self.collect()

    def new_host(self, nonce: str) -> Host:
        me, seats = self.parties[0], self.seats or len(self.parties)
        terms = Terms(
            lobby=self.link.lobby,
            token=self.link.token,
            title="an auction",
            program=PROGRAM,
            seats=seats,
            least=2,
            roles=("party",) * seats,
            expires=self.link.expires,
            requires=self.requires,
        )
        return Host(
            terms,
            me=me.did,
            name="host",
            nonce=nonce,
            speaker=me.speaker,
            draft_for=draft_for,
            pieces=pieces_of(ARCHIVE),
            claims=self.claims.get(me.did, ()),
        )

    def join(self, index: int, *, link: LobbyLink | None = None) -> LobbyGuest:
        """A party calls `agent join`; one that calls again has lost everything."""
        party = self.parties[index]
        self.joins += 1
        guest = LobbyGuest(
            link or self.link,
            me=party.did,
            name=f"guest {index}",
            role="",
            nonce=secrets.token_urlsafe(32),
            created=int(self.now * 1000) + self.joins,
            speaker=party.speaker,
            now=self.now,
        )
        self.guests[party.did] = guest
        self.events[party.did] = []
        self.collect()
        return guest

    def restart(self, index: int, kept: Mapping[str, Any]) -> LobbyGuest:
        """A party's agent reads what it kept, in another process."""
        party = self.parties[index]
        guest = LobbyGuest(
            self.link,
            me=party.did,
            name="",
            role="",
            nonce=kept["nonce"],
            created=kept["created"],
            speaker=party.speaker,
            now=self.now,
        )
        guest.restore(kept, self.now)
        self.guests[party.did] = guest
        return guest

    def guest(self, index: int) -> LobbyGuest:
        return self.guests[self.parties[index].did]

    def knows(self, machine: Host | LobbyGuest) -> None:
        documents = {party.did: party.document for party in self.parties}
        if isinstance(machine, Host):
            machine.know(documents, self.now)
        else:
            machine.know(documents, self.now, self.evidence())

    def evidence(self) -> Evidence:
        return Evidence({party.did: party.document for party in self.parties})

    def collect(self) -> None:
        """Take what the machines want to send, and what they have to tell, and do as it says."""
        machines: dict[str, Host | LobbyGuest] = {self.parties[0].did: self.host, **self.guests}
        for did, machine in machines.items():
            while (event := machine.next_event()) is not None:
                self.events.setdefault(did, []).append(event)
                if self.obliging:
                    self.oblige(did, machine, event)
            new = [(did, to, message) for to, message in machine.messages_to_send()]
            self.sent += len(new)
            self.mail += new

    def oblige(self, did: str, machine: Host | LobbyGuest, event: HostEvent | GuestEvent) -> None:
        kind = type(event).__name__
        if isinstance(event, Settling):
            self.knows(machine)
            machine.confirm(self.now)
        elif isinstance(machine, Host) and kind == "Knocked":
            with contextlib.suppress(ValueError):
                machine.admit(event.did, self.now)  # type: ignore[union-attr]
        elif isinstance(machine, LobbyGuest) and kind == "Admitted":
            machine.approve(draft_for, self.now)
        elif isinstance(machine, LobbyGuest) and kind == "Wanted":
            machine.present(self.claims.get(did, ()), self.now)
        elif isinstance(machine, Host) and kind == "Presented":
            machine.examine(event.did, self.evidence(), self.now)  # type: ignore[union-attr]

    def deliver(self, position: int = 0) -> bool:
        if not self.mail:
            return False
        self.hand_over(self.mail.pop(position % len(self.mail)))
        return True

    def hand_over(self, mail: Mail) -> None:
        sender, to, message = mail
        if to == self.parties[0].did:
            self.host.handle_message(sender, message, self.now)  # type: ignore[arg-type]
        elif to in self.guests:
            self.guests[to].handle_message(sender, message, self.now)  # type: ignore[arg-type]
        self.collect()

    def deliver_all(self) -> None:
        while self.deliver():
            pass

    def wait(self, seconds: float) -> None:
        self.now += seconds
        for machine in (self.host, *self.guests.values()):
            machine.handle_timer(self.now)
        self.collect()

    def settle_down(self) -> None:
        """Until nothing happens any more for a while."""
        for _ in range(8):
            self.deliver_all()
            self.wait(1000 / 8)
        self.deliver_all()

    def began(self, index: int) -> Began | None:
        told = self.events.get(self.parties[index].did, [])
        return next((event for event in reversed(told) if isinstance(event, Began)), None)

    def over(self, index: int) -> Over | None:
        told = self.events.get(self.parties[index].did, [])
        return next((event for event in told if isinstance(event, Over)), None)


def gathered(count: int) -> Lobby:
    """A lobby of so many parties that has begun."""
    lobby = Lobby(make_parties(count))
    for index in range(1, count):
        lobby.join(index)
        lobby.deliver_all()
    return lobby
