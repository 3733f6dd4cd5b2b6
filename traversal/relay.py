"""The relay seen from a party: its ticket, and the binding that keeps its side of a pair open.

A mediator reserves one UDP port for a pair and gives its account a ticket with two secrets, one a
side. Each party binds at that port from the address where WireGuard will speak from; from then on
what one sends to the port comes out of the port at the other. So a relay is one candidate for
path finding, `host:port`, the same for both.

    ticket = RelayTicket.from_json(...)
    binding = RelayBinding(ticket, Address(ticket.hosts[0], ticket.port), now)
    binding.handle_datagram(data, source, now)   # -> whether it was the relay's word to us
    binding.datagrams_to_send(now); binding.next_timer()
    binding.bound; binding.other_bound; binding.mapped; binding.rtt; binding.refusal

A bind is a STUN request of a method of our own: USERNAME `ticket:side`, LIFETIME, the NONCE of the
relay's challenge, PADDING (so that no answer is longer), MESSAGE-INTEGRITY-SHA256 by the secret.
docs/protocols/relay.md has every field.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self
from urllib.parse import urlsplit

from traversal import stun
from traversal.candidate import Address
from traversal.datagram import Datagram
from traversal.stun import BIND, Class, MalformedStun, Message
from traversal.turns import Pacer

REQUEST_SIZE = 240  # bytes of a bind, at least; every answer is shorter
LIFETIME = 120  # seconds that a bind holds without another
REFRESH = 5.0  # seconds between binds: how soon a relay that started again is bound again
FIRST_ALONE = 1.0  # the same while the other side has not come, doubled each time
FIRST_WAIT, LONGEST_WAIT = 0.1, 2.0  # seconds for an answer before the bind is sent again
LOST_AFTER = 10.0  # seconds without an answer after which the side counts as no longer bound
DOUBT = 0.3  # the same, at least, where there is a reason to think so
FAILED_AFTER = 3.0  # seconds without an answer after which a side that is not bound wants a ticket
CHALLENGES = 3  # in a row, after which the relay and we do not understand each other
UNAUTHENTICATED, STALE_NONCE = 401, 438

MAX_RELAYS = 4  # tickets of one party in an offer
MAX_HOSTS = 4
MAX_URL = 512
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")


class BadTicket(ValueError):
    """Not a ticket that anybody can use; refuse what carried it."""


@dataclass(frozen=True)
class RelayTicket:
    """One side's right to bind at a relay."""

    hosts: tuple[str, ...]  # literal addresses, IPv4 or IPv6, of one relay
    port: int  # UDP, for this pair alone
    id: str
    side: int  # 0: the party whose mediator it is; 1: the other
    secret: str = field(repr=False)
    bind_by: int  # UTC seconds; the first bind comes before
    until: int  # UTC seconds; the pair ends then
    websocket: str | None = None  # ws:// or wss:// URL for who has no UDP

    def to_json(self) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "hosts": list(self.hosts),
            "port": self.port,
            "ticket": self.id,
            "side": self.side,
            "secret": self.secret,
            "bind_by": self.bind_by,
            "until": self.until,
        }
        return fields if self.websocket is None else {**fields, "websocket": self.websocket}

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Raises: BadTicket, for any other input whatsoever."""
        if not isinstance(data, Mapping):
            raise BadTicket("a ticket is a JSON object")
        return cls(
            check_hosts(data.get("hosts"), literal=True),
            check_number(data.get("port"), range(1, 65536), "port"),
            check_token(data.get("ticket"), "ticket"),
            check_number(data.get("side"), range(2), "side"),
            check_token(data.get("secret"), "secret"),
            check_number(data.get("bind_by"), range(1 << 32), "bind_by"),
            check_number(data.get("until"), range(1 << 32), "until"),
            check_websocket(data.get("websocket")),
        )

    def at(self, hosts: tuple[str, ...]) -> Self:
        """The same ticket, for some of its hosts alone."""
        return replace(self, hosts=hosts)

    def servers(self) -> tuple[Address, ...]:
        return tuple(Address(host, self.port) for host in self.hosts)


def tickets_from_json(data: object) -> tuple[RelayTicket, ...]:
    """The tickets of an offer. Raises: BadTicket; one bad ticket spoils the list."""
    if not isinstance(data, list) or len(data) > MAX_RELAYS:
        raise BadTicket(f"relays must be a list of at most {MAX_RELAYS}")
    return tuple(RelayTicket.from_json(entry) for entry in data)


@dataclass(frozen=True)
class RelayPair:
    """A reserved port and both sides' secrets, as the mediator gives it to its account."""

    hosts: tuple[str, ...]  # addresses or names; none: the host of the mediator's HTTP endpoint
    port: int
    id: str
    secrets: tuple[str, str] = field(repr=False)
    bind_by: int  # UTC seconds
    until: int  # UTC seconds
    rate: int  # bits a second that are passed on, each way
    websocket: str | None = None

    def side(self, number: int, hosts: Sequence[str]) -> RelayTicket:
        """The ticket of side 0 (ours) or 1 (the other party's); `hosts` resolved to addresses."""
        return RelayTicket(
            tuple(hosts),
            self.port,
            self.id,
            number,
            self.secrets[number],
            self.bind_by,
            self.until,
            self.websocket,
        )


