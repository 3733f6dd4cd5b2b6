"""Whatever is late, lost, doubled, killed or forged: all honest parties agree, or all stop.

Two to five agents, each a process that may be killed and called again, whose letters mediators
bring in any order, twice, an hour later or not at all; and perhaps one party that has no agent
and says anything to anybody. What always holds:

- Whoever runs the program holds valid signatures of everybody, under its own descriptor.
- Honest parties that are ready, run or have ended well hold one descriptor; without a party that
  tells different stories, all that are past the signatures do.
- When mediators are honest again, every process ends, in bounded time and with bounded memory.
- The transcripts of those who ended well are equal; whose ending differs, differs by name.
- After all of it the same parties call again, and end well: no old letter stands in their way.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from itertools import combinations
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.session import transcript
from agent.session.comparing import differences, merge
from agent.session.descriptor import Draft
from agent.session.events import Outcome, State
from agent.session.statements import Kind
from messaging.protocols.session import Candidates, Offer, Propose, Say, SessionMessage, Withdraw
from tests.support.crowds import (
    MESHED,
    PARTIES,
    PATIENCE,
    Agent,
    Crowd,
    Letter,
    letters_of_earlier_sessions,
    result_of,
)
from tests.support.sessions import KEM_KEY, NOW, Party, offer_for, things_in

RANKS = st.integers(0, 4)
PLACES = st.integers(0, 400)
FLAWS = st.sampled_from([None, None, Kind.AGREE, Kind.READY, Kind.RESULT])
# Of what `anything` makes, that more often which does not end it at once.
KINDS = st.one_of(st.integers(0, 14), st.sampled_from([0, 1, 3, 4, 5, 6, 7, 9, 10, 11, 14]))
MAX_HELD = 100  # things that a machine may keep for each party
COMMITTED = MESHED[1:]


class Interleavings(RuleBasedStateMachine):
    """Mediators that bring letters late, twice and in any order; agents that are killed."""

    kind = True  # nobody does what must end a session
    has_mallory = False
    crowd: Crowd

    @initialize(
        size=st.integers(2, 5),
        rank=RANKS,
        rounds=st.integers(0, 6),
        lacks=FLAWS,
    )
    def gather(self, size: int, rank: int, rounds: int, lacks: Kind | None) -> None:
        """Perhaps all call at once, and are some steps on their way already."""
        self.crowd = Crowd(size, rank if self.has_mallory else None)
        self.promised = self.kind  # that all end well: nothing happens that must stop them
        self.nonces = {party.did: secrets.token_urlsafe(32) for party in PARTIES}
        if rounds:
            self.everybody_calls()
            self._progress([], rounds - 1, lacks)

    # agents

    @rule(rank=RANKS)
    def call(self, rank: int) -> None:
        """Perhaps once more: the agent that was there is killed."""
        self.kill(rank)
        self.crowd.call(self._honest(rank))

    @rule()
    def everybody_calls(self) -> None:
        for party in self.crowd.honest:
            if party.did not in self.crowd.agents:
                self.crowd.call(party)

    @precondition(lambda self: not self.kind)
    @rule(rank=RANKS)
    def call_for_another_program(self, rank: int) -> None:
        other = Draft(**{**vars(self.crowd.draft), "sha256": "cd" * 32})
        self.crowd.call(self._honest(rank), other)

    @rule(rank=RANKS)
    def kill(self, rank: int) -> None:
        party = self._honest(rank)
        agent = self.crowd.agents.get(party.did)
        if agent is not None and (agent.is_over or agent.state is State.FINISHING):
            self.promised = False  # the others may have its result, and need it no more
        self.crowd.kill(party)

    @precondition(lambda self: not self.kind)
    @rule(rank=RANKS)
    def interrupt(self, rank: int) -> None:
        self.crowd.interrupt(self._honest(rank))

    @precondition(lambda self: not self.kind)
    @rule(rank=RANKS)
    def fail(self, rank: int) -> None:
        self.crowd.fail(self._honest(rank))

    @rule(ranks=st.lists(RANKS, min_size=1))
    def work(self, ranks: list[int]) -> None:
        for rank in ranks:
            self.crowd.work(self._honest(rank))

    @rule(pairs=st.lists(st.tuples(RANKS, RANKS), min_size=1))
    def beat(self, pairs: list[tuple[int, int]]) -> None:
        for rank, to in pairs:
            self.crowd.beat(self._honest(rank), self._honest(to))

    @rule(seconds=st.sampled_from([0.1, 1.6, 3, 9, 31, 61]))
    def wait(self, seconds: float) -> None:
        self.crowd.wait(seconds)
        self.promised &= self.crowd.now - NOW < PATIENCE / 2

    @rule(late=st.lists(PLACES, max_size=4), rounds=st.integers(1, 4), lacks=FLAWS)
    def progress(self, late: list[int], rounds: int, lacks: Kind | None) -> None:
        """Everybody does what is to be done, but for some letters that are late."""
        mail = self.crowd.mail
        self._progress([mail[place % len(mail)] for place in late if mail], rounds, lacks)

    @precondition(lambda self: self.crowd.mallory)
    @rule(lacks=FLAWS, rounds=st.integers(3, 6))
    def begin_anew(self, lacks: Kind | None, rounds: int) -> None:
        """Whose process has ended calls again, and all goes well for a while."""
        for party in self.crowd.honest:
            agent = self.crowd.agents.get(party.did)
            if agent is None or agent.is_over:
                self.crowd.call(party)
        self._progress([], rounds, lacks)

    # mediators

    @rule(places=st.lists(PLACES, min_size=1, max_size=12))
    def deliver(self, places: list[int]) -> None:
        for place in places:
            self.crowd.deliver(place)

    @precondition(lambda self: not self.kind)
    @rule(place=PLACES)
    def lose(self, place: int) -> None:
        self.crowd.lose(place)

    @rule(places=st.lists(PLACES, min_size=1, max_size=6))
    def repeat(self, places: list[int]) -> None:
        for place in places:
            self.crowd.repeat(place)

    @precondition(lambda self: not self.kind)
    @rule(places=st.lists(PLACES, min_size=1, max_size=6))
    def bring_letters_of_earlier_sessions(self, places: list[int]) -> None:
        letters = letters_of_earlier_sessions(len(self.crowd.parties))
        for place in places:
            self.crowd.bring_from(letters, place)

    # a party that says anything

    @precondition(lambda self: self.crowd.mallory)
    @rule(rank=RANKS, lacks=FLAWS)
    def play_along(self, rank: int, lacks: Kind | None) -> None:
        self._play_along(self._honest(rank), lacks)

    @precondition(lambda self: self.crowd.mallory)
    @rule(kind=KINDS, to=RANKS, about=RANKS)
    def say_anything(self, kind: int, to: int, about: int) -> None:
        target = self._honest(to)
        for message in anything(self.crowd, kind, target, self._honest(about), self.nonces):
            self.crowd.say(target, message)

    def _progress(self, late: list[Letter], rounds: int, lacks: Kind | None) -> None:
        for _ in range(rounds):
            self.crowd.progress(late)
            for party in self.crowd.honest if self.crowd.mallory else ():
                self._play_along(party, lacks)

    def _play_along(self, to: Party, lacks: Kind | None) -> None:
        """Say to this party what an honest one would, all but one signature."""
        crowd, agent = self.crowd, self.crowd.agents.get(to.did)
        if agent is None or agent.is_over or crowd.mallory is None:
            return
        session = agent.session
        content = crowd.sessions.get(session or "")
        if session is None or content is None:
            draft, nonce = crowd.draft.to_json(), self.nonces[crowd.mallory.did]
            crowd.say(to, Propose(draft, nonce, int(crowd.now * 1000), KEM_KEY))
            return
        facts: dict[Kind, dict[str, Any]] = {Kind.AGREE: {}, Kind.READY: {}}
        if agent.state in (State.RUNNING, State.FINISHING):
            facts[Kind.RESULT] = {"sha256": result_of(session)}
        for kind, told in facts.items():
            said = statement(crowd, kind, agent, told)
            crowd.say(to, replace(said, statement="a.b.c") if kind is lacks else said)

    def _honest(self, rank: int) -> Party:
        return self.crowd.honest[rank % len(self.crowd.honest)]

    # what holds

    @invariant()
    def nobody_computes_apart(self) -> None:
        agents = self.crowd.agents.values() if hasattr(self, "crowd") else ()
        committed = {agent.session for agent in agents if agent.state in COMMITTED}
        assert len(committed) <= 1
        past = {agent.session for agent in agents if agent.state in MESHED}
        assert len(past) <= 1 or self.crowd.mallory

    @invariant()
    def memory_is_bounded(self) -> None:
        for agent in self.crowd.agents.values() if hasattr(self, "crowd") else ():
            held = things_in(agent.machine) - len(agent.machine._spent)
            assert held <= MAX_HELD * len(self.crowd.parties)

    def teardown(self) -> None:
        if not hasattr(self, "crowd"):
            return
        if self.promised:
            self.everybody_calls()
        seconds = self.crowd.settle()
        assert seconds <= 2 * PATIENCE, (seconds, self.crowd.states())
        if self.promised:
            self.all_have_ended_well()
        self.nobody_computes_apart()
        self.what_was_written_agrees()
        if self.crowd.mallory is None:
            self.all_call_again_and_end_well()

    def what_was_written_agrees(self) -> None:
        """Compared two by two, as far as both were in the same session last."""
        crowd = self.crowd
        documents = {party.did: party.document for party in crowd.parties}
        for written in crowd.written:
            assert transcript.check(written.record, documents).forged == 0
        for one, other in combinations(crowd.written, 2):
            if one.record["session"] != other.record["session"]:
                continue
            last = [{**written.record, "earlier": []} for written in (one, other)]
            named = differences(
                {str(rank): transcript.check(part, documents) for rank, part in enumerate(last)}
            )
            proven = transcript.check(merge(last), documents)
            outcomes = {one.outcome, other.outcome}
            if outcomes == {Outcome.DONE}:
                assert not named or crowd.mallory
                assert proven.complete or proven.two_faced
            elif Outcome.DONE in outcomes:
                assert named
                assert not proven.complete

    def all_call_again_and_end_well(self) -> None:
        crowd = self.crowd
        for party in crowd.honest:
            crowd.kill(party)
        for party in crowd.honest:
            crowd.call(party)
        crowd.settle()
        self.all_have_ended_well()

    def all_have_ended_well(self) -> None:
        crowd = self.crowd
        endings = [agent.ended and agent.ended.outcome for agent in crowd.agents.values()]
        assert endings == [Outcome.DONE] * len(crowd.parties), [
            agent.ended for agent in crowd.agents.values()
        ]


class HostileMediators(Interleavings):
    """They also lose letters, and bring old ones; and people give up, or err."""

    kind = False


class HostileParty(HostileMediators):
    """And one of the parties says anything to anybody."""

    has_mallory = True


for machine in (Interleavings, HostileMediators, HostileParty):
    machine.TestCase.settings = settings(
        max_examples=25,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
TestInterleavings = Interleavings.TestCase
TestHostileMediators = HostileMediators.TestCase
TestHostileParty = HostileParty.TestCase


def statement(
    crowd: Crowd, kind: Kind, agent: Agent, facts: dict[str, Any], epoch: int | None = None
) -> Offer | Say:
    """Mallory's, for this agent's present session; `agree` comes with an offer."""
    assert crowd.mallory is not None
    session = agent.session or "ab" * 32
    content = crowd.sessions.get(session, {"epoch": 0})
    rank = crowd.parties.index(crowd.mallory)
    number = content["epoch"] if epoch is None else epoch
    said = crowd.mallory.speaker.say(kind, session, rank, int(crowd.now), facts, number)
    if kind is Kind.AGREE:
        return replace(offer_for(session), statement=said.text)
    return Say(session, said.text)


def anything(
    crowd: Crowd, kind: int, to: Party, about: Party, nonces: dict[str, str]
) -> list[SessionMessage]:
    """What a party may say to another that it should not, or not now, or not so."""
    agent, other = crowd.agents.get(to.did), crowd.agents.get(about.did)
    if agent is None or other is None or crowd.mallory is None:
        return []
    me, draft, created = crowd.mallory.did, crowd.draft.to_json(), int(crowd.now * 1000)
    fresh = secrets.token_urlsafe(32)
    heard = other.machine.statements()
    session = agent.session or "ab" * 32
    if kind == 0:  # everybody hears another nonce
        return [Propose(draft, fresh, created, KEM_KEY)]
    if kind == 1:  # and so of another time
        nonces[me] = fresh
        return [Propose(draft, fresh, created - 50, KEM_KEY)]
    if kind == 2:  # another program
        theirs = {**draft, "program": {"name": "x", "sha256": "ef" * 32}}
        return [Propose(theirs, fresh, created, KEM_KEY)]
    if kind == 3:  # a late epoch that nobody was in
        return [Propose(draft, fresh, created, KEM_KEY, 50, "cd" * 32)]
    if kind == 4:  # the nonce of an honest party
        return [Propose(draft, other.machine._own.nonce, created, KEM_KEY)]
    if kind == 5:  # a signature for what another party signed, which may be something else
        return [statement(crowd, Kind.AGREE, other, {})]
    if kind == 6:
        return [statement(crowd, Kind.READY, other, {})]
    if kind == 7:  # a result of its own for each
        return [statement(crowd, Kind.RESULT, agent, {"sha256": fresh})]
    if kind == 8:
        return [statement(crowd, Kind.ABORT, agent, {"reason": fresh, "about": 1, "lost": True})]
    if kind == 9:  # what others signed, as its own
        return [Say(session, said.text) for said in heard]
    if kind == 10:  # in another's name
        rank = crowd.parties.index(about)
        kinds = (Kind.READY, Kind.ABORT)
        said = [crowd.mallory.speaker.say(one, session, rank, 1, {}) for one in kinds]
        return [Say(session, one.text) for one in said]
    if kind == 11:  # of another epoch
        return [statement(crowd, one, agent, {}, epoch=7) for one in Kind]
    if kind == 12:
        return [Withdraw(nonces[me], "gone")]
    if kind == 13:
        return [Withdraw(nonces[me], "no", refused=other.machine._own.nonce)]
    return [Candidates(session, ({"kind": "host"},)), Offer(session, "a.b.c", "A" * 43 + "=", {})]
