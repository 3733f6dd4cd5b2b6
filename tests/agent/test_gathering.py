import asyncio
import socket
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from agent.connection.gathering import Gathered, gather, with_mapped
from agent.connection.interfaces import local_addresses
from agent.connection.udp import UdpPort
from traversal import stun
from traversal.candidate import MAX_CANDIDATES, Address, Candidate, Kind, Nat, candidate, nat_of
from traversal.port_mapping import Gateway, Mapped, Protocol
from traversal.stun import Class, Message

LOOPBACK = "127.0.0.1"
SEEN = Address("203.0.113.7", 40000)
SEEN_ELSEWHERE = Address("203.0.113.7", 40001)


@pytest.fixture
async def port():
    opened = await UdpPort.bind()
    yield opened
    opened.close()


async def test_a_nat_that_keeps_its_mapping_gives_one_reflexive_candidate(port: UdpPort) -> None:
    gathered = await gather_from(port, [Says(SEEN), Says(SEEN)])
    assert gathered.mapping == "endpoint-independent"
    assert [found.address for found in reflexive(gathered)] == [SEEN]
    assert nat_of(gathered.candidates) is Nat.INDEPENDENT


async def test_a_nat_that_varies_its_mapping_is_noticed(port: UdpPort) -> None:
    gathered = await gather_from(port, [Says(SEEN), Says(SEEN_ELSEWHERE)])
    assert gathered.mapping == "address-and-port-dependent"
    assert {found.address for found in reflexive(gathered)} == {SEEN, SEEN_ELSEWHERE}
    assert nat_of(gathered.candidates) is Nat.VARYING


async def test_ports_that_a_nat_counts_up_are_offered_before_it_gives_them(port: UdpPort) -> None:
    seen = [Says(SEEN._replace(port=number)) for number in (5000, 5002, 5004)]
    gathered = await gather_from(port, [*seen, Says(None)])
    found = reflexive(gathered)
    assert [one.address.port for one in found] == [5000, 5002, 5004, *range(5006, 5022, 2)]
    assert [str(one) for one in found[2:4]] == [
        "srflx 203.0.113.7:5004",
        "predicted 203.0.113.7:5006",
    ]
    assert min(one.priority for one in found[:3]) > max(one.priority for one in found[3:])
    assert nat_of(gathered.candidates) is Nat.VARYING


@pytest.mark.parametrize(
    "numbers", [(5000, 5001), (5000, 5000, 5000), (5001, 5000, 5002), (5000, 31234, 1777)]
)
async def test_nothing_is_offered_that_no_rule_foretells(
    port: UdpPort, numbers: tuple[int, ...]
) -> None:
    gathered = await gather_from(port, [Says(SEEN._replace(port=number)) for number in numbers])
    assert {found.address.port for found in reflexive(gathered)} == set(numbers)


async def test_one_answer_alone_says_nothing_of_the_mapping(port: UdpPort) -> None:
    gathered = await gather_from(port, [Says(SEEN), Says(None)])
    assert gathered.mapping == "unknown"
    assert [found.address for found in reflexive(gathered)] == [SEEN]


async def test_one_silent_server_does_not_use_up_the_time(port: UdpPort) -> None:
    started = asyncio.get_running_loop().time()
    await gather_from(port, [Says(SEEN), Says(None)], timeout=30.0)
    assert asyncio.get_running_loop().time() - started < 2.0


async def test_silent_servers_leave_the_host_candidates(port: UdpPort) -> None:
    gathered = await gather_from(port, [Says(None)], timeout=0.2)
    assert reflexive(gathered) == []
    assert gathered.rtt is None
    own = local_addresses() + local_addresses(socket.AF_INET6)
    assert [found.address.host for found in gathered.candidates] == own


async def test_servers_of_another_address_family_are_not_waited_for(port: UdpPort) -> None:
    started = asyncio.get_running_loop().time()
    elsewhere = [Address("2001:db8::1", 3478), Address("2001:db8::1", 3479)]
    gathered = await gather_from(port, [Says(SEEN)], others=elsewhere, timeout=30.0)
    assert asyncio.get_running_loop().time() - started < 0.3
    assert [found.address for found in reflexive(gathered)] == [SEEN]


async def test_a_lost_request_is_sent_again(port: UdpPort) -> None:
    gathered = await gather_from(port, [Says(SEEN, ignores=2)])
    assert [found.address for found in reflexive(gathered)] == [SEEN]


async def test_an_address_that_is_not_translated_is_a_host_candidate_only(port: UdpPort) -> None:
    addresses = local_addresses()
    if not addresses:
        pytest.skip("this machine has no address but loopback")
    gathered = await gather_from(port, [Says(Address(addresses[0], port.port))])
    assert reflexive(gathered) == []
    assert gathered.candidates[0].address == Address(addresses[0], port.port)