class RelayBinding:
    """Binds one side at one address of the relay, and again for as long as it is not released.

    `now` is monotonic seconds; `token(n)` gives n unpredictable bytes. Binds take no slots of the
    `pacer`, and are repeated no sooner than its checks.
    """

    def __init__(
        self,
        ticket: RelayTicket,
        server: Address,
        now: float,
        token: Callable[[int], bytes] = secrets.token_bytes,
        pacer: Pacer | None = None,
    ) -> None:
        self.ticket = ticket
        self.server = server
        self.bound = False
        self.other_bound = False  # as the relay's last answer said
        self.mapped: Address | None = None  # our address as the relay sees it
        self.rtt: float | None = None  # seconds, of the last bind that was answered at once
        self.refusal: tuple[int, str] | None = None  # code and words; binding has ended
        self._token = token
        self._pacer = pacer or Pacer(now)
        self._nonce: str | None = None
        self._challenges = 0
        self._lifetime = LIFETIME
        self._wait = FIRST_WAIT
        self._alone_wait = FIRST_ALONE
        self._next: float | None = now
        self._silent_since = now  # when the oldest bind without an answer was sent
        self._patience = LOST_AFTER
        self._in_flight: dict[bytes, float] = {}

    @property
    def released(self) -> bool:
        """The relay has forgotten our side, or never answered that we want it to."""
        return self._lifetime == 0 and self._next is None

    def __str__(self) -> str:
        """How far it has come, in words for a person."""
        if self.refusal is not None:
            return f"relay {self.server} refuses: {self.refusal[1]}"
        if not self.bound:
            return f"relay {self.server} does not answer"
        if not self.other_bound:
            return f"the other side does not come to relay {self.server}"
        return f"relay {self.server} has both sides, and no check passes"

    def has_failed(self, now: float) -> bool:
        """Whether this ticket seems of no use any more: refused, or not answered for a while."""
        if self.refusal is not None:
            return True
        silent = bool(self._in_flight) and now >= self._silent_since + FAILED_AFTER
        return silent and not self.bound

    def awaits(self, transaction: bytes) -> bool:
        """Whether an answer with this transaction is for us."""
        return transaction in self._in_flight

    def datagrams_to_send(self, now: float) -> list[Datagram]:
        if self._next is None or now < self._next:
            return []
        if not self._in_flight:
            self._silent_since = now
        if now - self._silent_since >= self._patience:
            self.bound = self.other_bound = False
            if self._lifetime == 0:
                self._next = None
                return []
        transaction = self._token(12)
        self._in_flight[transaction] = now
        while len(self._in_flight) > 8:
            del self._in_flight[next(iter(self._in_flight))]
        self._next = now + max(self._wait, self._pacer.least_wait())
        self._wait = min(2 * self._wait, LONGEST_WAIT)
        return [Datagram(self._request(transaction), self.server)]

    def handle_datagram(self, data: bytes, source: Address, now: float) -> bool:
        """Whether this was an answer of the relay to us; never raises on what a stranger sent."""
        try:
            message = stun.parse(data)
        except MalformedStun:
            return False
        if message.method != BIND or source != self.server:
            return False
        sent_at = self._in_flight.get(message.transaction)
        if sent_at is None:
            return False
        if message.cls is Class.ERROR:
            self._hear_error(message, data, now)
        elif message.cls is Class.SUCCESS and self._is_proven(data):
            self._hear_success(message, sent_at, now)
        return True

    def next_timer(self) -> float | None:
        """When `datagrams_to_send` has something again; None when binding has ended."""
        return self._next

    def doubt(self, now: float) -> None:
        """Something on the way is dead: bind at once, and count as not bound if that fails."""
        if self.bound and self._next is not None:
            self._next, self._wait = now, FIRST_WAIT
            self._patience = max(DOUBT, 4 * (self.rtt or 0.0))
            self._in_flight.clear()

    def release(self, now: float) -> None:
        """Tell the relay that our side is done; it may forget us from its answer on."""
        if self._lifetime and self.refusal is None:
            self._lifetime, self._wait, self._next = 0, FIRST_WAIT, now
            self._in_flight.clear()

    def _request(self, transaction: bytes) -> bytes:
        attributes: dict[str, object] = {
            "USERNAME": f"{self.ticket.id}:{self.ticket.side}",
            "LIFETIME": self._lifetime,
        }
        if self._nonce is not None:
            attributes["NONCE"] = self._nonce
        message = Message(Class.REQUEST, transaction, attributes, BIND)
        key = self.ticket.secret.encode()
        lacking = REQUEST_SIZE - len(stun.serialize(message, key))
        if lacking > 0:
            attributes["PADDING"] = bytes(max(0, lacking - 4))  # less the attribute's own header
        return stun.serialize(message, key)

    def _is_proven(self, data: bytes) -> bool:
        return stun.verify_integrity(data, self.ticket.secret.encode())

    def _hear_error(self, message: Message, data: bytes, now: float) -> None:
        code, reason = message.attributes.get("ERROR-CODE", (0, ""))
        nonce = message.attributes.get("NONCE")
        if code in (UNAUTHENTICATED, STALE_NONCE) and nonce is not None:
            self._challenges += 1
            if self._challenges <= CHALLENGES:
                self._nonce, self._next, self._wait = nonce, now, FIRST_WAIT
                self._in_flight.clear()
        elif self._is_proven(data):
            self.refusal = code, reason
            self.bound = self.other_bound = False
            self._next = None

    def _hear_success(self, message: Message, sent_at: float, now: float) -> None:
        self._in_flight.clear()
        self._patience = LOST_AFTER
        self._challenges, self._wait = 0, FIRST_WAIT
        self._nonce = message.attributes.get("NONCE", self._nonce)
        self.rtt = now - sent_at
        self.mapped = message.attributes.get("XOR-MAPPED-ADDRESS")
        self.bound = self._lifetime > 0
        self.other_bound = self.bound and "OTHER-SIDE-BOUND" in message.attributes
        if not self.bound:
            self._next = None
        else:
            self._next = now + self._refresh_wait()

    def _refresh_wait(self) -> float:
        """While the other side is missing, the news that it came is worth asking for at first.

        It does not hang on that: the other side's first check comes through the relay anyway.
        """
        wait = REFRESH if self.other_bound else self._alone_wait
        self._alone_wait = FIRST_ALONE if self.other_bound else min(2 * wait, REFRESH)
        return wait


