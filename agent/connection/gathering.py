"""Gathering: at which addresses others may reach our UDP port.

Host candidates come from the interfaces (netlink; no names are looked up), server-reflexive ones
from STUN servers asked at once, in their order. Two ports of one server that see us differently
tell of a NAT whose mapping varies; three with equal steps in between, where it shows us next.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from agent.connection.interfaces import local_addresses
from agent.connection.port import Arrival, Port
from traversal import stun
from traversal.candidate import (
    MAX_CANDIDATES,
    Address,
    Candidate,
    Kind,
    candidate,
    mapped_candidate,
)
from traversal.port_mapping import Mapped
from traversal.prediction import predicted_candidates
from traversal.stun import Class, MalformedStun, Message

RESEND_AFTER = (0.1, 0.2, 0.4, 0.8)  # seconds; then the last of them again
REST_WAIT = 0.5  # seconds, at least, that slower servers get once one has answered
KEEP_SECONDS = 10.0  # many NATs forget an unanswered mapping after 30
MAX_HOST = MAX_CANDIDATES // 2

MappingKind = Literal["endpoint-independent", "address-and-port-dependent", "unknown"]


@dataclass(frozen=True)
class Gathered:
    """`rtt` in seconds to the quickest STUN server; None if none answered."""

    candidates: tuple[Candidate, ...]
    mapping: MappingKind
    rtt: float | None


@dataclass(frozen=True)
class _Answer:
    seen: Address
    rtt: float


async def gather(port: Port, stun_servers: Sequence[Address], timeout: float) -> Gathered:
    """Takes `timeout` seconds only if servers are silent. For a port that nobody else reads."""
    inquiry = Inquiry(port, stun_servers, timeout)
    while not inquiry.is_over():
        inquiry.ask()
        for arrival in await port.inbox.arrivals(inquiry.next_timer()):
            inquiry.hear(arrival)
    return inquiry.gathered()


def with_mapped(candidates: Sequence[Candidate], mapped: Mapped | None) -> tuple[Candidate, ...]:
    """The router's port among our own addresses, if it is another than STUN saw and of use."""
    if mapped is None or mapped.double_nat or mapped.external in {c.address for c in candidates}:
        return tuple(candidates)
    related = Address(mapped.gateway.client, mapped.internal_port)
    kept = candidates[: MAX_CANDIDATES - 1]
    return (*kept, mapped_candidate(mapped.external, related))


async def keep_mapping(port: Port, stun_servers: Sequence[Address]) -> None:
    """Until cancelled: traffic that keeps our NATs from forgetting the port's mapping."""
    while True:
        await asyncio.sleep(KEEP_SECONDS)
        for server in stun_servers:
            request = Message(Class.REQUEST, secrets.token_bytes(12))
            port.send(stun.serialize(request), server)


class Inquiry:
    """All STUN servers asked once, for whoever reads the port: `ask` when it is time, `hear`.

    A mediator with addresses of both families may have one that the port cannot reach; that is
    not asked, or each session would wait for it as for a slow server.
    """

    def __init__(self, port: Port, servers: Sequence[Address], timeout: float) -> None:
        self._port = port
        self._servers = [server for server in dict.fromkeys(servers) if port.speaks_to(server)]
        self._answers: dict[Address, _Answer] = {}
        self._sent: dict[bytes, tuple[Address, float]] = {}
        self._deadline = time.monotonic() + timeout
        self._waits = iter(RESEND_AFTER)
        self._next = 0.0

    def is_over(self) -> bool:
        return len(self._answers) == len(self._servers) or time.monotonic() >= self._deadline

    def next_timer(self) -> float:
        return min(self._next, self._deadline)

    def ask(self) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + next(self._waits, RESEND_AFTER[-1])
        for server in self._servers:
            if server not in self._answers:
                transaction = secrets.token_bytes(12)
                self._sent[transaction] = server, time.monotonic()
                self._port.send(stun.serialize(Message(Class.REQUEST, transaction)), server)

    def hear(self, arrival: Arrival) -> None:
        """Strangers' words change nothing."""
        answer = _read_answer(arrival, self._sent)
        if answer is not None:
            self._answers.setdefault(arrival.source, answer)
            rest = max(REST_WAIT, 4 * answer.rtt)
            self._deadline = min(self._deadline, time.monotonic() + rest)

    def gathered(self) -> Gathered:
        """What is known now."""
        addresses = local_addresses() + local_addresses(socket.AF_INET6)
        hosts = [candidate(Kind.HOST, Address(ip, self._port.port)) for ip in addresses]
        seen = {answer.seen for answer in self._answers.values()}
        seen -= {host.address for host in hosts}
        related = {host.address.version: host.address for host in reversed(hosts)}
        reflexive = [
            candidate(Kind.SERVER_REFLEXIVE, address, related.get(address.version))
            for address in sorted(seen)
        ]
        predicted = predicted_candidates(self._views(), related.get(4))
        return Gathered(
            (*hosts[:MAX_HOST], *reflexive, *predicted)[:MAX_CANDIDATES],
            mapping_of(self._answers),
            min((answer.rtt for answer in self._answers.values()), default=None),
        )

    def _views(self) -> list[Address]:
        """What was seen of our IPv4 port, in the order in which a NAT made the mappings."""
        asked = (server for server in self._servers if server.version == 4)
        return [self._answers[server].seen for server in asked if server in self._answers]


def mapping_of(answers: Mapping[Address, _Answer]) -> MappingKind:
    """What several servers' views of one IPv4 port say together; one alone says nothing."""
    views = [answer.seen for server, answer in answers.items() if server.version == 4]
    if len(views) < 2:
        return "unknown"
    return "endpoint-independent" if len(set(views)) == 1 else "address-and-port-dependent"


def _read_answer(arrival: Arrival, sent: Mapping[bytes, tuple[Address, float]]) -> _Answer | None:
    """Only the server that was asked, with the unguessable transaction it was asked with."""
    try:
        message = stun.parse(arrival.data)
    except MalformedStun:
        return None
    server, sent_at = sent.get(message.transaction, (None, 0.0))
    seen = message.attributes.get("XOR-MAPPED-ADDRESS")
    if message.cls is not Class.SUCCESS or server != arrival.source or seen is None:
        return None
    return _Answer(seen, arrival.at - sent_at)
