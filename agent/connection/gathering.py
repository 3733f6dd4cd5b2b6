"""Gathering: at which addresses others may reach our UDP port.

Host candidates come from the interfaces (netlink; no names are looked up), server-reflexive ones
from STUN servers asked in parallel. Two ports of one server that see us differently tell of a NAT
whose mapping varies.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from agent.connection.interfaces import local_addresses
from agent.connection.udp import Arrival, UdpPort
from traversal import stun
from traversal.candidate import MAX_CANDIDATES, Address, Candidate, Kind, candidate
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


async def gather(port: UdpPort, stun_servers: Sequence[Address], timeout: float) -> Gathered:
    """Takes `timeout` seconds only if servers are silent.

    A mediator with addresses of both families has one that the port cannot reach; that is not
    asked, or each session would wait for it as for a slow server.
    """
    stun_servers = [server for server in stun_servers if port.speaks_to(server)]
    hosts = [candidate(Kind.HOST, Address(ip, port.port)) for ip in local_addresses()]
    answers = await _ask_all(port, stun_servers, timeout)
    seen = {answer.seen for answer in answers.values()} - {host.address for host in hosts}
    related = hosts[0].address if hosts else None
    reflexive = [candidate(Kind.SERVER_REFLEXIVE, address, related) for address in sorted(seen)]
    return Gathered(
        tuple((hosts[:MAX_HOST] + reflexive)[:MAX_CANDIDATES]),
        mapping_of(answers),
        min((answer.rtt for answer in answers.values()), default=None),
    )


async def keep_mapping(port: UdpPort, stun_servers: Sequence[Address]) -> None:
    """Until cancelled: traffic that keeps our NATs from forgetting the port's mapping."""
    while True:
        await asyncio.sleep(KEEP_SECONDS)
        for server in stun_servers:
            request = Message(Class.REQUEST, secrets.token_bytes(12))
            port.send(stun.serialize(request), server)


def mapping_of(answers: Mapping[Address, _Answer]) -> MappingKind:
    """What two or more servers' views of one port say together; one alone says nothing."""
    if len(answers) < 2:
        return "unknown"
    seen = {answer.seen for answer in answers.values()}
    return "endpoint-independent" if len(seen) == 1 else "address-and-port-dependent"


async def _ask_all(
    port: UdpPort, servers: Sequence[Address], timeout: float
) -> dict[Address, _Answer]:
    """The answers by server; whoever is silent is missing."""
    sent: dict[bytes, tuple[Address, float]] = {}
    answers: dict[Address, _Answer] = {}
    asking = asyncio.create_task(_keep_asking(port, servers, sent, answers))
    deadline = time.monotonic() + timeout
    try:
        while len(answers) < len(set(servers)):
            async with asyncio.timeout(deadline - time.monotonic()):
                arrival = await port.datagrams.get()
            answer = _read_answer(arrival, sent)
            if answer is not None:
                answers.setdefault(arrival.source, answer)
                deadline = min(deadline, time.monotonic() + max(REST_WAIT, 4 * answer.rtt))
    except TimeoutError:
        pass
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    return answers


async def _keep_asking(
    port: UdpPort,
    servers: Sequence[Address],
    sent: dict[bytes, tuple[Address, float]],
    answers: Mapping[Address, _Answer],
) -> None:
    waits = iter(RESEND_AFTER)
    while True:
        for server in servers:
            if server not in answers:
                transaction = secrets.token_bytes(12)
                sent[transaction] = server, time.monotonic()
                port.send(stun.serialize(Message(Class.REQUEST, transaction)), server)
        await asyncio.sleep(next(waits, RESEND_AFTER[-1]))


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
