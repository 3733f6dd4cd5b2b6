"""A session as one party sees it, without a socket, a clock or a file.

Messages may come late, twice or in any order, and every party runs the same machine; so instead
of reacting to each message, the machine pins the newest message of each kind and party to a
**board** and moves on whenever the board has all that the present state waits for:

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

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from agent.session.board import Board, read_abort
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
from agent.session.proposals import from_message, objections, to_message, wants_another
from agent.session.statements import FalseStatement, Kind, Speaker, Statement, clip, verify
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

VERDICT_DELAY = 1.5  # seconds in which a withdrawal may still follow a proposal that differs
MAX_PROPOSALS = 30  # of one party: each makes all others sign, and tell everybody, again
MAX_AGE = 25 * 3600  # seconds; a proposal from further away in time is nobody's clock skew


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
        self._speaker = speaker
        self._documents = {rank: documents[did] for rank, did in enumerate(draft.parties)}
        self._board = Board()
        self._differing: dict[str, tuple[float, Proposal, list[str]]] = {}
        self._events: list[Event] = []
        self._outbox: list[tuple[str, SessionMessage]] = []
        self._own_offers: Mapping[str, Offer] = {}
        self._mailed: set[tuple[str, str]] = set()
        self._spent = continues.spent if continues else frozenset[str]()
        self._late: dict[str, Propose] = {}
        epoch, previous = (continues.epoch, continues.previous) if continues else (0, None)
        created = int(now * 1000)
        self._own = Proposal(draft.to_json(), nonce, created, encapsulation_key, epoch, previous)
        self._met: set[str] = set()
        self._proposed: Counter[str] = Counter()
        self._board.proposals[me] = self._own
        self._send_all(to_message(self._own))
        for did, message in (continues.early if continues else {}).items():
            self.handle_message(did, message, now)

    # what the outside takes

    def next_event(self) -> Event | None:
        return self._events.pop(0) if self._events else None

    def messages_to_send(self) -> list[tuple[str, SessionMessage]]:
        """(party's DID, message) pairs; each is handed out once."""
        outbox, self._outbox = self._outbox, []
        return outbox

    def next_timer(self) -> float | None:
        """When `handle_timer` has something to do (same clock as every `now`)."""
        verdicts = (since + VERDICT_DELAY for since, _, _ in self._differing.values())
        return min(verdicts, default=None)

    def statements(self) -> list[Statement]:
        """Every verified statement of this session so far, by rank and kind."""
        ours = [s for s in self._board.statements.values() if s.session == self._session_id()]
        return sorted(ours, key=lambda s: (s.rank, list(Kind).index(s.kind)))

    def own_statement(self) -> Statement | None:
        """The last thing we said for the record; it can be repeated on any path.

        Without `agree`: whoever has our offer, has it too, and nobody can go on without the offer.
        """
        mine = [
            said
            for (did, kind), said in self._board.statements.items()
            if did == self._me and kind is not Kind.AGREE
        ]
        return mine[-1] if mine else None

    def continuation(self) -> Continuation | None:
        """What the next epoch has to know; None before there was a descriptor."""
        descriptor = self.descriptor
        if descriptor is None or descriptor.epoch >= MAX_EPOCH:
            return None
        spent = self._spent | frozenset(descriptor.content["nonces"])
        early = {did: late for did, late in self._late.items() if late.nonce not in spent}
        return Continuation(descriptor.epoch + 1, descriptor.id, spent, early)

    def has_result_of(self, party: str) -> bool:
        return (party, Kind.RESULT) in self._board.statements

    def has_all_results(self) -> bool:
        return self._all_said(Kind.RESULT)

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
                known = self._board.proposals.get(sender)
                judged = self._differing.get(sender)
                ours = {proposal.nonce for proposal in (known, judged and judged[1]) if proposal}
                return message.nonce in ours | self._spent
            case _:
                # Before our descriptor is known, we cannot know that it is not ours.
                if self.descriptor is None or message.session == self.descriptor.id:
                    return True
                return message.session == self._own.previous

    def handle_message(self, sender: str, message: SessionMessage, now: float) -> None:
        """Take in an authenticated message; one that does not fit is dropped."""
        if sender not in self._others:
            return
        if self.state is State.ENDED:
            if isinstance(message, Propose):
                self._late[sender] = message
            return
        match message:
            case Propose():
                self._handle_propose(sender, message, now)
            case Withdraw():
                self._handle_withdraw(sender, message, now)
            case Offer():
                self._board.offers[sender] = message
                self.handle_statement(sender, Say(message.session, message.statement), now)
            case Candidates() if message.session == self._session_id():
                self._events.append(Moved(sender, message.candidates))
            case Say():
                self.handle_statement(sender, message, now)
        self._advance(now)

    def handle_statement(self, sender: str, said: Say, now: float) -> None:
        """Pin a statement; before the descriptor is known it waits, unread and bounded."""
        if self.descriptor is None or self.descriptor.id != said.session:
            self._board.remember_early(sender, said)
            return
        try:
            statement = verify(said.statement, self._documents)
        except FalseStatement:
            return
        descriptor = self.descriptor
        if (statement.session, statement.epoch) != (descriptor.id, descriptor.epoch):
            return
        if self.draft.parties[statement.rank] != sender:
            return
        self._board.statements.setdefault((sender, statement.kind), statement)
        if statement.kind is Kind.ABORT:
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
        """A proposal that differs, and that was not taken back in time, is a refusal."""
        for party, (since, proposal, words) in list(self._differing.items()):
            if now >= since + VERDICT_DELAY and self.state is not State.ENDED:
                reason = wants_another(party, words)
                self._end(Outcome.REFUSED, reason, party, now, refused=proposal.nonce)

    # what happened here

    def offers_made(self, offers: Mapping[str, Offer], now: float) -> None:
        """Our offer for each other party, whose statement is still to be signed; after Described.

        Offers for a session that was started over meanwhile are dropped.
        """
        if self.state is State.OFFERING and self._are_of_ours(offers.values()):
            self._own_offers = offers
            self._advance(now)

    def moved(self, candidates: Sequence[Mapping[str, Any]]) -> None:
        """Our network changed; tell everybody these addresses; after Agreed."""
        if self.descriptor is not None and self.state not in (*EARLY, State.ENDED):
            self._send_all(Candidates(self.descriptor.id, candidates))

    def say_by_mail(self, parties: Collection[str]) -> None:
        """The mesh has not carried our last statement to these parties; mail it, once."""
        said = self.own_statement()
        for did in self._others:
            if said is not None and did in parties and (did, said.text) not in self._mailed:
                self._mailed.add((did, said.text))
                self._outbox.append((did, Say(said.session, said.text)))

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
        if self.state is not State.ENDED:
            self._end(outcome, reason, party, now, lost=lost)

    # inside

    def _handle_propose(self, sender: str, message: Propose, now: float) -> None:
        proposal = from_message(message)
        known = self._board.proposals.get(sender)
        if abs(proposal.created / 1000 - now) > MAX_AGE or proposal.nonce in self._spent:
            return
        if known is not None and proposal.created <= known.created:
            return
        words = objections(self._own, proposal)
        if words:
            if known is None:
                self._met.add(sender)
                self._differing[sender] = (now, proposal, words)
            return
        self._differing.pop(sender, None)
        self._proposed[sender] += 1
        if self._proposed[sender] > MAX_PROPOSALS:
            self.stop(f"{short(sender)} starts over again and again", now, party=sender)
        elif self.state in EARLY:
            if sender in self._met:  # it started over, and has forgotten what we sent it before
                self._outbox.append((sender, to_message(self._own)))
            self._met.add(sender)
            self._board.proposals[sender] = proposal
            self._start_over()
            self._events.append(Proposed(sender, self.waiting_for()))
        else:
            self._late[sender] = message
            self.stop(f"{short(sender)} started over", now, party=sender, lost=True)

    def _handle_withdraw(self, sender: str, message: Withdraw, now: float) -> None:
        judged = self._differing.get(sender)
        if message.refused is not None:  # whosever proposal it was: all of us are in this or none
            reason = wants_another(sender, judged[2]) if judged else message.reason
            self._end(Outcome.REFUSED, reason, sender, now, refused=message.refused)
            return
        if judged is not None and judged[1].nonce == message.nonce:
            del self._differing[sender]
        known = self._board.proposals.get(sender)
        if known is None or known.nonce != message.nonce:
            return
        if self.state in EARLY:
            del self._board.proposals[sender]
            self._start_over()
            self._events.append(Withdrew(sender, message.reason))
        else:
            self._end(Outcome.FAILED, message.reason, sender, now, lost=message.lost)

    def _start_over(self) -> None:
        self.state = State.PROPOSING
        self.descriptor = None
        self._own_offers = {}

    def _advance(self, now: float) -> None:
        """Move on for as long as the board has what the state waits for."""
        while self.state is not State.ENDED:
            before = self.state
            match before:
                case State.PROPOSING:
                    self._try_describe(now)
                case State.OFFERING if self._own_offers:
                    self._sign(now)
                case State.SIGNING if self._all_said(Kind.AGREE) and self._have_all_offers():
                    self._agree()
                case State.READY if self._all_said(Kind.READY):
                    self.state = State.RUNNING
                    self._events.append(Released())
                case State.FINISHING if self._all_said(Kind.RESULT):
                    self._compare_results()
            if self.state is before:
                return

    def _try_describe(self, now: float) -> None:
        if len(self._board.proposals) < len(self.draft.parties):
            return
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
        self._outbox += [
            (did, replace(offer, statement=statement.text))
            for did, offer in self._own_offers.items()
        ]
        self.state = State.SIGNING

    def _agree(self) -> None:
        if self.descriptor is not None:
            self.state = State.MESHING
            self._events.append(Agreed(self.descriptor, dict(self._board.offers)))

    def _have_all_offers(self) -> bool:
        return self._board.offered(self._session_id()) >= set(self._others)

    def _are_of_ours(self, offers: Iterable[Offer]) -> bool:
        return all(offer.session == self._session_id() for offer in offers)

    def _compare_results(self) -> None:
        if self._board.results_differ(self.draft):
            self._end(Outcome.MISMATCH, "the parties' results differ")
        else:
            self._end(Outcome.DONE, "all results that must be are equal")

    def _all_said(self, kind: Kind) -> bool:
        return self._board.said(kind) >= set(self.draft.parties)

    def _session_id(self) -> str | None:
        return self.descriptor.id if self.descriptor else None

    def _say(self, kind: Kind, facts: Mapping[str, Any], now: float) -> Statement:
        """Sign it for the record; it travels in an offer or by pulse, unless somebody mails it."""
        descriptor = self.descriptor
        if descriptor is None:
            raise RuntimeError("nothing can be said for the record before there is a descriptor")
        rank = descriptor.rank(self._me)
        epoch = descriptor.epoch
        statement = self._speaker.say(kind, descriptor.id, rank, int(now), facts, epoch)
        self._board.statements[self._me, kind] = statement
        return statement

    def _send_all(self, message: SessionMessage) -> None:
        self._outbox += [(did, message) for did in self._others]

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
        if outcome not in (Outcome.DONE, Outcome.MISMATCH):
            if self.descriptor is not None:
                facts: dict[str, Any] = {"reason": clip(reason)}
                if party is not None:
                    facts["about"] = self.descriptor.rank(party)
                if lost:
                    facts["lost"] = True
                said = self._say(Kind.ABORT, facts, now)
                self._send_all(Say(said.session, said.text))
            self._send_all(Withdraw(self._own.nonce, clip(reason), refused, lost))
        self.state = State.ENDED
        self._events.append(Ended(outcome, reason, party, lost))
