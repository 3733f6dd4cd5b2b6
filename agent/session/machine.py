"""A session as one party sees it, without a socket, a clock or a file.

Messages may come late, twice or in any order, and every party runs the same machine; so instead
of reacting to each message, the machine pins the newest message of each kind and party to a
**board** and moves on whenever the board has all that the present state waits for (`callers` says
whose proposal stands):

    state       waits for                                    then
    PROPOSING   a proposal equal to ours from everybody       event Described: make offers
    OFFERING    our own offers made                           sign `agree`, send both together
    SIGNING     everybody's `agree` and offer                 event Agreed: build the mesh
    MESHING     our own mesh and port probes done             sign `ready`
    READY       everybody's `ready`                           event Released: run the program
    RUNNING     our own program's end                         sign `result`
    FINISHING   everybody's `result`                          event Ended
    ENDED       nothing any more

Until everybody has signed, a party may start over: its newer proposal replaces the older one, and
the descriptor, the signatures and the session's name follow. Afterwards a new proposal means that
this party lost its session, and everybody stops. An `abort`, in any state, ends the session: there
is no state from which some honest parties go on while others stop.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from agent.session.board import Board, abort_facts, read_abort
from agent.session.callers import Call, Callers
from agent.session.descriptor import (
    Descriptor,
    Draft,
    Proposal,
    describe,
    short,
)
from agent.session.events import (
    Agreed,
    Continuation,
    Described,
    Ended,
    Event,
    Moved,
    Outcome,
    Proposed,
    Released,
    State,
    Withdrew,
)
from agent.session.proposals import from_message, to_message
from agent.session.statements import Kind, Speaker, Statement, clip
from agent.session.voice import Voice
from identity.document import DidDocument
from messaging.protocols.session import (
    MAX_EPOCH,
    Candidates,
    Offer,
    Propose,
    Say,
    SessionMessage,
    Withdraw,
)

EARLY = (State.PROPOSING, State.OFFERING, State.SIGNING)  # anybody may still start over


class SessionMachine:
    """Feed it messages and what happened here; take events, and messages to send."""

    def __init__(
        self,
        draft: Draft,
        *,
        me: str,
        speaker: Speaker,
        documents: Mapping[str, DidDocument],
        nonce: str,
        encapsulation_key: str | None,
        now: float,
        continues: Continuation | None = None,
    ) -> None:
        """`continues` is what an earlier epoch left, where these parties begin again."""
        self.draft = draft
        self.state = State.PROPOSING
        self.descriptor: Descriptor | None = None
        self._me = me
        self._others = tuple(did for did in draft.parties if did != me)
        self._board = Board({rank: documents[did] for rank, did in enumerate(draft.parties)})
        self._voice = Voice(speaker, me, self._others, self._board)
        self._events: list[Event] = []
        self._own_offers: Mapping[str, Offer] = {}
        self._has_agreed = False
        self._spent = continues.spent if continues else frozenset[str]()
        epoch, previous = (continues.epoch, continues.previous) if continues else (0, None)
        created = int(now * 1000)
        self._own = Proposal(draft.to_json(), nonce, created, encapsulation_key, epoch, previous)
        self._callers = Callers(self._own, self._spent)
        self._board.proposals[me] = self._own
        self._voice.put_all(to_message(self._own))
        for did, message in (continues.early if continues else {}).items():
            self.handle_message(did, message, now)

    # what the outside takes

    def next_event(self) -> Event | None:
        return self._events.pop(0) if self._events else None

    def messages_to_send(self) -> list[tuple[str, SessionMessage]]:
        """(party's DID, message) pairs; each is handed out once."""
        return self._voice.take()

    def next_timer(self) -> float | None:
        """When `handle_timer` has something to do (same clock as every `now`)."""
        return self._callers.next_verdict() if self.state in EARLY else None

    def statements(self) -> list[Statement]:
        """Every verified statement of this session so far, by rank and kind."""
        return self._board.statements_of(self._session_id())

    def own_statement(self) -> Statement | None:
        """The last thing we said for the record; it can be repeated on any path."""
        return self._voice.last()

    def continuation(self) -> Continuation | None:
        """What the next epoch has to know; None before there was a descriptor."""
        descriptor = self.descriptor
        if descriptor is None or descriptor.epoch >= MAX_EPOCH:
            return None
        over = self._board.over(descriptor, self._me, agreed=self._has_agreed)
        spent = self._spent | self._callers.withdrawn() | over
        return Continuation(descriptor.epoch + 1, descriptor.id, spent, self._callers.kept(spent))

    def has_result_of(self, party: str) -> bool:
        return (party, Kind.RESULT) in self._board.statements

    def has_all_results(self) -> bool:
        return self._board.said(Kind.RESULT) >= set(self.draft.parties)

    def waiting_for(self) -> tuple[str, ...]:
        """The parties whose message the present state waits for."""
        return self._board.missing(self.state, self._session_id(), self._others)

    # what comes in from others

    def concerns(self, sender: str, message: SessionMessage) -> bool:
        """Whether this message is for this session rather than another one of ours."""
        if sender not in self._others:
            return False
        match message:
            case Propose():
                return self._me in message.draft["parties"]
            case Withdraw():
                return self.state in EARLY or self._callers.knows(sender, message.nonce)
            case _:
                # Until everybody has signed, somebody may know of a newer proposal before we do.
                if self.descriptor is None or self.state in EARLY:
                    return True
                return message.session in (self.descriptor.id, self._own.previous)

    def handle_message(self, sender: str, message: SessionMessage, now: float) -> None:
        """Take in an authenticated message; one that does not fit is dropped."""
        if sender not in self._others:
            return
        if self.state is State.ENDED:
            self._callers.hear_late(sender, message)
            return
        match message:
            case Propose():
                self._handle_propose(sender, message, now)
            case Withdraw():
                self._handle_withdraw(sender, message, now)
            case Offer():
                if self.state in EARLY:
                    self._board.pin_offer(sender, message)
                self.handle_statement(sender, Say(message.session, message.statement), now)
            case Candidates() if message.session == self._session_id():
                self._events.append(Moved(sender, message.candidates, message.relays))
            case Say():
                self.handle_statement(sender, message, now)
        self._advance(now)
        self.handle_timer(now)

    def handle_statement(self, sender: str, said: Say, now: float) -> None:
        """Pin a statement; before the descriptor is known it waits, unread and bounded."""
        if self.descriptor is None or self.descriptor.id != said.session:
            self._board.remember_early(sender, said)
            return
        statement = self._board.pin_statement(sender, said, self.descriptor)
        if statement is not None and statement.kind is Kind.ABORT:
            reason, party, lost = read_abort(self.draft.parties, statement)
            self._end(Outcome.FAILED, reason, party, now, lost=lost)

    def handle_pulse(self, sender: str, statement: str, now: float) -> None:
        """Take in a statement that came through the mesh, perhaps for the hundredth time."""
        descriptor = self.descriptor
        if descriptor is None or self.state is State.ENDED or sender not in self._others:
            return
        if any(known.text == statement for known in self._board.statements.values()):
            return
        self.handle_statement(sender, Say(descriptor.id, statement), now)
        self._advance(now)

    def handle_timer(self, now: float) -> None:
        """A proposal that differs, or a refusal, that was not taken back in time, ends it."""
        verdict = self._callers.verdict(now) if self.state in EARLY else None
        if verdict is not None:
            words, party = verdict.reason, verdict.party
            self._end(Outcome.REFUSED, words, party, now, refused=verdict.refused)

    def handle_rotation(self, old: str, new: str, now: float) -> None:
        """A party that is waited for says, signed by its DID here, that it goes by another now.

        The descriptor names DIDs, so the one that we wait for will not come. Once everybody has
        proposed, a party goes on by the DID it proposed with.
        """
        if self.state is State.PROPOSING and old in self.waiting_for():
            self._end(Outcome.REFUSED, f"{short(old)} goes by another DID now: {new}", old, now)

    # what happened here

    def offers_made(self, offers: Mapping[str, Offer], now: float) -> None:
        """Our offer for each other party, whose statement is still to be signed; after Described.

        Offers for a session that was started over meanwhile are dropped.
        """
        ours = all(offer.session == self._session_id() for offer in offers.values())
        if self.state is State.OFFERING and ours:
            self._own_offers = offers
            self._advance(now)

    def moved(self, candidates: Sequence[Mapping[str, Any]]) -> None:
        """Our network changed; tell everybody these addresses; after Agreed."""
        if self.descriptor is not None and self.state not in (*EARLY, State.ENDED):
            self._voice.put_all(Candidates(self.descriptor.id, candidates))

    def relays_changed(self, party: str, relays: Sequence[Mapping[str, Any]]) -> None:
        """This party gets these tickets from us, in place of those in our offer; after Agreed."""
        if self.descriptor is not None and self.state not in (*EARLY, State.ENDED):
            self._voice.put(party, Candidates(self.descriptor.id, (), relays))

    def say_by_mail(self, parties: Collection[str]) -> None:
        """The mesh has not carried our last statement to these parties; mail it, once."""
        self._voice.put_last(parties)

    def mesh_ready(self, now: float) -> None:
        """Our tunnels and the program's ports work with everybody; after Agreed."""
        if self.state is State.MESHING:
            self._say(Kind.READY, {}, now)
            self.state = State.READY
            self._advance(now)

    def program_ended(self, sha256: str, now: float) -> None:
        """Our program ended well and this is its result's hash; after Released."""
        if self.state is State.RUNNING:
            self._say(Kind.RESULT, {"sha256": sha256}, now)
            self.state = State.FINISHING
            self._advance(now)

    def stop(
        self,
        reason: str,
        now: float,
        *,
        party: str | None = None,
        outcome: Outcome = Outcome.FAILED,
        lost: bool = False,
    ) -> None:
        """End the session from here, telling everybody why; `party` is who made it necessary.

        `lost` says that this party fell silent, or began again: it may come back.
        """
        self._end(outcome, reason, party, now, lost=lost)

    # inside

    def _handle_propose(self, sender: str, message: Propose, now: float) -> None:
        proposal = from_message(message)
        has_met = self._callers.has_met(sender)
        begins_again = self._own.epoch > 0 or proposal.epoch > 0
        call = self._callers.take(sender, proposal, now)
        if call is Call.ENDLESS:
            self.stop(f"{short(sender)} starts over again and again", now, party=sender)
        elif self.state not in EARLY:
            if call is Call.STANDS:
                self._callers.keep(sender, message)
                self.stop(f"{short(sender)} started over", now, party=sender, lost=True)
        elif call in (Call.STANDS, Call.OUTDATED) and (has_met or begins_again):
            # What we sent before was heard by its process, or its epoch, before this one.
            self._voice.put(sender, to_message(self._own))
        if self.state in EARLY and call in (Call.STANDS, Call.DIFFERS, Call.TAKEN_BACK):
            self._take_off(sender)
            if call is Call.STANDS:
                self._board.proposals[sender] = proposal
                self._events.append(Proposed(sender, self.waiting_for()))

    def _handle_withdraw(self, sender: str, message: Withdraw, now: float) -> None:
        callers = self._callers
        if message.nonce in self._spent or callers.is_outdated(sender, message.nonce):
            return
        known = self._board.proposals.get(sender)
        stands = known is not None and known.nonce == message.nonce
        if message.refused == self._own.nonce:
            reason = callers.words_about(sender) or message.reason
            self._end(Outcome.REFUSED, reason, sender, now, refused=message.refused)
        elif self.state in EARLY:
            callers.take_back(sender, message, now)
            if stands:
                self._take_off(sender)
                self._events.append(Withdrew(sender, message.reason))
        elif stands:
            outcome = Outcome.FAILED if message.refused is None else Outcome.REFUSED
            words, refused = message.reason, message.refused
            self._end(outcome, words, sender, now, refused=refused, lost=message.lost)

    def _take_off(self, sender: str) -> None:
        """Its proposal counts no more, and nothing that followed from it."""
        self._board.proposals.pop(sender, None)
        self.state = State.PROPOSING
        self.descriptor = None
        self._own_offers = {}

    def _advance(self, now: float) -> None:
        """Move on for as long as the board has what the state waits for."""
        while self.state is not State.ENDED and not self.waiting_for():
            before = self.state
            match before:
                case State.PROPOSING:
                    self._describe(now)
                case State.OFFERING if self._own_offers:
                    self._sign(now)
                case State.SIGNING:
                    self._agree()
                case State.READY:
                    self.state = State.RUNNING
                    self._events.append(Released())
                case State.FINISHING:
                    self._compare_results()
            if self.state is before:
                return

    def _describe(self, now: float) -> None:
        proposals = [self._board.proposals[did] for did in self.draft.parties]
        self.descriptor = describe(self.draft, proposals)
        self._board.statements.clear()
        self.state = State.OFFERING
        keys = {did: p.encapsulation_key for did, p in self._board.proposals.items()}
        self._events.append(Described(self.descriptor, keys))
        for sender, said in self._board.early(self.descriptor.id):
            self.handle_statement(sender, said, now)

    def _sign(self, now: float) -> None:
        """Our signature goes with our offer, in one message to each."""
        statement = self._say(Kind.AGREE, {}, now)
        for did, offer in self._own_offers.items():
            self._voice.put(did, replace(offer, statement=statement.text))
        self.state = State.SIGNING

    def _agree(self) -> None:
        if self.descriptor is not None:
            self._has_agreed = True
            self.state = State.MESHING
            self._events.append(Agreed(self.descriptor, self._board.offers(self.descriptor.id)))

    def _compare_results(self) -> None:
        if self._board.results_differ(self.draft):
            self._end(Outcome.MISMATCH, "the parties' results differ")
        else:
            self._end(Outcome.DONE, "all results that must be are equal")

    def _session_id(self) -> str | None:
        return self.descriptor.id if self.descriptor else None

    def _say(self, kind: Kind, facts: Mapping[str, Any], now: float) -> Statement:
        if self.descriptor is None:
            raise RuntimeError("nothing can be said for the record before there is a descriptor")
        return self._voice.sign(kind, facts, self.descriptor, now)

    def _end(
        self,
        outcome: Outcome,
        reason: str,
        party: str | None = None,
        now: float = 0,
        *,
        refused: str | None = None,
        lost: bool = False,
    ) -> None:
        """Everybody learns that we stop, unless all ended well: a session ends for all or none."""
        if self.state is State.ENDED:
            return  # two may say stop in one breath
        if outcome not in (Outcome.DONE, Outcome.MISMATCH):
            if self.descriptor is not None:
                facts = abort_facts(self.draft.parties, reason, party, lost=lost)
                said = self._say(Kind.ABORT, facts, now)
                self._voice.put_all(Say(said.session, said.text))
            self._voice.put_all(Withdraw(self._own.nonce, clip(reason), refused, lost))
        self.state = State.ENDED
        self._events.append(Ended(outcome, reason, party, lost))
