"""A client of a TURN server, and a server made of the same messages; tests/lab has a real one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.traversal.test_stun_vectors import SHA256_REQUEST
from traversal import stun
from traversal.candidate import Address
from traversal.stun import Class, Message
from traversal.turn import (
    ALLOCATE,
    CHANNEL_BIND,
    CREATE_PERMISSION,
    DATA,
    MAX_PEERS,
    REFRESH,
    RENEW_PERMISSION,
    TIMED_OUT,
    WAITS,
    Challenge,
    Credentials,
    TurnClient,
    offers_algorithms,
)

SERVER = Address("192.0.2.10", 3478)
RELAYED, MAPPED = Address("192.0.2.10", 49152), Address("203.0.113.7", 4711)
PEER, STRANGER = Address("198.51.100.2", 5000), Address("198.51.100.66", 6)
ALICE = Credentials("alice", "s3cret")
REALM = "turn.example"
BOTH = (2, 1)  # SHA-256 and MD5, as a server offers them


# Literal bytes


def test_the_keys_of_the_published_samples_come_out() -> None:
    """RFC 5769, section 2.4, and RFC 8489, appendix B.1; the password is after OpaqueString."""
    sample = Credentials("\u30de\u30c8\u30ea\u30c3\u30af\u30b9", "TheMatrIX")
    attributes = {
        "USERNAME": sample.user,
        "NONCE": "f//499k954d6OL34oL9FSTvy64sA",
        "REALM": "example.org",
    }
    transaction = bytes.fromhex("78ad3433c6ad72c029da412e")
    made = stun.serialize(
        Message(Class.REQUEST, transaction, attributes),
        sample.key("example.org", 1),
        fingerprint=False,
        integrity="MESSAGE-INTEGRITY",
    )
    assert made.hex() == (
        "000100602112a44278ad3433c6ad72c029da412e"
        "00060012e3839ee38388e383aae38383e382afe382b90000"
        "0015001c662f2f3439396b39353464364f4c33346f4c39465354767936347341"
        "0014000b6578616d706c652e6f726700"
        "00080014f67024656dd64a3e02b8e0712e85c9a28ca89666"
    )
    assert stun.verify_integrity(SHA256_REQUEST, sample.key("example.org", 2))


def test_an_allocate_request_is_these_bytes() -> None:
    client = TurnClient(SERVER, ALICE, 0.0, lambda size: bytes(range(size)))
    [datagram] = client.datagrams_to_send(0.0)
    assert datagram.destination == SERVER
    assert (
        datagram.data.hex()
        == (
            "000300182112a442000102030405060708090a0b"  # Allocate, 24 bytes, cookie, transaction
            "0019000411000000"  # REQUESTED-TRANSPORT: UDP
            "000d000400000258"  # LIFETIME: 600 s
            + datagram.data[-8:].hex()  # FINGERPRINT, which test_stun proves
        )
    )


def test_data_in_a_channel_has_four_bytes_before_it() -> None:
    client, _ = connected()
    assert client.wrap(PEER, b"abc") == bytes.fromhex("40000003") + b"abc"
    assert client.handle_datagram(bytes.fromhex("40000003") + b"xyz", 1.0) == (PEER, b"xyz")
    padded = bytes.fromhex("40000003") + b"xyz\0"  # as over TCP
    assert client.handle_datagram(padded, 1.0) == (PEER, b"xyz")


@pytest.mark.parametrize(
    ("nonce", "offered"),
    [
        ("obMatJos2gAAAtail", True),  # bit 0 from the left, as the text says
        ("obMatJos2AAABtail", True),  # and from the right, as erratum 6290 does
        ("obMatJos2AAACtail", False),  # username anonymity alone
        ("obMatJos2QAAAtail", False),
        ("obMatJos2AA", False),
        ("obMatJos2====", False),
        ("f//499k954d6OL34oL9FSTvy64sA", False),
    ],
)
def test_a_nonce_tells_whether_algorithms_were_offered(nonce: str, offered: bool) -> None:
    assert offers_algorithms(nonce) is offered


# An allocation


@pytest.mark.parametrize(("algorithms", "integrity"), [((), "sha1"), (BOTH, "sha256"), ((1,), "")])
def test_a_server_gives_an_address_after_its_challenge(
    algorithms: tuple[int, ...], integrity: str
) -> None:
    client, server = TurnClient(SERVER, ALICE, 0.0), Server(algorithms)
    assert run(client, server, 0.0) == 2  # the challenge, and then the answer
    assert (client.relayed, client.mapped, client.refusal) == (RELAYED, MAPPED, None)
    signed = server.heard[-1].attributes
    assert ("MESSAGE-INTEGRITY" in signed) is (integrity == "sha1")
    assert signed.get("PASSWORD-ALGORITHMS", ()) == algorithms


def test_whoever_takes_the_better_algorithm_out_of_an_offer_gets_nothing_signed() -> None:
    client, server = TurnClient(SERVER, ALICE, 0.0), Server((), nonce="obMatJos2gAAA-1")
    run(client, server, 0.0)
    assert client.relayed is None
    assert client.refusal is not None
    assert all("USERNAME" not in request.attributes for request in server.heard)
    assert Challenge(REALM, "obMatJos2gAAA-1").is_bid_down


def test_a_wrong_password_is_tried_once() -> None:
    client = TurnClient(SERVER, Credentials("alice", "guess"), 0.0)
    server = Server()
    run(client, server, 0.0)
    assert client.refusal == (401, "Unauthorized")
    assert len(server.heard) == 2
    assert client.next_timer() is None


def test_a_stale_nonce_is_replaced() -> None:
    client, server = connected()
    server.nonce = "another"
    run(client, server, 1.0 + RENEW_PERMISSION)
    assert client.relayed == RELAYED
    assert server.heard[-1].attributes["NONCE"] == "another"


def test_an_answer_without_the_password_behind_it_is_no_answer() -> None:
    client = TurnClient(SERVER, ALICE, 0.0)
    server = Server()
    run(client, server, 0.0, most=1)
    [request] = client.datagrams_to_send(0.0)
    message = stun.parse(request.data)
    forged = Message(
        Class.SUCCESS, message.transaction, {"XOR-RELAYED-ADDRESS": STRANGER}, ALLOCATE
    )
    client.handle_datagram(stun.serialize(forged, b"no key"), 0.0)
    client.handle_datagram(stun.serialize(forged), 0.0)
    assert client.relayed is None
    client.handle_datagram(server.answer(request.data) or b"", 0.0)
    assert client.relayed == RELAYED


def test_a_silent_server_is_given_up() -> None:
    client, now, sent = TurnClient(SERVER, ALICE, 0.0), 0.0, 0
    while (at := client.next_timer()) is not None:
        now = at
        sent += len(client.datagrams_to_send(now))
    assert client.refusal == (TIMED_OUT, "no answer")
    assert sent == len(WAITS)
    assert now == sum(WAITS)


@pytest.mark.parametrize("code", [300, 403, 437, 442, 486, 508])
def test_a_refusal_is_told_and_ends_all(code: int) -> None:
    client, server = TurnClient(SERVER, ALICE, 0.0), Server(refuses={ALLOCATE: code})
    run(client, server, 0.0)
    assert client.refusal == (code, "no")
    assert client.datagrams_to_send(100.0) == []


def test_everything_is_asked_for_again_before_the_server_forgets_it() -> None:
    client, server = connected()
    before = len(server.heard)
    run(client, server, 1.0 + RENEW_PERMISSION)
    methods = {request.method for request in server.heard[before:]}
    assert methods == {REFRESH, CREATE_PERMISSION, CHANNEL_BIND}


def test_a_release_gives_the_address_back() -> None:
    client, server = connected()
    client.release(2.0)
    run(client, server, 2.0)
    assert (server.heard[-1].method, server.heard[-1].attributes["LIFETIME"]) == (REFRESH, 0)
    assert client.relayed is None
    assert client.next_timer() is None


# Peers


def test_before_its_channel_a_peer_is_reached_by_indications() -> None:
    client, server = connected(channels=False)
    sent = stun.parse(client.wrap(PEER, b"data") or b"")
    assert (sent.cls, sent.method) == (Class.INDICATION, 6)
    assert sent.attributes == {"XOR-PEER-ADDRESS": PEER, "DATA": b"data"}
    came = {"XOR-PEER-ADDRESS": PEER, "DATA": b"back"}
    arrived = stun.serialize(Message(Class.INDICATION, bytes(12), came, DATA))
    assert client.handle_datagram(arrived, 1.0) == (PEER, b"back")
    assert server.heard


def test_nobody_is_sent_to_or_heard_without_a_permission() -> None:
    client, _ = connected()
    assert client.wrap(STRANGER, b"data") is None
    came = {"XOR-PEER-ADDRESS": STRANGER, "DATA": b"hello"}
    arrived = stun.serialize(Message(Class.INDICATION, bytes(12), came, DATA))
    assert client.handle_datagram(arrived, 1.0) is None


def test_a_peer_that_the_server_forbids_spoils_no_other() -> None:
    client, server = connected()
    server.forbidden = STRANGER.host
    client.connect(STRANGER, 1.0)
    run(client, server, 1.0)
    assert client.wrap(STRANGER, b"x") is None
    assert client.wrap(PEER, b"x") is not None
    assert client.relayed == RELAYED


def test_there_are_so_many_channels_and_no_more() -> None:
    client, server = connected()
    for number in range(2 * MAX_PEERS):
        client.connect(Address(f"198.51.100.{number}", 1), 1.0)
    run(client, server, 1.0, most=10 * MAX_PEERS)
    assert sum(request.method == CHANNEL_BIND for request in server.heard) == MAX_PEERS


@given(st.binary(max_size=200))
def test_nothing_that_comes_raises(data: bytes) -> None:
    client, _ = connected()
    client.handle_datagram(data, 2.0)
    client.handle_datagram(b"\x40\x00" + data, 2.0)
    assert client.relayed == RELAYED


# Helpers


@dataclass
class Server:
    """Answers as RFC 8656 says; `refuses` maps methods to error codes."""

    algorithms: tuple[int, ...] = ()
    nonce: str = "nonce-1"
    refuses: dict[int, int] = field(default_factory=dict)
    forbidden: str | None = None
    heard: list[Message] = field(default_factory=list)

    def answer(self, data: bytes) -> bytes | None:
        request = stun.parse(data)
        self.heard.append(request)
        challenge = Challenge(REALM, self.nonce, self.algorithms)
        key = ALICE.key(REALM, challenge.chosen)
        if not stun.verify_integrity(data, key, challenge.integrity):
            return self._error(request, 401, "Unauthorized")
        if request.attributes["NONCE"] != self.nonce:
            return self._error(request, 438, "Stale Nonce")
        if request.method in self.refuses:
            return self._error(request, self.refuses[request.method], "no")
        peer = request.attributes.get("XOR-PEER-ADDRESS")
        if peer is not None and peer.host == self.forbidden:
            return self._error(request, 403, "Forbidden")
        attributes: dict[str, Any] = {}
        if request.method == ALLOCATE:
            attributes = {"XOR-RELAYED-ADDRESS": RELAYED, "XOR-MAPPED-ADDRESS": MAPPED}
        if request.method in (ALLOCATE, REFRESH):
            attributes["LIFETIME"] = request.attributes["LIFETIME"]
        success = Message(Class.SUCCESS, request.transaction, attributes, request.method)
        return stun.serialize(success, key, integrity=challenge.integrity)

    def _error(self, request: Message, code: int, reason: str) -> bytes:
        attributes: dict[str, Any] = {
            "ERROR-CODE": (code, reason),
            "REALM": REALM,
            "NONCE": self.nonce,
        }
        if self.algorithms:
            attributes["PASSWORD-ALGORITHMS"] = self.algorithms
        return stun.serialize(Message(Class.ERROR, request.transaction, attributes, request.method))


def connected(*, channels: bool = True) -> tuple[TurnClient, Server]:
    """A client with an address and one peer, at second 1."""
    client, server = TurnClient(SERVER, ALICE, 0.0), Server()
    run(client, server, 0.0)
    join: Callable[..., None] = client.connect if channels else client.permit
    join(PEER if channels else PEER.host, 1.0)
    run(client, server, 1.0)
    return client, server


def run(client: TurnClient, server: Server, now: float, most: int = 100) -> int:
    """Everything that is due goes there and back; the number of round trips."""
    for trips in range(most):
        datagrams = client.datagrams_to_send(now)
        if not datagrams:
            return trips
        for datagram in datagrams:
            client.handle_datagram(server.answer(datagram.data) or b"", now)
    return most
