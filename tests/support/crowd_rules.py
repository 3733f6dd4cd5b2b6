"""What holds of every agent of a crowd after every step, whatever mediators and one party do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from agent.session.descriptor import Descriptor
from agent.session.events import State
from agent.session.machine import EARLY, SessionMachine
from agent.session.statements import Kind, Statement, verify
from messaging.protocols.session import Propose, SessionMessage, Withdraw
from tests.support.sessions import Party


@dataclass
class Heard:
    """What a process was told before the signatures, which must follow from it."""

    calls: dict[str, int] = field(default_factory=dict)  # by party: when its newest was made
    taken_back: set[str] = field(default_factory=set)  # nonces

    def note(self, sender: str, message: SessionMessage) -> None:
        match message:
            case Propose(created=created):
                self.calls[sender] = max(created, self.calls.get(sender, 0))
            case Withdraw(nonce=nonce):
                self.taken_back.add(nonce)


class Truth:
    """What the parties really did, beside which what a machine believes is held."""

    def __init__(self, parties: Sequence[Party], mallory: Party | None) -> None:
        self._parties, self._mallory = parties, mallory
        self._documents = {rank: party.document for rank, party in enumerate(parties)}
        self._created: dict[str, int] = {}  # of the proposal with this nonce
        self._said: set[tuple[str, str]] = set()  # party, statement

    def note_proposal(self, message: Propose) -> None:
        self._created[message.nonce] = message.created

    def note_statements(self, machine: SessionMachine, did: str) -> None:
        """What a machine has said for the record by now."""
        pinned = machine._board.statements.items()
        self._said |= {(did, said.text) for (speaker, _), said in pinned if speaker == did}

    def check(self, machine: SessionMachine, heard: Heard) -> None:
        descriptor = machine.descriptor
        if descriptor is None:
            return
        if machine.state in EARLY:
            self.check_proposals(descriptor, heard)
        for (speaker, kind), said in machine._board.statements.items():
            self._check_statement(descriptor, speaker, kind, said)
            assert kind is not Kind.ABORT or machine.state is State.ENDED, "an abort ends it"

    def check_proposals(self, descriptor: Descriptor, heard: Heard) -> None:
        """A session is of everybody's newest call that was heard, and not taken back."""
        nonces = descriptor.content["nonces"]
        assert not heard.taken_back & {*nonces}
        for party, nonce in zip(self._parties, nonces, strict=True):
            newest = self._created.get(nonce, 0) >= heard.calls.get(party.did, 0)
            assert newest or party is self._mallory, "an older call than was heard"

    def check_signatures(self, machine: SessionMachine, *kinds: Kind) -> None:
        """Everybody has made these statements, by signatures that anybody can verify."""
        read = [verify(said.text, self._documents) for said in machine.statements()]
        for kind in kinds:
            signers = {said.rank for said in read if said.kind is kind}
            assert signers == {*range(len(self._parties))}, f"not everybody signed {kind}"

    def _check_statement(
        self, descriptor: Descriptor, speaker: str, kind: Kind, said: Statement
    ) -> None:
        """It is of this session, and of who it is filed under."""
        named = said.kind, said.session, said.epoch, descriptor.parties[said.rank]
        assert named == (kind, descriptor.id, descriptor.epoch, speaker), "of something else"
        if self._mallory is None or speaker != self._mallory.did:
            assert (speaker, said.text) in self._said, "in the name of who never said it"
