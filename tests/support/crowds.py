"""Agents that come, go, fail and begin again, over mediators that may do anything, in memory.

An agent is a process with a session's machine and what its shell does beside it: the deadlines of
its waits, the pulse inside the mesh, one more epoch when a party was lost. A mediator may keep a
letter back, lose it, bring it twice or again an hour later; it cannot write one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from typing import Any

from agent.session import transcript
from agent.session.descriptor import Draft
from agent.session.events import Agreed, Described, Ended, Event, Outcome, Released, State
from agent.session.machine import EARLY, SessionMachine
from agent.session.stage import PATIENCE as STEP
from agent.session.statements import Kind
from agent.session.story import RAN, READY_TIMEOUT, RESULTS_TIMEOUT
from messaging.protocols.session import Propose, SessionMessage, Withdraw
from tests.support.crowd_rules import Heard, Truth
from tests.support.sessions import NOW, Party, draft_of, make_parties, offer_for, start

PARTIES = make_parties(5)
PATIENCE = 600.0  # seconds that everybody is waited for, as `agent run` has it
SILENCE = 2.0  # seconds until a party that is not in the mesh is noticed
RUN = 300.0  # seconds that a program may take
LONGEST = PATIENCE + STEP + STEP + READY_TIMEOUT + RUN + RESULTS_TIMEOUT + 61 * 6  # late timers
RETRIES = 99
STORM = 5_000  # letters that nothing justifies
REMEMBERED = 400  # letters that a hostile mediator can bring again
MESHED = (State.MESHING, State.READY, State.RUNNING, State.FINISHING)


@dataclass(eq=False)
class Letter:
    sender: str
    to: str
    message: SessionMessage
    left_by: set[int] = field(default_factory=set)  # processes that have looked, and left it


@dataclass
class Agent:
    """One process of one party."""

    party: Party
    process: int
    machine: SessionMachine
    began: float
    retries: int
    state: State = State.PROPOSING
    since: float = 0.0
    epochs: int = 0
    ended: Ended | None = None
    released: int = 0
    stopped: bool = False
    heard: Heard = field(default_factory=Heard)
    records: list[transcript.Record] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether the process has ended, well or not."""
        return self.ended is not None and not self.begins_again

    @property
    def begins_again(self) -> bool:
        """Whether a lost party makes it begin one more epoch."""
        return (
            self.ended is not None
            and self.ended.lost
            and not self.stopped
            and self.epochs < self.retries
            and self.machine.continuation() is not None
        )

    @property
    def session(self) -> str | None:
        descriptor = self.machine.descriptor
        return descriptor.id if descriptor else None


@dataclass
class Written:
    """What a process left when it ended: the transcript, and how it ended."""

    did: str
    outcome: Outcome
    record: Mapping[str, Any]


