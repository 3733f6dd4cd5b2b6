"""Measures the NATs before us with STUN servers; `traversal.behaviour` judges.

One socket asks every server, in turn: what they see of it is the mapping. Two more, which have
sent nothing anywhere, ask the best of them to answer from another port and from another host: what
comes is the filtering. Then these two try to reach each other by their public addresses.
Source: RFC 5780, sections 4.3 and 4.4; RFC 4787, REQ-9.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.connection.interfaces import source_towards
from agent.connection.outer_mtu import route_mtu
from agent.connection.udp import UdpPort
from traversal import stun
from traversal.behaviour import Behaviour, Came, filtering_of, mapping_of, ports_of
from traversal.candidate import Address
from traversal.stun import CHANGE_ADDRESS, CHANGE_PORT, Class, MalformedStun, Message

PATIENCE = 4.0  # seconds until no answer at all means that none will come
REST = 1.0  # seconds, at least, for the others once one has answered
RESEND = 0.2  # seconds
HAIRPIN_WAIT = 1.0
ROOM = "didmesh netcheck".ljust(96)  # as SOFTWARE: the answer may be as long as the request
BOTH = CHANGE_ADDRESS | CHANGE_PORT
MTU_PROBE = stun.MAX_SIZE  # bytes of a datagram, without headers
PADDING = MTU_PROBE - stun.HEADER.size - stun.ATTRIBUTE_HEADER.size - stun.FINGERPRINT_SIZE
HEADERS = {4: 28, 6: 48}  # bytes of IP and UDP
# linux/in.h, linux/in6.h: option level, and "never fragment, whatever is known"
MTU_DISCOVER = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}
PMTUDISC_PROBE = 3


@dataclass(frozen=True)
class Seen:
    """What one server said; `rtt` in seconds."""

    address: Address
    rtt: float
    changes: bool  # whether it answers from elsewhere when asked to


@dataclass(frozen=True)
class Mtu:
    """Bytes of IP packets: what the route says, and the longest probe that was answered."""

    route: int | None
    probed: int | None


@dataclass(frozen=True)
class Family:
    """All that was measured by IPv4, or by IPv6."""

    behaviour: Behaviour
    address: Address  # of ours, as one server saw it
    servers: Mapping[Address, Seen]
    mtu: Mtu


async def measure(servers: Sequence[Address]) -> Family | None:
    """By these servers, all of one family; None if not one answers. Takes up to seven seconds."""
    with contextlib.ExitStack() as stack:
        asker, one, two = [stack.enter_context(_Asker(await UdpPort.bind())) for _ in range(3)]
        seen = await asker.views(servers)
        if not seen:
            return None
        server = max(seen, key=lambda each: seen[each].changes)
        (one_seen, port), (two_seen, both) = await asyncio.gather(
            one.filtering(server, CHANGE_PORT), two.filtering(server, BOTH)
        )
        views = {each: seen[each].address for each in seen}
        first = next(iter(views.values()))
        own = [each.port.port for each in (asker, one, two)]
        public = [*views.values(), *(each for each in (one_seen, two_seen) if each)]
        translated = first.host != source_towards(server)
        behaviour = Behaviour(
            mapping_of(views),
            filtering_of(port, both)
            if seen[server].changes
            else filtering_of(*[Came.NOT_SENT] * 2),
            translated,
            ports_of(own, [each.port for each in public]) if translated else None,
            await _hairpin(one, one_seen, two, two_seen) if translated else None,
        )
        return Family(behaviour, first, seen, await _mtu(server))


class _Asker:
    """A socket of its own and what was asked through it."""

    def __init__(self, port: UdpPort) -> None:
        self.port = port
        self._sent: dict[bytes, tuple[tuple[Address, int], float]] = {}

    def __enter__(self) -> _Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self.port.close()

    async def views(self, servers: Sequence[Address]) -> dict[Address, Seen]:
        """What each saw, in the order in which they were asked."""
        reachable = [server for server in servers if self.port.speaks_to(server)]
        answers = await self._ask([(server, 0) for server in reachable])
        found = {}
        for server in reachable:
            answer = answers.get((server, 0))
            address = answer.seen if answer else None
            if answer is not None and address is not None:
                changes = not {"RESPONSE-ORIGIN", "OTHER-ADDRESS"}.isdisjoint(
                    answer.message.attributes
                )
                found[server] = Seen(address, answer.rtt, changes)
        return found

    async def filtering(self, server: Address, change: int) -> tuple[Address | None, Came]:
        """Our address as the server sees it, and whether its answer from elsewhere comes."""
        answers = await self._ask([(server, 0), (server, change)])
        plain, changed = answers.get((server, 0)), answers.get((server, change))
        address = plain.seen if plain else None
        if changed is None:
            return address, Came.NO if plain else Came.NOT_SENT
        moved = changed.source.port != server.port and (
            (changed.source.host != server.host) == bool(change & CHANGE_ADDRESS)
        )
        return address, Came.YES if moved else Came.NOT_SENT

    async def _ask(self, questions: Sequence[tuple[Address, int]]) -> dict[object, _Answer]:
        """Questions are a server and the bits of CHANGE-REQUEST; those without answer lack."""
        answers: dict[object, _Answer] = {}
        began = time.monotonic()
        until, again = began + PATIENCE, began
        while questions and len(answers) < len(questions) and time.monotonic() < until:
            if time.monotonic() >= again:
                again = time.monotonic() + RESEND
                for question in questions:
                    if question not in answers:
                        self._send(question)
            for arrival in await self.port.inbox.arrivals(min(again, until)):
                found = self._read(arrival.data, arrival.source, arrival.at)
                if found is not None:
                    question, answer = found
                    if not answers:
                        until = arrival.at + max(REST, 4 * answer.rtt)
                    answers.setdefault(question, answer)
        return answers

    def _send(self, question: tuple[Address, int]) -> None:
        server, change = question
        transaction = secrets.token_bytes(12)
        attributes = {"SOFTWARE": ROOM, **({"CHANGE-REQUEST": change} if change else {})}
        self._sent[transaction] = question, time.monotonic()
        self.port.send(stun.serialize(Message(Class.REQUEST, transaction, attributes)), server)

    def _read(
        self, data: bytes, source: Address, at: float
    ) -> tuple[tuple[Address, int], _Answer] | None:
        """Answers to what was asked alone; an error that may pass (5xx) is none."""
        try:
            message = stun.parse(data)
        except MalformedStun:
            return None
        question, sent_at = self._sent.get(message.transaction, (None, 0.0))
        if question is None or message.cls not in (Class.SUCCESS, Class.ERROR):
            return None
        server, change = question
        code, _ = message.attributes.get("ERROR-CODE", (0, ""))
        if code >= 500 or (source != server and not change):
            return None
        return question, _Answer(message, source, at - sent_at)


@dataclass(frozen=True)
class _Answer:
    message: Message
    source: Address
    rtt: float

    @property
    def seen(self) -> Address | None:
        address: Address | None = self.message.attributes.get("XOR-MAPPED-ADDRESS")
        return address


async def _hairpin(
    one: _Asker, one_seen: Address | None, two: _Asker, two_seen: Address | None
) -> bool:
    """Whether both reach each other, each seen at its public address."""
    if one_seen is None or two_seen is None:
        return False
    word = stun.serialize(Message(Class.INDICATION, secrets.token_bytes(12)))
    came: set[Address] = set()
    until = time.monotonic() + HAIRPIN_WAIT
    while len(came) < 2 and (now := time.monotonic()) < until:
        two.port.send(word, one_seen)
        one.port.send(word, two_seen)
        for asker, source in ((one, two_seen), (two, one_seen)):
            arrivals = await asker.port.inbox.arrivals(now + RESEND / 2)
            came |= {source for each in arrivals if (each.data, each.source) == (word, source)}
    return len(came) == 2


async def _mtu(server: Address) -> Mtu:
    """What the route to it takes, and whether a long datagram gets there in one piece."""
    family = socket.AF_INET if server.version == 4 else socket.AF_INET6
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((server.host, server.port))
        sock.setsockopt(*MTU_DISCOVER[server.version], PMTUDISC_PROBE)
        route = route_mtu(server)
        probe = Message(Class.REQUEST, secrets.token_bytes(12), {"PADDING": bytes(PADDING)})
        arrives = await _answered(sock, stun.serialize(probe))
        return Mtu(route, MTU_PROBE + HEADERS[server.version] if arrives else None)
    return Mtu(None, None)


async def _answered(sock: socket.socket, data: bytes) -> bool:
    loop = asyncio.get_running_loop()
    for _ in range(5):
        with contextlib.suppress(OSError, TimeoutError):
            await loop.sock_sendall(sock, data)
            async with asyncio.timeout(RESEND * 2):
                await loop.sock_recv(sock, stun.MAX_SIZE)
            return True
    return False