async def test_answers_of_strangers_are_not_believed(port: UdpPort) -> None:
    stranger = await UdpPort.bind()
    for transaction in (bytes(12), b"x" * 12):
        answer = Message(Class.SUCCESS, transaction, {"XOR-MAPPED-ADDRESS": SEEN_ELSEWHERE})
        stranger.send(stun.serialize(answer), Address(LOOPBACK, port.port))
    gathered = await gather_from(port, [Says(SEEN)])
    stranger.close()
    assert [found.address for found in reflexive(gathered)] == [SEEN]


async def test_a_server_that_sends_rubbish_counts_as_silent(port: UdpPort) -> None:
    gathered = await gather_from(port, [Says(SEEN, rubbish=True)], timeout=0.2)
    assert reflexive(gathered) == []


HOME, SEEN = Address("192.168.1.11", 5000), Address("203.0.113.7", 31234)
MAPPED = Mapped(
    Protocol.PCP, Gateway("192.168.1.1", HOME.host), HOME.port, Address(SEEN.host, 5000), 1800
)
FOUND = (candidate(Kind.HOST, HOME), candidate(Kind.SERVER_REFLEXIVE, SEEN, HOME))


def test_a_port_that_the_router_opens_is_one_more_candidate() -> None:
    *before, mapped = with_mapped(FOUND, MAPPED)
    assert tuple(before) == FOUND
    assert (mapped.kind, mapped.address) == (Kind.SERVER_REFLEXIVE, MAPPED.external)
    assert mapped.related == HOME
    assert Candidate.from_json(mapped.to_json()) == mapped
    assert nat_of([*before, mapped]) is Nat.INDEPENDENT  # what is opened on request says nothing
    assert len(with_mapped(FOUND * MAX_CANDIDATES, MAPPED)) == MAX_CANDIDATES


@pytest.mark.parametrize("host", ["100.64.0.11", "192.168.0.2"])
def test_a_port_of_a_router_behind_another_is_not_offered(host: str) -> None:
    double = replace(MAPPED, external=Address(host, 5000))
    assert with_mapped(FOUND, double) == with_mapped(FOUND, None) == FOUND


def test_a_port_that_is_known_already_is_not_offered_twice() -> None:
    assert with_mapped(FOUND, replace(MAPPED, external=SEEN)) == FOUND


def test_the_kernels_addresses_are_usable_and_without_loopback() -> None:
    for ip in local_addresses():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((ip, 0))
        assert not ip.startswith("127.")


def test_both_address_families_can_be_asked_for() -> None:
    assert all(":" in ip for ip in local_addresses(socket.AF_INET6))
    assert all("." in ip for ip in local_addresses(socket.AF_INET))
    assert "::1" not in local_addresses(socket.AF_INET6)


async def test_a_port_is_one_number_in_both_families(port: UdpPort) -> None:
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"hello", (host, port.port))
            (arrival,) = await port.inbox.arrivals(time.monotonic() + 1.0)
            assert arrival.data == b"hello"
            assert arrival.source == Address(host, sender.getsockname()[1])
            port.send(b"back", arrival.source)
            sender.settimeout(1.0)
            assert sender.recv(100) == b"back"


class Says(asyncio.DatagramProtocol):
    """A STUN server that sees everyone at one address, or says nothing."""

    def __init__(self, seen: Address | None, *, ignores: int = 0, rubbish: bool = False) -> None:
        self._seen, self._ignores, self._rubbish = seen, ignores, rubbish

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, source: tuple[str, int]) -> None:
        self._ignores -= 1
        if self._seen is None or self._ignores >= 0:
            return
        transaction = stun.parse(data).transaction
        answer = Message(Class.SUCCESS, transaction, {"XOR-MAPPED-ADDRESS": self._seen})
        self._transport.sendto(b"?" * 40 if self._rubbish else stun.serialize(answer), source)


async def gather_from(
    port: UdpPort, servers: list[Says], timeout: float = 5.0, others: Sequence[Address] = ()
) -> Gathered:
    loop = asyncio.get_running_loop()
    transports = [
        (await loop.create_datagram_endpoint(lambda server=server: server, (LOOPBACK, 0)))[0]
        for server in servers
    ]
    addresses = [Address(*transport.get_extra_info("sockname")) for transport in transports]
    try:
        return await gather(port, [*addresses, *others], timeout)
    finally:
        for transport in transports:
            transport.close()


def reflexive(gathered: Gathered) -> list[Candidate]:
    return [found for found in gathered.candidates if found.kind is Kind.SERVER_REFLEXIVE]