class Crowd:
    """`size` parties, of whom the one at `mallory` has no agent but says what it wants."""

    def __init__(self, size: int, mallory: int | None = None, now: float = NOW) -> None:
        self.parties: Sequence[Party] = PARTIES[:size]
        self.draft = draft_of(self.parties)
        self.mallory = None if mallory is None else self.parties[mallory % size]
        self.honest = [party for party in self.parties if party is not self.mallory]
        self.agents: dict[str, Agent] = {}
        self.mail: list[Letter] = []
        self.history: list[Letter] = []
        self.written: list[Written] = []
        self.sessions: dict[str, Mapping[str, Any]] = {}
        self.truth = Truth(self.parties, self.mallory)
        self.now = now
        self._processes = count()

    # people

    def call(self, party: Party, draft: Draft | None = None, retries: int = RETRIES) -> None:
        """`agent run`; whoever has an agent running has it killed before."""
        self.kill(party)
        self.now += 0.01
        machine = start(party, self.parties, draft or self.draft, self.now)
        number = next(self._processes)
        self.agents[party.did] = Agent(party, number, machine, self.now, retries, since=self.now)
        self.collect()

    def kill(self, party: Party) -> None:
        self.agents.pop(party.did, None)

    def interrupt(self, party: Party) -> None:
        """Ctrl-C."""
        agent = self.agents.get(party.did)
        if agent is not None:
            agent.stopped = True
            agent.machine.stop("stopped by its owner", self.now, party=party.did)
            self.collect()

    def fail(self, party: Party) -> None:
        """Its program ends with an error."""
        agent = self.agents.get(party.did)
        if agent is not None and agent.machine.state is State.RUNNING:
            agent.machine.stop("its program failed", self.now, party=party.did)
            self.collect()

    # mediators

    def deliver(self, position: int = 0) -> bool:
        """Bring one letter to a process that is there and has not seen it."""
        waiting = [letter for letter in self.mail if self._reader(letter) is not None]
        if not waiting:
            return False
        letter = waiting[position % len(waiting)]
        agent = self._reader(letter)
        assert agent is not None
        if agent.machine.concerns(letter.sender, letter.message):
            self.mail.remove(letter)
            if agent.machine.state in EARLY:
                agent.heard.note(letter.sender, letter.message)
            agent.machine.handle_message(letter.sender, letter.message, self.now)
        else:
            letter.left_by.add(agent.process)
        self.collect()
        return True

    def deliver_all(self, but: Sequence[Letter] = ()) -> None:
        """All that there is to bring, and what comes of it; without these, which are late."""
        late = [letter for letter in self.mail if letter in but]
        self.mail = [letter for letter in self.mail if letter not in late]
        brought = 0
        while self.deliver():
            brought += 1
            assert brought < STORM, "letters without end"
        self.mail += late

    def lose(self, position: int) -> None:
        if self.mail:
            self.mail.pop(position % len(self.mail))

    def repeat(self, position: int) -> None:
        """Bring once more what was brought, or what still waits."""
        if self.history:
            old = self.history[position % len(self.history)]
            self.mail.append(Letter(old.sender, old.to, old.message))

    def bring_from(self, other: Sequence[Letter], position: int) -> None:
        """A letter of another session of these parties, which nobody has read there."""
        old = other[position % len(other)]
        self.mail.append(Letter(old.sender, old.to, old.message))
        if isinstance(old.message, Propose):
            self.truth.note_proposal(old.message)

    def say(self, to: Party, message: SessionMessage) -> None:
        """Mallory's own word to one party, at once."""
        assert self.mallory is not None
        agent = self.agents.get(to.did)
        if agent is not None and agent.machine.concerns(self.mallory.did, message):
            agent.machine.handle_message(self.mallory.did, message, self.now)
            self.collect()

    # what the shells do

    def work(self, party: Party) -> None:
        """Whatever this agent's chapter is about, done, if the others let it be."""
        agent = self.agents.get(party.did)
        if agent is None:
            return
        machine, descriptor = agent.machine, agent.machine.descriptor
        if agent.begins_again:
            self._begin_again(agent)
        elif descriptor is None:
            return
        elif machine.state is State.OFFERING:
            others = [did for did in descriptor.parties if did != party.did]
            machine.offers_made({did: offer_for(descriptor.id) for did in others}, self.now)
        elif machine.state is State.MESHING and not self._absent(agent):
            machine.mesh_ready(self.now)
        elif machine.state is State.RUNNING and not self._absent(agent, State.READY):
            machine.program_ended(result_of(descriptor.id), self.now)
        self.collect()

    def beat(self, sender: Party, to: Party) -> None:
        """A pulse, if there is a mesh between the two."""
        one, other = self.agents.get(sender.did), self.agents.get(to.did)
        if one is None or other is None or one is other or one.session is None:
            return
        said = one.machine.own_statement()
        beats = one.state in MESHED or one.ended is not None
        if said and beats and other.state in MESHED and one.session == other.session:
            other.machine.handle_pulse(sender.did, said.text, self.now)
            self.collect()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        for agent in list(self.agents.values()):
            self._tick(agent)
        self.collect()

    def progress(self, late: Sequence[Letter] = ()) -> None:
        """All mediators and all shells do what they should, but for letters that are late."""
        self.deliver_all(late)
        for party in self.honest:
            self.work(party)
        for sender in self.honest:
            for to in self.honest:
                self.beat(sender, to)
        self.deliver_all(late)

    def settle(self) -> float:
        """Until every process has ended, mediators being honest; the seconds it took."""
        began = self.now
        while not all(agent.is_over for agent in self.agents.values()):
            self.progress()
            self.wait(5)
            assert self.now - began < 4 * PATIENCE, self.states()
        return self.now - began

    def states(self) -> dict[int, str]:
        return {
            rank: str(self.agents[party.did].state)
            for rank, party in enumerate(self.parties)
            if party.did in self.agents
        }

    def collect(self) -> None:
        """Take what the machines want to send, and what they have to tell."""
        for did, agent in self.agents.items():
            while (event := agent.machine.next_event()) is not None:
                self._note(agent, event)
            sent = agent.machine.messages_to_send()
            told = {to for to, message in sent if isinstance(message, Withdraw)}
            if agent.ended and agent.state is not State.ENDED and agent.ended.outcome not in RAN:
                assert told == {*self.draft.parties} - {did}, "who stops says so to everybody"
            for to, message in sent:
                if isinstance(message, Propose):
                    self.truth.note_proposal(message)
                self.mail.append(Letter(did, to, message))
                self.history.append(Letter(did, to, message))
            del self.history[:-REMEMBERED]
            if agent.machine.state is not agent.state:
                agent.state, agent.since = agent.machine.state, self.now
            self.truth.note_statements(agent.machine, did)
        for agent in self.agents.values():
            self.truth.check(agent.machine, agent.heard)

    # inside

    def _reader(self, letter: Letter) -> Agent | None:
        agent = self.agents.get(letter.to)
        return None if agent is None or agent.process in letter.left_by else agent

    def _note(self, agent: Agent, event: Event) -> None:
        match event:
            case Described(descriptor):
                self.truth.check_proposals(descriptor, agent.heard)
                self.sessions[descriptor.id] = descriptor.content
            case Agreed(descriptor, offers):
                assert {*offers} == {*descriptor.parties} - {agent.party.did}
                assert all(offer.session == descriptor.id for offer in offers.values())
                self.truth.check_signatures(agent.machine, Kind.AGREE)
                self.truth.check_proposals(descriptor, agent.heard)
            case Released():
                agent.released += 1
                assert agent.released == agent.epochs + 1 or agent.epochs
                self.truth.check_signatures(agent.machine, Kind.AGREE, Kind.READY)
            case Ended():
                self._end(agent, event)

    def _end(self, agent: Agent, ended: Ended) -> None:
        assert agent.ended is None, "a session ends once"
        assert self.now - agent.began <= LONGEST, "an epoch ends in time"
        agent.ended = ended
        machine = agent.machine
        if machine.descriptor is not None:
            content, said = machine.descriptor.content, machine.statements()
            agent.records.append(transcript.Record(content, said))
        if ended.outcome in RAN:
            machine.say_by_mail(machine.draft.parties)
        if not agent.begins_again and agent.records:
            record = transcript.to_json(agent.records)
            self.written.append(Written(agent.party.did, ended.outcome, record))

    def _begin_again(self, agent: Agent) -> None:
        continues = agent.machine.continuation()
        agent.epochs += 1
        agent.ended = None
        agent.heard = Heard()
        agent.began = agent.since = self.now
        agent.state = State.PROPOSING
        draft = agent.machine.draft
        agent.machine = start(agent.party, self.parties, draft, self.now, continues)

    def _absent(self, agent: Agent, least: State = State.MESHING) -> list[str]:
        """The honest parties that are not in this agent's mesh, or not as far as `least`."""
        far = MESHED[MESHED.index(least) :]
        return [
            party.did
            for party in self.honest
            if party is not agent.party
            and not (
                (other := self.agents.get(party.did))
                and other.session == agent.session
                and (other.state in far or (other.ended and other.ended.outcome in RAN))
            )
        ]

    def _tick(self, agent: Agent) -> None:
        """Timers of the machine, and deadlines of the shell."""
        machine, now = agent.machine, self.now
        timer = machine.next_timer()
        if timer is not None and now >= timer:
            machine.handle_timer(now)
        if machine.state is State.ENDED:
            return
        if machine.descriptor is not None and now > machine.descriptor.deadline:
            machine.stop("the session's deadline has passed", now, outcome=Outcome.TIMEOUT)
            return
        waited = now - agent.since
        if machine.state in EARLY and now - agent.began > PATIENCE:
            machine.stop("waited for everybody", now, outcome=Outcome.TIMEOUT)
        for lost in self._lost(agent, waited):
            machine.stop("lost a party", now, party=lost, lost=True)
        if machine.state is State.RUNNING and waited > RUN:
            machine.stop("its program took too long", now, party=agent.party.did)
        if machine.state in MESHED and waited > SILENCE:
            machine.say_by_mail(machine.draft.parties)

    def _lost(self, agent: Agent, waited: float) -> Iterator[str]:
        machine = agent.machine
        limits = {
            State.SIGNING: STEP,
            State.MESHING: STEP,
            State.READY: READY_TIMEOUT,
            State.FINISHING: RESULTS_TIMEOUT,
        }
        if waited > limits.get(machine.state, float("inf")):
            yield next(iter(machine.waiting_for()), self.parties[0].did)
        if machine.state in MESHED and waited > SILENCE:
            yield from (did for did in self._absent(agent) if not machine.has_result_of(did))


def result_of(session: str) -> str:
    """The hash of what everybody's program prints in this session."""
    return hashlib.sha256(session.encode()).hexdigest()


@lru_cache
def letters_of_earlier_sessions(size: int) -> tuple[Letter, ...]:
    """Everything that these parties wrote an hour ago: a session, one that failed, one refused."""
    letters: list[Letter] = []
    for fate in ("done", "lost", "refused"):
        crowd = Crowd(size, now=NOW - 3600)
        for party in crowd.parties[1:]:
            crowd.call(party, retries=0)
        other = Draft(**{**vars(crowd.draft), "sha256": "cd" * 32})
        crowd.call(crowd.parties[0], other if fate == "refused" else None, retries=0)
        for _ in range(3):
            crowd.progress()
        if fate == "lost":
            crowd.kill(crowd.parties[0])
        crowd.settle()
        letters += crowd.history
    return tuple(letters)
