"""Finding a path to one party, and a better one, for as long as the session lives.

Both sides send checks (authenticated STUN requests) to every address the other offered, again and
again: a check that a NAT swallows has still opened our own NAT, so that one of the other side's
checks comes through. A check that arrives from an address nobody offered shows one (a
peer-reflexive candidate), and is answered by a check of our own at once. A relay is an address
like the others, tried first. Which of the working pairs is used is agreed on in `agreement`.

Nothing here gives up: as long as timers are handled, a path that becomes possible is found, and
the checks that this takes become rare. Strangers get no answer at all, and leave no state.

    finder = PathFinder(local, remote, controlling=rank < their_rank, now=now)
    finder.handle_datagram(data, source, now)
    finder.datagrams_to_send(now)    # -> list[Datagram]
    finder.next_timer()              # -> float | None
    finder.next_event()              # -> PathFound | PathSettled | PairFailed | None

Source: RFC 8445, sections 5 to 8; the pairs of one socket collapse to one per remote address.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from traversal.agreement import Agreement, Event, State
from traversal.birthday import Attempt, Plan, plan
from traversal.candidate import (
    MAX_CANDIDATES,
    Address,
    Candidate,
    Kind,
    LocalSide,
    RemoteSide,
    is_in_another_network,
)
from traversal.checks import Checks, is_role_conflict
from traversal.controlled import Controlled
from traversal.controlling import Controlling
from traversal.datagram import Datagram
from traversal.explanation import Explanation, explain
from traversal.pairs import Pair, Path, Tried
from traversal.schedule import Schedule
from traversal.stun import Class, Message
from traversal.turns import Pacer

MAX_PAIRS = 2 * MAX_CANDIDATES  # that many are tried, whatever is offered in a long session
MAX_REFLEXIVE = 8  # addresses learnt from checks; two varying NATs would show new ones for ever
FORGET_REFLEXIVE = 60.0  # seconds after which such an address may make room for another


Way = tuple[Address, int | None]  # an address of theirs, and the port of ours, None for the usual


class PathFinder:
    """`now` is monotonic seconds; `token(n)` gives n unpredictable bytes.

    All finders of one port share a `pacer`.
    """

    def __init__(
        self,
        local: LocalSide,
        remote: RemoteSide,
        *,
        controlling: bool,
        now: float,
        token: Callable[[int], bytes] = secrets.token_bytes,
        pacer: Pacer | None = None,
    ) -> None:
        self.role_conflict = False
        self._checks = Checks(local, remote, controlling=controlling, token=token)
        self._ours: tuple[Candidate, ...] = local.candidates
        self._theirs: dict[Address, Candidate] = {}
        self._token = token
        self._pairs: dict[Way, Pair] = {}
        role = Controlling if controlling else Controlled
        self._agreement: Agreement = role(self._pairs.values())
        self._pacer = pacer or Pacer(now)
        self._pacer.finders += 1
        self._schedule = Schedule(self._pairs.values(), self._agreement, self._pacer)
        self._out: list[Datagram] = []
        self._attempt: Attempt | None = None
        self._let_in: set[int | None] = {None}
        self.add_remote(remote.candidates, now)

    @property
    def state(self) -> State:
        return self._agreement.state

    @property
    def username(self) -> str:
        """What the other party's checks carry: names this finder among others on one socket."""
        return self._checks.username

    @property
    def path(self) -> Path | None:
        """Where to send; after distress without a way out still the old one."""
        chosen = self._agreement.chosen
        return chosen.path if chosen else None

    @property
    def is_direct(self) -> bool:
        """Whether a direct path is in use; not after distress, until one is chosen again."""
        return self._agreement.is_direct

    def explain(self) -> Explanation:
        """Why there is no direct path, and when the next try is."""
        chosen = None if self.state is State.CHECKING else self._agreement.chosen
        pairs, theirs = tuple(self._pairs.values()), tuple(self._theirs.values())
        return explain(chosen, pairs, self._ours, theirs, role_conflict=self.role_conflict)

    def relays(self) -> tuple[Address, ...]:
        """The addresses of relays among the other party's, those that work first.

        Without ports of our own machine that lead to one, since nothing there leaves it elsewhere.
        """
        found = [pair for pair in self._pairs.values() if pair.relayed]
        relayed = [pair for pair in found if not pair.remote.address.loopback]
        return tuple(p.remote.address for p in sorted(relayed, key=lambda p: not p.works))

    def tried(self) -> tuple[Tried, ...]:
        return tuple(pair.tried for pair in self._pairs.values())

    def awaits(self, transaction: bytes) -> bool:
        """Whether an answer with this transaction is for us."""
        if self._attempt is not None and transaction in self._attempt.in_flight:
            return True
        return any(transaction in pair.in_flight for pair in self._pairs.values())

    def add_remote(self, candidates: Sequence[Candidate], now: float) -> None:
        """More addresses of the other party; one known already is tried as if it were new."""
        for theirs in candidates:
            self._theirs.pop(theirs.address, None)
            self._theirs[theirs.address] = theirs
        while len(self._theirs) > MAX_PAIRS:
            del self._theirs[next(iter(self._theirs))]
        for theirs in sorted(candidates, key=lambda c: (c.kind is not Kind.RELAY, -c.priority)):
            if self._can_reach(theirs.address):
                self._try_anew(theirs, now)
        self._forget_hopeless()
        self._agreement.turn(now)

    def set_local(self, candidates: Sequence[Candidate], now: float) -> None:
        """Our network changed: prove everything anew, most of all the path in use."""
        if {c.address for c in candidates} == {c.address for c in self._ours}:
            self._ours = tuple(candidates)
            return
        self._ours = tuple(candidates)
        self._agreement.doubt(now)
        for pair in self._pairs.values():
            if pair is not self._agreement.chosen:
                pair.recent.clear()
        self._check_all(now)
        known = {address for address, _ in self._pairs}
        fresh = [theirs for theirs in self._theirs.values() if theirs.address not in known]
        self.add_remote(fresh, now)

    def distress(self, now: float) -> None:
        """WireGuard says that the path in use is dead: leave it, and check all others at once.

        Ignored within a second or 4 RTTs of the PathFound, since it must mean the path before.
        """
        if self.state is not State.CHECKING and not self._agreement.is_too_new(now):
            self._agreement.distress(now)
            self._check_all(now)

    def birthday_plan(self) -> Plan | None:
        """Our part in a birthday attempt, if the NATs are such that only this could help."""
        return plan(self._ours, tuple(self._theirs.values()))

    def attempt_birthday(self, plan: Plan, source_ports: Sequence[int], now: float) -> None:
        """Run the plan once, from ports of ours that the caller holds open (`source_ports`)."""
        self._attempt = Attempt.start(plan, source_ports, now, self._token)

    @property
    def attempting(self) -> bool:
        """Whether a birthday attempt is still on its way."""
        return self._attempt is not None

    def answered_ports(self) -> dict[int, Address]:
        """The source ports, beside the session's own, of which a check was answered, and by whom.

        A path from there is used after `let_in`.
        """
        ways = self._pairs.items()
        return {port: at for (at, port), pair in ways if port is not None and pair.answers}

    def let_in(self, source_port: int, now: float) -> None:
        """All that comes to this port of ours, or goes back from there, arrives from now on."""
        self._let_in.add(source_port)
        for pair in self._pairs.values():
            if pair.source_port == source_port:
                pair.shut = False
        self._agreement.turn(now)

    def needed_ports(self) -> frozenset[int]:
        """The source ports, beside the session's own, that must stay open."""
        ports = {port for _, port in self._pairs if port is not None}
        return frozenset(ports if self._attempt is None else ports | self._attempt.ports())

    def handle_datagram(
        self, data: bytes, source: Address, now: float, source_port: int | None = None
    ) -> None:
        """Never raises on what a stranger sent; who does not know the offers is not answered.

        `source_port` is the port of ours it came to, if that is not the session's own.
        """
        message = self._checks.read(data)
        if message is None:
            return
        if message.cls is Class.REQUEST:
            self._handle_check(message, (source, source_port), now)
        else:
            self._handle_answer(message, (source, source_port), now)

    def handle_timer(self, now: float) -> None:
        self._agreement.turn(now)
        due = [pair for pair in self._pairs.values() if pair.next_check <= now]
        for pair in sorted(due, key=lambda pair: (not pair.urgent, pair.next_check)):
            if not self._pacer.is_free(now):
                break
            self._pacer.take(now)
            self._send_check(pair, now)
        self._continue_attempt(now)

    def next_timer(self) -> float | None:
        agreement = self._agreement.next_timer()
        if not self._pairs:
            return None
        first = min(pair.next_check for pair in self._pairs.values())
        if self._attempt is not None:
            first = min(first, self._attempt.next_at)
        return min(max(first, self._pacer.next_slot), agreement)

    def datagrams_to_send(self, now: float) -> list[Datagram]:
        self.handle_timer(now)
        out, self._out = self._out, []
        return out

    def next_event(self) -> Event | None:
        events = self._agreement.events
        return events.popleft() if events else None

    # What arrives

    def _handle_check(self, check: Message, way: Way, now: float) -> None:
        if self._checks.is_of_our_role(check):
            self.role_conflict = True
            self._out.append(Datagram(self._checks.answer(check, way[0]), *way))
            return
        pair = self._pairs.get(way) or self._learn_reflexive(way, check, now)
        if self._hear(check.attributes, pair):
            self._out.append(Datagram(self._checks.answer(check, way[0]), *way))
        if pair is not None:
            pair.heard += 1
            if not pair.works:
                pair.trigger(now)
        self._agreement.turn(now)

    def _hear(self, attributes: Mapping[str, Any], pair: Pair | None) -> bool:
        """What a check says besides asking; whether to answer it."""
        if "DISTRESS" in attributes:
            self._agreement.hear_complaint(attributes["DISTRESS"])
        if "NOMINATION" not in attributes:
            return True
        return pair is not None and self._agreement.hear(attributes["NOMINATION"], pair)

    def _handle_answer(self, answer: Message, way: Way, now: float) -> None:
        """An answer from elsewhere than the check went to proves nothing (RFC 8445 7.2.5.2.1)."""
        pair = self._pairs.get(way) or self._learn_from_probe(way, answer.transaction)
        if pair is None or answer.transaction not in pair.in_flight:
            return
        check = pair.in_flight.pop(answer.transaction)
        if answer.cls is Class.ERROR:
            self.role_conflict = self.role_conflict or is_role_conflict(answer)
            return
        mapped = answer.attributes.get("XOR-MAPPED-ADDRESS")
        if mapped is None:
            return
        kinds = {ours.address: ours.kind for ours in reversed(self._ours)}
        self._pacer.note_rtt(now - check.sent_at)
        pair.prove(kinds.get(mapped, Kind.PEER_REFLEXIVE), now - check.sent_at, now)
        if check.word is not None:
            self._agreement.answered(check.word, pair, now)
        self._agreement.turn(now)

    # Pairs

    def _check_all(self, now: float) -> None:
        for pair in self._pairs.values():
            if pair.works:
                pair.hurry(now)
            else:
                pair.renew(now)

    def _can_reach(self, address: Address) -> bool:
        return address.loopback or address.version in {ours.address.version for ours in self._ours}

    def _try_anew(self, theirs: Candidate, now: float) -> None:
        pair = self._pairs.get((theirs.address, None))
        if pair is None:
            self._add(Pair(theirs, now, now))
            return
        if pair.remote.kind is Kind.PEER_REFLEXIVE:
            pair.remote, pair.unlikely = theirs, False
        if not pair.works:
            pair.renew(now)

    def _learn_reflexive(self, way: Way, request: Message, now: float) -> Pair | None:
        learnt = [p for p in self._pairs.values() if p.remote.kind is Kind.PEER_REFLEXIVE]
        full = len(learnt) >= MAX_REFLEXIVE
        if full:
            old = [p for p in learnt if not self._is_needed(p) and now > p.born + FORGET_REFLEXIVE]
            if not old:
                return None
            self._drop(old[0])
        address, source_port = way
        said = request.attributes.get("PRIORITY", 0)
        remote = Candidate(Kind.PEER_REFLEXIVE, address, said, "prflx")
        return self._add(Pair(remote, now, now, source_port, unlikely=full))

    def _learn_from_probe(self, way: Way, transaction: bytes) -> Pair | None:
        """A probe of the birthday attempt is answered: its address becomes a pair."""
        sent_at = None if self._attempt is None else self._attempt.sent_at(transaction, *way)
        if sent_at is None:
            return None
        remote = Candidate(Kind.PEER_REFLEXIVE, way[0], 0, "prflx")
        pair = self._add(Pair(remote, sent_at, sent_at, way[1]))
        pair.note_sent(transaction, sent_at, None)
        return pair

    def _add(self, pair: Pair) -> Pair:
        pair.shut = pair.source_port not in self._let_in
        self._pairs[pair.remote.address, pair.source_port] = pair
        return pair

    def _forget_hopeless(self) -> None:
        """Addresses of networks that a party has left long ago make room for new ones."""
        excess = len(self._pairs) - MAX_PAIRS
        hopeless = [pair for pair in self._pairs.values() if not self._is_needed(pair)]
        for pair in sorted(hopeless, key=lambda pair: pair.born)[: max(0, excess)]:
            self._drop(pair)

    def _is_needed(self, pair: Pair) -> bool:
        return pair.works or pair is self._agreement.chosen

    def _drop(self, pair: Pair) -> None:
        del self._pairs[pair.remote.address, pair.source_port]

    # What is sent

    def _continue_attempt(self, now: float) -> None:
        """Stops at the first direct path, and when all is tried and answered."""
        attempt, path = self._attempt, self.path
        if attempt is None:
            return
        if now >= attempt.ends_at or (path is not None and not path.relayed):
            self._attempt = None
            return
        while self._pacer.is_free(now) and attempt.is_due(now):
            self._pacer.take(now)
            probe = attempt.next_probe
            transaction, data = self._checks.make(probe.destination, None, None)
            attempt.note_sent(transaction, now)
            self._out.append(Datagram(data, probe.destination, probe.source_port))

    def _send_check(self, pair: Pair, now: float) -> None:
        word = self._agreement.word_on(pair)
        transaction, data = self._checks.make(pair.remote.address, word, self._agreement.complaint)
        self._out.append(Datagram(data, pair.remote.address, pair.source_port))
        pair.note_sent(transaction, now, word)
        self._schedule.plan(pair, now, elsewhere=self._is_elsewhere(pair))

    def _is_elsewhere(self, pair: Pair) -> bool:
        return is_in_another_network(pair.remote, self._theirs.values(), self._ours)