class RelayProbe:
    """Asks a relay for its challenge, now and again, which binds nothing: does UDP pass there?"""

    def __init__(self, ticket: RelayTicket, server: Address, now: float) -> None:
        self.ticket = ticket
        self.server = server
        self.passes = False
        self._binding = RelayBinding(ticket, server, now)  # never hears an answer

    def awaits(self, transaction: bytes) -> bool:
        return self._binding.awaits(transaction)

    def datagrams_to_send(self, now: float) -> list[Datagram]:
        return [] if self.passes else self._binding.datagrams_to_send(now)

    def handle_datagram(self, data: bytes, source: Address) -> None:
        try:
            message = stun.parse(data)
        except MalformedStun:
            return
        if message.method == BIND and source == self.server and self.awaits(message.transaction):
            self.passes = True

    def next_timer(self) -> float | None:
        return None if self.passes else self._binding.next_timer()


def check_hosts(value: object, *, literal: bool) -> tuple[str, ...]:
    """Raises: BadTicket."""
    if not isinstance(value, list) or len(value) > MAX_HOSTS or (literal and not value):
        raise BadTicket(f"hosts is a list of at most {MAX_HOSTS}")
    return tuple(_host(host, literal) for host in value)


def check_number(value: object, allowed: range, name: str) -> int:
    """Raises: BadTicket."""
    if type(value) is not int or value not in allowed:
        raise BadTicket(f"{name} is not a number from {allowed.start} to {allowed.stop - 1}")
    return value


def check_token(value: object, name: str) -> str:
    """Raises: BadTicket."""
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise BadTicket(f"{name} is not base64url of a fitting length")
    return value


def check_websocket(value: object) -> str | None:
    """Raises: BadTicket."""
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_URL or not re.fullmatch(r"[!-~]+", value):
        raise BadTicket("websocket is not a URL")
    try:
        parts = urlsplit(value)
        usable = parts.scheme in {"ws", "wss"} and parts.hostname and parts.port != 0
    except ValueError as error:
        raise BadTicket("websocket is not a URL") from error
    if not usable or parts.username is not None:
        raise BadTicket("websocket is not a ws:// or wss:// URL")
    return value


def _host(value: object, literal: bool) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 255:
        raise BadTicket("a host is not text")
    try:
        ip = ipaddress.ip_address(value)
    except ValueError as error:
        if literal or not re.fullmatch(r"[A-Za-z0-9.-]+", value):
            raise BadTicket("a host is not an address") from error
        return value
    if ip.is_unspecified or ip.is_multicast or "%" in value:
        raise BadTicket("a host is not a unicast address")
    return str(ip)
