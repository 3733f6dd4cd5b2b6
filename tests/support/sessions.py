"""Sessions whose parties have real keys and DIDs and talk in memory."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from agent.session.descriptor import Draft, KeyAgreement
from agent.session.events import Continuation, Ended, Event
from agent.session.machine import SessionMachine
from agent.session.preshared import Decapsulator
from agent.session.statements import Speaker
from agent.session.transcript import Record, to_json
from agent.session.voice import Voice
from identity import did_peer
from identity.document import DidDocument
from identity.keys import Curve, PrivateKey
from messaging.protocols.session import Offer, SessionMessage

NOW = 1_900_000_000.0
KEM_KEY = Decapsulator.generate().encapsulation_key


@dataclass(frozen=True)
class Party:
    did: str
    key: PrivateKey

    @cached_property
    def document(self) -> DidDocument:
        return did_peer.resolve(self.did)

    @property
    def speaker(self) -> Speaker:
        return Speaker(f"{self.did}#key-2", self.key)


def make_parties(count: int) -> list[Party]:
    """Parties in the sorted order of their DIDs."""
    parties = []
    for _ in range(count):
        key = PrivateKey.generate(Curve.ED25519)
        encryption = PrivateKey.generate(Curve.X25519).public
        parties.append(Party(did_peer.create_2([encryption], [key.public], []), key))
    return sorted(parties, key=lambda party: party.did)


def draft_of(parties: Sequence[Party]) -> Draft:
    return Draft(
        parties=tuple(party.did for party in parties),
        roles=("party",) * len(parties),
        program="second_price_auction",
        sha256="ab" * 32,
        adapter="mpyc",
        threshold=1,
        runtime={"mpyc": "0.11"},
        outputs={"the winner": "all"},
        parameters={},
    )


def start(
    party: Party,
    parties: Sequence[Party],
    draft: Draft,
    now: float = NOW,
    continues: Continuation | None = None,
) -> SessionMachine:
    return SessionMachine(
        draft,
        me=party.did,
        speaker=party.speaker,
        documents={other.did: other.document for other in parties},
        nonce=secrets.token_urlsafe(32),
        encapsulation_key=KEM_KEY if draft.key_agreement is KeyAgreement.HYBRID else None,
        now=now,
        continues=continues,
    )


@dataclass
class Table:
    """All parties' machines, and the messages between them that nobody has delivered yet."""

    parties: Sequence[Party]
    draft: Draft
    machines: dict[str, SessionMachine] = field(default_factory=dict)
    events: dict[str, list[Event]] = field(default_factory=dict)
    mail: list[tuple[str, str, SessionMessage]] = field(default_factory=list)
    now: float = NOW

    def join(
        self, index: int, draft: Draft | None = None, continues: Continuation | None = None
    ) -> SessionMachine:
        """A party calls `agent run`; a party that calls again starts over."""
        party = self.parties[index]
        self.now += 0.01
        machine = start(party, self.parties, draft or self.draft, self.now, continues)
        self.machines[party.did] = machine
        self.events[party.did] = []
        self.collect()
        return machine

    def machine(self, index: int) -> SessionMachine:
        return self.machines[self.parties[index].did]

    def collect(self) -> None:
        """Take what the machines want to send, and what they have to tell."""
        for did, machine in self.machines.items():
            self.mail += [(did, to, message) for to, message in machine.messages_to_send()]
            while (event := machine.next_event()) is not None:
                self.events[did].append(event)

    def deliver(self, position: int = 0) -> bool:
        """Bring one message; mail for a party that has not joined yet waits at its mediator."""
        waiting = [mail for mail in self.mail if mail[1] in self.machines]
        if not waiting:
            return False
        sender, to, message = mail = waiting[position % len(waiting)]
        self.mail.remove(mail)
        machine = self.machines[to]
        if machine.concerns(sender, message):
            machine.handle_message(sender, message, self.now)
        self.collect()
        return True

    def deliver_all(self) -> None:
        while self.deliver():
            pass

    def beat(self) -> None:
        """Everybody's last word reaches everybody through the mesh."""
        for sender, speaker in self.machines.items():
            for did, machine in self.machines.items():
                said = speaker.own_statement()
                if did != sender and said is not None:
                    machine.handle_pulse(sender, said.text, self.now)
        self.collect()
        self.deliver_all()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        for machine in self.machines.values():
            machine.handle_timer(self.now)
        self.collect()

    def make_offers(self) -> None:
        for did, machine in self.machines.items():
            if machine.descriptor is not None and machine.state == "offering":
                offers = {
                    other: offer_for(machine.descriptor.id)
                    for other in machine.descriptor.parties
                    if other != did
                }
                machine.offers_made(offers, self.now)
        self.collect()

    def ended(self, index: int) -> Ended | None:
        events = self.events[self.parties[index].did]
        return next((event for event in events if isinstance(event, Ended)), None)

    def states(self) -> list[str]:
        return [str(machine.state) for machine in self.machines.values()]


def offer_for(session: str) -> Offer:
    return Offer(session, "", "A" * 43 + "=", {})


def other_program(draft: Draft) -> Draft:
    return replace(draft, sha256="cd" * 32)


def described(parties: Sequence[Party], draft: Draft | None = None) -> Table:
    """A table at which everybody has proposed, and nobody has signed yet."""
    found = Table(parties, draft or draft_of(parties))
    for index in range(len(parties)):
        found.join(index)
    found.deliver_all()
    return found


def offered(parties: Sequence[Party]) -> Table:
    """A table at which everybody has sent its signature and offer, which nobody has yet."""
    found = described(parties)
    found.make_offers()
    return found


def meshing(parties: Sequence[Party], draft: Draft | None = None) -> Table:
    """A table at which everybody has everybody's signature and offer."""
    found = described(parties, draft)
    found.make_offers()
    found.deliver_all()
    return found


def ready(parties: Sequence[Party]) -> Table:
    """A table at which everybody is ready and knows it of nobody else."""
    found = meshing(parties)
    for machine in found.machines.values():
        machine.mesh_ready(found.now)
    return found


def running(parties: Sequence[Party], draft: Draft | None = None) -> Table:
    """A table at which everybody runs the program."""
    found = meshing(parties, draft)
    for machine in found.machines.values():
        machine.mesh_ready(found.now)
    found.beat()
    return found


def transcripts() -> list[dict[str, Any]]:
    """Everybody's transcript of a session of three that went well."""
    found = running(make_parties(3))
    finish(found, "aa", "aa", "aa")
    return [
        to_json([Record(machine.descriptor.content, machine.statements())])
        for machine in found.machines.values()
        if machine.descriptor is not None
    ]


def finish(found: Table, *hashes: str) -> None:
    """Everybody's program ends, with results of these hashes."""
    for machine, sha256 in zip(found.machines.values(), hashes, strict=True):
        machine.program_ended(sha256, found.now)
    found.beat()


def things_in(thing: object) -> int:
    """How many things a machine keeps in lists, sets and dictionaries, however deep."""
    held = 0
    for name, value in vars(thing).items():
        if name in ("draft", "descriptor", "documents", "_own") or is_shared(thing, name):
            continue
        if isinstance(value, dict | list | set | tuple | frozenset):
            held += len(value)
            inner = value.values() if isinstance(value, dict) else value
            held += sum(len(one) for one in inner if isinstance(one, dict | list | set | frozenset))
        elif type(value).__module__.startswith("agent.session"):
            held += things_in(value) if hasattr(value, "__dict__") else 0
    return held


def is_shared(thing: object, name: str) -> bool:
    """Whether it is another's, and counted there."""
    return isinstance(thing, Voice) and name == "_board"
