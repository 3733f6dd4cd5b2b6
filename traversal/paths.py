"""Finding a direct path to one party: which of its addresses works, and agreeing on one.

Both sides send checks (authenticated STUN requests) to every address the other offered, from one
socket, again and again: a check that a NAT swallows has still opened our own NAT, so that one of
the other side's checks comes through. A check that arrives from an address nobody offered shows
one (a peer-reflexive candidate), and is answered by a check of our own at once.

    CHECKING  a path is looked for
    CHOSEN    ours is proven in both directions; the other side may not know yet
    SETTLED   both sides know

The controlling side picks the best answered address and nominates it (USE-CANDIDATE). The
controlled side, once its own check there is answered, takes it and confirms with USE-CANDIDATE in
a check of its own; RFC 8445 gives that no meaning, we use it so that neither side leaves while
the other still asks. Each repeats its word until it hears the other's, so the loss of any datagram
costs time only; whoever hears nothing more for a while leaves by itself.

Nothing here gives up: as long as timers are handled, a path that becomes possible is found.
Strangers get no answer at all, and leave no state.
Source: RFC 8445, sections 5 to 8; the pairs of one socket collapse to one per remote address.
"""

from __future__ import annotations

import math
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from traversal import stun
from traversal.candidate import Address, Candidate, Kind, LocalSide, RemoteSide, priority
from traversal.pairs import Pair, Path, Tried
from traversal.stun import Class, MalformedStun, Message

PACE = 0.005  # seconds between two checks of one finder (RFC 8445 14.2 allows no less)
BURST = 4  # checks that may be made up for at once when a timer was late
PATIENCE = 0.1  # seconds the controlling side waits for something better than its first answer
NOMINATION_WAIT = 0.05  # seconds, at least, between nominations and between confirmations
NOMINATION_LIFE = 1.0  # seconds, at least, until an unanswered nomination is taken back
GRACE = 0.1  # seconds, at least, that the controlling side stays to answer a repeated confirmation
LINGER = 1.0  # seconds of silence, at least, after which a side with a path leaves unconfirmed
KEEPALIVE = 10.0  # seconds between checks of a settled path, so that NATs keep their mapping
MAX_REFLEXIVE = 8  # addresses learnt from checks; two varying NATs would show new ones for ever
MAX_REMEMBERED = 256  # transactions of theirs that would be noticed if they came again
ROLE_CONFLICT = 487


class State(Enum):
    CHECKING = "checking"
    CHOSEN = "chosen"
    SETTLED = "settled"


class Datagram(NamedTuple):
    data: bytes
    destination: Address


@dataclass(frozen=True)
class PathFound:
    """Datagrams pass in both directions; a later PathFound replaces the earlier one."""

    path: Path


@dataclass(frozen=True)
class PathSettled:
    """The other side has the same path, or has not been heard for a while; we may leave."""

    path: Path


@dataclass(frozen=True)
class PairFailed:
    """An address has not answered while it was young; it is still tried, but rarely."""

    address: Address


Event = PathFound | PathSettled | PairFailed


