"""What a relay decides: which ports are reserved, who may bind, and which pairs are open.

No bytes of a pair pass through here; whoever forwards them is told by events. A bind is judged in
the order that costs a stranger most and us least: the ticket's own proof, a nonce that shows the
source address to be real, the side's proof, and only then does anything here remember it. Who has
no ticket of this relay is not answered at all; nobody gets more bytes than he sent.

Times are UTC seconds, since tickets outlive the process.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import struct
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from traversal import stun
from traversal.candidate import Address
from traversal.relay import LIFETIME, REQUEST_SIZE, STALE_NONCE, UNAUTHENTICATED, RelayPair
from traversal.stun import BIND, Class, MalformedStun, Message

BIND_WITHIN = 600  # seconds that a port stays reserved for a pair that nobody bound
TICKET_LIFE = 24 * 3600  # seconds
NONCE_LIFE = 120  # seconds
RESTART_GRACE = 180  # seconds after its start in which a relay cannot know who was bound before
FORBIDDEN, TAKEN, QUOTA, FULL = 403, 437, 486, 508

_TICKET = struct.Struct("!BIIH8s8s")  # version, bind_by, until, port, account, serial
_VERSION = 1
_PROOF = 16  # bytes of a ticket's HMAC


@dataclass(frozen=True)
class Channel:
    """A side that is not on UDP: an open WebSocket, by a name that no other ever has."""

    name: str

    def __str__(self) -> str:
        return self.name


Source = Address | Channel


@dataclass(frozen=True)
class Rules:
    ports: range  # one for a pair
    hosts: tuple[str, ...]  # the relay's own, as tickets name them
    may_bind: Callable[[Address], bool]  # whether a source address is one to send to
    rate: int  # bits a second of each direction of a pair
    idle: int = LIFETIME  # seconds without a bind after which a side is forgotten
    pairs: int = 1000  # reserved and open
    account_pairs: int = 128  # of one account, reserved and open
    websocket: str | None = None


@dataclass(frozen=True)
class PairOpened:
    """Forward between these two from now on, in place of what was said of this port before."""

    port: int
    sides: tuple[Source, Source]


@dataclass(frozen=True)
class PairClosed:
    """Forward nothing at this port any more."""

    port: int


Event = PairOpened | PairClosed


@dataclass
class _Side:
    source: Source | None = None
    until: float = 0.0


@dataclass
class Pair:
    """A port, reserved or open."""

    port: int
    ticket: str
    account: bytes
    until: float  # of the ticket
    reserved_until: float | None  # None once a side was bound
    session: str | None = None  # of the request that reserved it
    sides: tuple[_Side, _Side] = field(default_factory=lambda: (_Side(), _Side()))
    announced: tuple[Source, Source] | None = None

    @property
    def sources(self) -> tuple[Source, Source] | None:
        first, second = (side.source for side in self.sides)
        return None if first is None or second is None else (first, second)


@dataclass(frozen=True)
class _Ticket:
    id: str
    port: int
    bind_by: int
    until: int
    account: bytes


class _Ignored(Exception):
    """A bind that is not answered; the word says why, for counting."""


class RelayServer:
    """`key` is 32 secret bytes that nobody else and no other relay has."""

    def __init__(
        self,
        key: bytes,
        rules: Rules,
        now: float,
        token: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.refused: Counter[str] = Counter()  # binds, by reason
        self._key = key
        self._rules = rules
        self._token = token
        self._started = now
        self._pairs: dict[int, Pair] = {}
        self._events: deque[Event] = deque()

    @property
    def pairs(self) -> Mapping[int, Pair]:
        return self._pairs

    def reserve(self, account: str, session: str, count: int, now: float) -> list[RelayPair]:
        """Ports for so many pairs or fewer; what this session reserved before is given back."""
        tag = self._hash("account", account.encode())[:8]
        for pair in list(self._pairs.values()):
            if pair.reserved_until is not None and (pair.account, pair.session) == (tag, session):
                self._close(pair)
        held = sum(pair.account == tag for pair in self._pairs.values())
        room = min(
            count,
            self._rules.account_pairs - held,
            self._rules.pairs - len(self._pairs),
            len(self._rules.ports) - len(self._pairs),
        )
        return [self._reserve(tag, session, now) for _ in range(room)]

    def handle_bind(
        self, data: bytes, source: Source, port: int | None, now: float
    ) -> bytes | None:
        """The answer, if any; `port` is where it came in, None for a Channel.

        Never raises on what a stranger sent, and an answer is never longer than `data`.
        """
        try:
            return self._answer(data, source, port, now)
        except _Ignored as ignored:
            self.refused[str(ignored)] += 1
            return None

    def leave(self, channel: Channel) -> None:
        """A WebSocket has closed."""
        for pair in list(self._pairs.values()):
            for side in pair.sides:
                if side.source == channel:
                    side.source = None
                    self._announce(pair)

    def next_event(self) -> Event | None:
        return self._events.popleft() if self._events else None

    def handle_timer(self, now: float) -> None:
        """To be called every few seconds: forgets who has not bound again."""
        for pair in list(self._pairs.values()):
            for side in pair.sides:
                if side.source is not None and side.until <= now:
                    side.source = None
            idle = pair.reserved_until is None and all(s.source is None for s in pair.sides)
            given_up = pair.reserved_until is not None and pair.reserved_until <= now
            if idle or given_up or pair.until <= now:
                self._close(pair)
            else:
                self._announce(pair)

    # Tickets

    def _reserve(self, account: bytes, session: str, now: float) -> RelayPair:
        port = self._free_port()
        bind_by, until = int(now) + BIND_WITHIN, int(now) + TICKET_LIFE
        plain = _TICKET.pack(_VERSION, bind_by, until, port, account, self._token(8))
        ticket = _base64(plain + self._hash("ticket", plain)[:_PROOF])
        self._pairs[port] = Pair(port, ticket, account, until, bind_by, session)
        return RelayPair(
            self._rules.hosts,
            port,
            ticket,
            (self._secret(ticket, 0).decode(), self._secret(ticket, 1).decode()),
            bind_by,
            until,
            self._rules.rate,
            self._rules.websocket,
        )

    def _free_port(self) -> int:
        """A random one, so that tickets of before a restart seldom name it, too."""
        ports = self._rules.ports
        start = int.from_bytes(self._token(4), "big") % len(ports)
        in_turn = (ports[(start + n) % len(ports)] for n in range(len(ports)))
        return next(port for port in in_turn if port not in self._pairs)

    def _open_ticket(self, username: str) -> tuple[_Ticket, int]:
        """The ticket and the side. Raises: _Ignored, if it is none of ours."""
        id_, _, side = username.rpartition(":")
        try:
            sealed = base64.urlsafe_b64decode(id_ + "=" * (-len(id_) % 4))
        except ValueError as error:
            raise _Ignored("forged") from error
        plain, proof = sealed[:-_PROOF], sealed[-_PROOF:]
        if (
            side not in {"0", "1"}
            or len(plain) != _TICKET.size
            or _base64(sealed) != id_  # one spelling only
            or not hmac.compare_digest(self._hash("ticket", plain)[:_PROOF], proof)
        ):
            raise _Ignored("forged")
        _, bind_by, until, port, account, _ = _TICKET.unpack(plain)
        return _Ticket(id_, port, bind_by, until, account), int(side)

    def _secret(self, ticket: str, side: int) -> bytes:
        """As both ends use it for integrity: text."""
        return _base64(self._hash(f"secret {side}", ticket.encode())).encode()

    # Nonces: no state, and worth nothing to another address

    def _nonce(self, source: Source, now: float) -> str:
        at = int(now).to_bytes(4, "big")
        return _base64(at + self._hash("nonce", at + str(source).encode())[:12])

    def _nonce_fault(self, nonce: str | None, source: Source, now: float) -> int | None:
        if nonce is None:
            return UNAUTHENTICATED
        try:
            at = base64.urlsafe_b64decode(nonce + "=" * (-len(nonce) % 4))[:4]
        except ValueError:
            return STALE_NONCE
        expected = _base64(at + self._hash("nonce", at + str(source).encode())[:12])
        if not hmac.compare_digest(expected.encode(), nonce.encode()):
            return STALE_NONCE
        return None if abs(now - int.from_bytes(at, "big")) <= NONCE_LIFE else STALE_NONCE

    # Binding

    def _answer(self, data: bytes, source: Source, port: int | None, now: float) -> bytes:
        try:
            request = stun.parse(data)
        except MalformedStun as error:
            raise _Ignored("malformed") from error
        if request.cls is not Class.REQUEST or request.method != BIND or request.unknown:
            raise _Ignored("malformed")
        ticket, side = self._open_ticket(request.attributes.get("USERNAME", ""))
        if port is not None and ticket.port != port:
            raise _Ignored("forged")
        if len(data) < REQUEST_SIZE:
            raise _Ignored("malformed")
        fault = self._nonce_fault(request.attributes.get("NONCE"), source, now)
        if fault is not None:
            return self._error(request, fault, "", None, NONCE=self._nonce(source, now))
        secret = self._secret(ticket.id, side)
        if not stun.verify_integrity(data, secret):
            raise _Ignored("forged")
        refusal = self._judge(ticket, side, source, now)
        if refusal is not None:
            return self._error(request, *refusal, secret)
        lifetime = min(request.attributes.get("LIFETIME", LIFETIME), self._rules.idle)
        self._bind(ticket, side, source, lifetime, now)
        return self._success(request, ticket.port, side, source, lifetime, secret, now)

    def _judge(
        self, ticket: _Ticket, side: int, source: Source, now: float
    ) -> tuple[int, str] | None:
        if ticket.until <= now:
            return FORBIDDEN, "expired"
        if isinstance(source, Address) and not self._rules.may_bind(source):
            return FORBIDDEN, "address"
        pair = self._pairs.get(ticket.port)
        if pair is not None and pair.ticket == ticket.id:
            to_itself = pair.sides[1 - side].source == source
            return (FORBIDDEN, "address") if to_itself else None
        if ticket.bind_by <= now and now - self._started > RESTART_GRACE:
            return FORBIDDEN, "expired"
        if ticket.port not in self._rules.ports:
            return FORBIDDEN, "port"
        if pair is not None and pair.reserved_until is None:
            return TAKEN, "port"
        if pair is None and len(self._pairs) >= self._rules.pairs:
            return FULL, "pairs"
        held = sum(other.account == ticket.account for other in self._pairs.values())
        return (QUOTA, "account") if held >= self._rules.account_pairs else None

    def _bind(self, ticket: _Ticket, side: int, source: Source, lifetime: int, now: float) -> None:
        pair = self._pairs.get(ticket.port)
        if pair is None or pair.ticket != ticket.id:
            if lifetime == 0:
                return
            pair = Pair(ticket.port, ticket.id, ticket.account, ticket.until, None)
            self._pairs[ticket.port] = pair
        bound = pair.sides[side]
        if lifetime == 0:
            # A stream that ends after UDP has taken its place has nothing to release.
            bound.source = None if bound.source == source else bound.source
        else:
            pair.reserved_until = None
            bound.source, bound.until = source, now + lifetime
        if all(each.source is None for each in pair.sides) and pair.reserved_until is None:
            self._close(pair)
        else:
            self._announce(pair)

    def _announce(self, pair: Pair) -> None:
        if pair.sources == pair.announced:
            return
        pair.announced = pair.sources
        opened = pair.sources
        self._events.append(
            PairClosed(pair.port) if opened is None else PairOpened(pair.port, opened)
        )

    def _close(self, pair: Pair) -> None:
        del self._pairs[pair.port]
        if pair.announced is not None:
            self._events.append(PairClosed(pair.port))

    # Answers

    def _success(
        self,
        request: Message,
        port: int,
        side: int,
        source: Source,
        lifetime: int,
        secret: bytes,
        now: float,
    ) -> bytes:
        attributes: dict[str, Any] = {"LIFETIME": lifetime, "NONCE": self._nonce(source, now)}
        if isinstance(source, Address):
            attributes["XOR-MAPPED-ADDRESS"] = source
        pair = self._pairs.get(port)
        if pair is not None and pair.sides[1 - side].source is not None:
            attributes["OTHER-SIDE-BOUND"] = True
        return stun.serialize(Message(Class.SUCCESS, request.transaction, attributes, BIND), secret)

    def _error(
        self, request: Message, code: int, reason: str, secret: bytes | None, **more: object
    ) -> bytes:
        if secret is not None:
            self.refused[reason] += 1
        attributes = {"ERROR-CODE": (code, reason), **more}
        return stun.serialize(Message(Class.ERROR, request.transaction, attributes, BIND), secret)

    def _hash(self, purpose: str, data: bytes) -> bytes:
        return hmac.digest(self._key, purpose.encode() + b"\0" + data, "sha256")


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