class PathFinder:
    """`now` is monotonic seconds; `token(n)` gives n unpredictable bytes."""

    def __init__(
        self,
        local: LocalSide,
        remote: RemoteSide,
        *,
        controlling: bool,
        now: float,
        token: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.state = State.CHECKING
        self.role_conflict = False
        self._local = local
        self._remote = remote
        self._controlling = controlling
        self._token = token
        self._tie_breaker = int.from_bytes(token(8), "big")
        self._pairs: dict[Address, Pair] = {}
        self._chosen: Pair | None = None
        self._nominated: Pair | None = None
        self._nominated_at = -math.inf
        self._decide_at: float | None = None
        self._last_heard = -math.inf
        self._left = False
        self._reflexive = 0
        self._next_slot = now
        self._remembered: dict[bytes, None] = {}
        self._out: list[Datagram] = []
        self._events: deque[Event] = deque()
        versions = {ours.address.version for ours in local.candidates}
        for theirs in sorted(remote.candidates, key=lambda c: -c.priority):
            if theirs.address.version in versions:
                self._learn(theirs, now)

    @property
    def username(self) -> str:
        """What the other party's checks carry: names this finder among others on one socket."""
        return f"{self._local.ufrag}:{self._remote.ufrag}"

    @property
    def path(self) -> Path | None:
        return self._chosen.path if self._chosen else None

    def tried(self) -> tuple[Tried, ...]:
        return tuple(pair.tried for pair in self._pairs.values())

    def awaits(self, transaction: bytes) -> bool:
        """Whether an answer with this transaction is for us."""
        return any(transaction in pair.in_flight for pair in self._pairs.values())

    def handle_datagram(self, data: bytes, source: Address, now: float) -> None:
        """Never raises on what a stranger sent; who does not know the offers is not answered."""
        try:
            message = stun.parse(data)
        except MalformedStun:
            return
        if message.method != stun.BINDING or message.unknown:
            return
        if message.cls is Class.REQUEST:
            self._handle_request(message, data, source, now)
        elif message.cls in (Class.SUCCESS, Class.ERROR):
            self._handle_response(message, data, source, now)

    def handle_timer(self, now: float) -> None:
        self._decide(now)
        self._leave_when_quiet(now)
        for pair in sorted(self._due(now), key=lambda p: (not p.urgent, p.next_check)):
            if now < self._next_slot:
                break
            self._next_slot = max(self._next_slot, now - BURST * PACE) + PACE
            self._send_check(pair, now)

    def next_timer(self) -> float | None:
        times = [pair.next_check for pair in self._pairs.values() if pair.next_check is not None]
        timers = [max(min(times), self._next_slot)] if times else []
        if self._decide_at is not None:
            timers.append(self._decide_at)
        if self._chosen is not None and not self._left:
            timers.append(self._leave_at(self._chosen))
        return min(timers, default=None)

    def datagrams_to_send(self, now: float) -> list[Datagram]:
        self.handle_timer(now)
        out, self._out = self._out, []
        return out

    def next_event(self) -> Event | None:
        return self._events.popleft() if self._events else None

    # What arrives

    def _handle_request(self, request: Message, data: bytes, source: Address, now: float) -> None:
        attributes = request.attributes
        if attributes.get("USERNAME") != self.username:
            return
        if not stun.verify_integrity(data, self._local.password.encode()):
            return
        if self._is_repeated(request.transaction):
            return
        if ("ICE-CONTROLLING" in attributes) == self._controlling:
            self.role_conflict = True
            self._answer(request, source, {"ERROR-CODE": (ROLE_CONFLICT, "")}, Class.ERROR)
            return
        pair = self._pairs.get(source) or self._learn_reflexive(source, request, now)
        nominating = "USE-CANDIDATE" in attributes
        if nominating and self._controlling and not self._accept_confirmation(pair, now):
            return
        self._last_heard = now
        self._answer(request, source, {"XOR-MAPPED-ADDRESS": source}, Class.SUCCESS)
        if pair is None:
            return
        pair.heard += 1
        if nominating and not self._controlling:
            self._nominated = pair
        if not pair.works:
            pair.trigger(now)
        self._take_nominated(now)

    def _handle_response(self, response: Message, data: bytes, source: Address, now: float) -> None:
        pair = self._pairs.get(
            source
        )  # an answer from elsewhere proves nothing: RFC 8445 7.2.5.2.1
        if pair is None or response.transaction not in pair.in_flight:
            return
        if not stun.verify_integrity(data, self._remote.password.encode()):
            return
        check = pair.in_flight.pop(response.transaction)
        self._last_heard = now
        if response.cls is Class.ERROR:
            code, _ = response.attributes.get("ERROR-CODE", (0, ""))
            self.role_conflict = self.role_conflict or code == ROLE_CONFLICT
            return
        mapped = response.attributes.get("XOR-MAPPED-ADDRESS")
        if mapped is None:
            return
        self._prove(pair, mapped, now - check.sent_at)
        if check.nominating:
            self._hear_agreement(pair, now)
        self._take_nominated(now)
        self._decide(now)

    def _prove(self, pair: Pair, mapped: Address, rtt: float) -> None:
        kinds = {ours.address: ours.kind for ours in reversed(self._local.candidates)}
        pair.prove(kinds.get(mapped, Kind.PEER_REFLEXIVE), rtt)

    def _learn_reflexive(self, source: Address, request: Message, now: float) -> Pair | None:
        if self._reflexive == MAX_REFLEXIVE:
            return None
        self._reflexive += 1
        said = request.attributes.get("PRIORITY", 0)
        return self._learn(Candidate(Kind.PEER_REFLEXIVE, source, said, "prflx"), now)

    def _learn(self, remote: Candidate, now: float) -> Pair:
        return self._pairs.setdefault(remote.address, Pair(remote, now, now))

    def _is_repeated(self, transaction: bytes) -> bool:
        """Our other side never sends the same check twice: the network did, or an attacker."""
        if transaction in self._remembered:
            return True
        self._remembered[transaction] = None
        if len(self._remembered) > MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        return False

    # Agreement

    def _decide(self, now: float) -> None:
        """The controlling side: nominate the best, or take an unanswered nomination back."""
        if not self._controlling or self.state is not State.CHECKING:
            return
        if self._nominated is not None:
            if now < self._nominated_at + max(NOMINATION_LIFE, 6 * self._nominated.rtt):
                return
            self._nominated.rtt = math.inf
            self._nominated = self._decide_at = None
        working = [pair for pair in self._pairs.values() if pair.works]
        if not working:
            return
        if self._decide_at is None:
            self._decide_at = now + PATIENCE
        best = min(working, key=lambda pair: pair.preference)
        if now >= self._decide_at or not self._better_is_possible(best):
            self._nominate(best, now)

    def _better_is_possible(self, best: Pair) -> bool:
        return any(
            pair.best_hope[:3] < best.preference[:3]
            for pair in self._pairs.values()
            if not pair.works
        )

    def _nominate(self, pair: Pair, now: float) -> None:
        self._nominated, self._nominated_at = pair, now
        self._decide_at = now + max(NOMINATION_LIFE, 6 * pair.rtt)
        pair.hurry(now)

    def _accept_confirmation(self, pair: Pair | None, now: float) -> bool:
        """The controlling side hears: the other one has taken this path.

        A confirmation of any path but ours stays unanswered, so that the other side hears our
        nomination again before it believes that we agree.
        """
        if pair is None or pair is not (self._chosen or self._nominated):
            return False
        self._choose(pair)
        self._settle(pair, now)
        return True

    def _take_nominated(self, now: float) -> None:
        """The controlled side: choose what was nominated as soon as our own check proves it."""
        pair = self._nominated
        if self._controlling or pair is None or not pair.works or pair is self._chosen:
            return
        self._choose(pair)
        self.state, self._left = State.CHOSEN, False
        self._last_heard = now
        pair.hurry(now)

    def _hear_agreement(self, pair: Pair, now: float) -> None:
        """Our nomination or confirmation of this pair was answered."""
        if self._controlling and pair is self._nominated and self.state is State.CHECKING:
            self._choose(pair)
            self.state = State.CHOSEN
        elif not self._controlling and pair is self._chosen:
            self._settle(pair, now)

    def _settle(self, pair: Pair, now: float) -> None:
        self.state = State.SETTLED
        pair.next_check = now + KEEPALIVE

    def _choose(self, pair: Pair) -> None:
        if pair is not self._chosen:
            self._chosen, self._decide_at = pair, None
            self._events.append(PathFound(pair.path))
            for other in self._pairs.values():
                if other is not pair:
                    other.next_check = None

    def _leave_when_quiet(self, now: float) -> None:
        if self._chosen is not None and not self._left and now >= self._leave_at(self._chosen):
            self._left = True
            self._settle(self._chosen, now)
            self._events.append(PathSettled(self._chosen.path))

    def _leave_at(self, chosen: Pair) -> float:
        if self.state is not State.SETTLED:
            return self._last_heard + max(LINGER, 5 * chosen.rtt)
        if self._controlling:
            return self._last_heard + max(GRACE, 3 * chosen.rtt)
        return self._last_heard

    # What is sent

    def _due(self, now: float) -> list[Pair]:
        return [
            pair
            for pair in self._pairs.values()
            if pair.next_check is not None and pair.next_check <= now
        ]

    def _send_check(self, pair: Pair, now: float) -> None:
        nominating = pair is (self._nominated if self._controlling else self._chosen)
        role = "ICE-CONTROLLING" if self._controlling else "ICE-CONTROLLED"
        attributes: dict[str, object] = {
            "USERNAME": f"{self._remote.ufrag}:{self._local.ufrag}",
            "PRIORITY": priority(Kind.PEER_REFLEXIVE, pair.remote.address.version),
            role: self._tie_breaker,
        }
        if nominating:
            attributes["USE-CANDIDATE"] = True
        transaction = self._token(12)
        request = Message(Class.REQUEST, transaction, attributes)
        data = stun.serialize(request, self._remote.password.encode())
        self._out.append(Datagram(data, pair.remote.address))
        pair.note_sent(transaction, now, nominating)
        self._plan_next_check(pair, now, nominating)

    def _plan_next_check(self, pair: Pair, now: float, nominating: bool) -> None:
        if self._chosen is not None and pair is not self._chosen:
            pair.next_check = None
        elif self.state is State.SETTLED:
            pair.next_check = now + KEEPALIVE
        elif nominating:
            pair.next_check = now + max(NOMINATION_WAIT, 0.5 * pair.rtt)
        else:
            pair.next_check = now + pair.wait(now)
            self._tell_failure(pair, now)

    def _tell_failure(self, pair: Pair, now: float) -> None:
        if not (pair.failed or pair.works or pair.is_young(now)):
            pair.failed = True
            self._events.append(PairFailed(pair.remote.address))

    def _answer(
        self, request: Message, source: Address, attributes: dict[str, object], cls: Class
    ) -> None:
        """Never longer than the request, which had more attributes."""
        response = Message(cls, request.transaction, attributes)
        data = stun.serialize(response, self._local.password.encode())
        self._out.append(Datagram(data, source))
