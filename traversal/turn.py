"""A client of any TURN server: an address on the server, through which others reach us; no IO.

    client = TurnClient(server, credentials, now)
    client.datagrams_to_send(now); client.next_timer()
    client.handle_datagram(data, now)       # -> what a peer sent through the server, if that
    client.relayed                          # our address there, once there is one
    client.permit(host, now)                # this IP address may send to it
    client.connect(peer, now)               # a channel: 4 bytes a datagram instead of 36
    client.wrap(peer, data)                 # the bytes for the server; None where it lets none pass
    client.release(now)

A request that is not answered is repeated; what a server forgets is asked for again in time.
Source: RFC 8656; its long-term credentials are RFC 8489, section 9.2.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from traversal import stun
from traversal.candidate import Address
from traversal.datagram import Datagram
from traversal.stun import Class, MalformedStun, Message

ALLOCATE, REFRESH, SEND, DATA, CREATE_PERMISSION, CHANNEL_BIND = 0x003, 0x004, 6, 7, 8, 9
UDP = 17  # REQUESTED-TRANSPORT
LIFETIME = 600  # seconds that we ask for
RENEW_PERMISSION = 240.0  # seconds; a permission ends after 300
WAITS = (0.25, 0.5, 1.0, 2.0, 4.0, 4.0)  # seconds for an answer, then it is given up
CHALLENGES = 3  # in a row, after which the server does not take our credentials
MAX_PEERS = 64  # channels
FIRST_CHANNEL = 0x4000
TIMED_OUT = 408  # no code of TURN: nobody answered

BID_DOWN = "obMatJos2"  # a nonce that begins so tells in its next 4 characters what is offered
MD5, SHA256 = 1, 2  # PASSWORD-ALGORITHM
MANDATORY_SHA256 = "MESSAGE-INTEGRITY-SHA256"
LEGACY = "MESSAGE-INTEGRITY"


@dataclass(frozen=True)
class Credentials:
    user: str
    password: str = field(repr=False)

    def key(self, realm: str, algorithm: int) -> bytes:
        """Source: RFC 8489, section 9.2.2."""
        words = f"{self.user}:{realm}:{self.password}".encode()
        if algorithm == SHA256:
            return hashlib.sha256(words).digest()
        return hashlib.md5(words).digest()  # noqa: S324  what servers without SHA-256 want


@dataclass(frozen=True)
class Challenge:
    """What a server's 401 or 438 asks for."""

    realm: str
    nonce: str
    algorithms: tuple[int, ...] = ()  # as offered; they are to be said back

    @property
    def is_bid_down(self) -> bool:
        """Whether somebody on the way has taken out what the nonce says was offered."""
        return not self.algorithms and offers_algorithms(self.nonce)

    @property
    def chosen(self) -> int:
        return SHA256 if SHA256 in self.algorithms else MD5

    @property
    def integrity(self) -> str:
        return MANDATORY_SHA256 if self.algorithms else LEGACY


def offers_algorithms(nonce: str) -> bool:
    """Whether bit 0 of the nonce's 24 security features is set.

    The text counts bits from the left, its erratum 6290 and the sample from the right; servers do
    both, and no other feature is at either end.
    Source: RFC 8489, sections 9.2 and 18.1.
    """
    if not nonce.startswith(BID_DOWN):
        return False
    try:
        features = base64.b64decode(nonce[len(BID_DOWN) :][:4], validate=True)
    except ValueError:
        return False
    return len(features) == 3 and bool(features[0] & 0x80 or features[2] & 0x01)


@dataclass
class _Errand:
    """Something that the server is to do, and to go on doing."""

    method: int
    due: float
    tries: int = 0
    challenges: int = 0
    done: bool = False


_Key = tuple[str, Any]
_ALLOCATION: _Key = ("allocation", None)


class TurnClient:
    """`now` is monotonic seconds; `token(n)` gives n unpredictable bytes."""

    def __init__(
        self,
        server: Address,
        credentials: Credentials,
        now: float,
        token: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.server = server
        self.relayed: Address | None = None
        self.mapped: Address | None = None  # our address as the server sees it
        self.refusal: tuple[int, str] | None = None  # there is no allocation, or no longer
        self._credentials = credentials
        self._token = token
        self._challenge: Challenge | None = None
        self._lifetime = LIFETIME
        self._errands: dict[_Key, _Errand] = {_ALLOCATION: _Errand(ALLOCATE, now)}
        self._in_flight: dict[bytes, _Key] = {}
        self._channels: dict[Address, int] = {}
        self._peers: dict[int, Address] = {}
        self._headers: dict[Address, bytes] = {}  # of channels that the server has confirmed

    def permit(self, host: str, now: float) -> None:
        """Let this IP address, from whatever port, send to our relayed address."""
        permissions = sum(kind == "permission" for kind, _ in self._errands)
        if permissions < MAX_PEERS:
            self._errands.setdefault(("permission", host), _Errand(CREATE_PERMISSION, now))

    def permits(self, host: str) -> bool:
        return ("permission", host) in self._errands

    def connect(self, peer: Address, now: float) -> None:
        """Ask for a channel; there are `MAX_PEERS`, and what is over is sent without."""
        self.permit(peer.host, now)
        if peer not in self._channels and len(self._channels) < MAX_PEERS:
            number = FIRST_CHANNEL + len(self._channels)
            self._channels[peer], self._peers[number] = number, peer
            self._errands["channel", peer] = _Errand(CHANNEL_BIND, now)

    def wrap(self, peer: Address, data: bytes) -> bytes | None:
        """Called for every datagram that we send."""
        header = self._headers.get(peer)
        if header is not None:
            return header + len(data).to_bytes(2, "big") + data
        permission = self._errands.get(("permission", peer.host))
        if permission is None or not permission.done:
            return None
        attributes = {"XOR-PEER-ADDRESS": peer, "DATA": data}
        indication = Message(Class.INDICATION, self._token(12), attributes, SEND)
        return stun.serialize(indication, fingerprint=False)

    def handle_datagram(self, data: bytes, now: float) -> tuple[Address, bytes] | None:
        """What came from the server: a peer's datagram and who sent it, or None for its own words.

        Never raises on what a stranger sent.
        """
        if data[:1] and data[0] >> 4 == 4:
            return self._from_channel(data)
        try:
            message = stun.parse(data)
        except MalformedStun:
            return None
        if message.cls is Class.INDICATION and message.method == DATA:
            return self._from_indication(message)
        key = self._in_flight.get(message.transaction)
        errand = self._errands.get(key) if key is not None else None
        if key is None or errand is None or errand.method != message.method:
            return None
        if message.cls is Class.SUCCESS and self._is_proven(data):
            self._hear_success(key, errand, message, now)
        elif message.cls is Class.ERROR:
            self._hear_error(key, errand, message, now)
        return None

    def datagrams_to_send(self, now: float) -> list[Datagram]:
        if self.refusal is not None:
            return []
        made = []
        for key, errand in list(self._errands.items()):
            if errand.due <= now and (key == _ALLOCATION or self.relayed is not None):
                if errand.tries == len(WAITS):
                    self._give_up(key, (TIMED_OUT, "no answer"))
                    continue
                made.append(Datagram(self._request(key, errand), self.server))
                errand.due = now + WAITS[errand.tries]
                errand.tries += 1
        return [] if self.refusal is not None else made

    def next_timer(self) -> float | None:
        """When `datagrams_to_send` has something again; None when all has ended."""
        if self.refusal is not None:
            return None
        if self.relayed is None:
            return self._errands[_ALLOCATION].due
        return min((errand.due for errand in self._errands.values()), default=math.inf)

    def release(self, now: float) -> None:
        """Give the allocation back; `refusal` says when that is done, with code 0."""
        if self.relayed is not None and self.refusal is None:
            self._lifetime = 0
            self._errands = {_ALLOCATION: _Errand(REFRESH, now)}

    # Requests

    def _request(self, key: _Key, errand: _Errand) -> bytes:
        kind, subject = key
        attributes: dict[str, Any] = {}
        if errand.method == ALLOCATE:
            attributes = {"REQUESTED-TRANSPORT": UDP, "LIFETIME": self._lifetime}
            if self.server.version == 6:
                attributes["REQUESTED-ADDRESS-FAMILY"] = 6
        elif errand.method == REFRESH:
            attributes = {"LIFETIME": self._lifetime}
        elif kind == "permission":
            attributes = {"XOR-PEER-ADDRESS": Address(subject, 0)}
        else:
            attributes = {"CHANNEL-NUMBER": self._channels[subject], "XOR-PEER-ADDRESS": subject}
        transaction = self._token(12)
        self._in_flight[transaction] = key
        while len(self._in_flight) > 8 * MAX_PEERS:
            del self._in_flight[next(iter(self._in_flight))]
        return self._signed(Message(Class.REQUEST, transaction, attributes, errand.method))

    def _signed(self, message: Message) -> bytes:
        challenge = self._challenge
        if challenge is None:
            return stun.serialize(message)
        attributes = {
            **message.attributes,
            "USERNAME": self._credentials.user,
            "REALM": challenge.realm,
            "NONCE": challenge.nonce,
        }
        if challenge.algorithms:
            attributes["PASSWORD-ALGORITHMS"] = challenge.algorithms
            attributes["PASSWORD-ALGORITHM"] = (challenge.chosen,)
        signed = Message(message.cls, message.transaction, attributes, message.method)
        return stun.serialize(signed, self._key(challenge), integrity=challenge.integrity)

    def _key(self, challenge: Challenge) -> bytes:
        return self._credentials.key(challenge.realm, challenge.chosen)

    # Answers

    def _is_proven(self, data: bytes) -> bool:
        challenge = self._challenge
        if challenge is None:  # a server that lets everybody in
            return True
        return stun.verify_integrity(data, self._key(challenge), challenge.integrity)

    def _hear_success(self, key: _Key, errand: _Errand, message: Message, now: float) -> None:
        self._forget_requests(key)
        errand.tries = errand.challenges = 0
        errand.done = True
        errand.due = now + RENEW_PERMISSION
        if key == _ALLOCATION:
            self._hear_allocation(errand, message, now)
        elif key[0] == "channel":
            number = self._channels[key[1]]
            self._headers[key[1]] = number.to_bytes(2, "big")

    def _hear_allocation(self, errand: _Errand, message: Message, now: float) -> None:
        if self._lifetime == 0:
            self._end((0, "released"))
            return
        if errand.method == ALLOCATE:
            relayed = message.attributes.get("XOR-RELAYED-ADDRESS")
            if relayed is None or not _can_be_offered(relayed):
                self._end((TIMED_OUT, "an allocation without an address"))
                return
            self.relayed = relayed
            self.mapped = message.attributes.get("XOR-MAPPED-ADDRESS")
            errand.method = REFRESH
        lifetime = message.attributes.get("LIFETIME", LIFETIME)
        errand.due = now + max(1.0, min(lifetime / 2, RENEW_PERMISSION))

    def _hear_error(self, key: _Key, errand: _Errand, message: Message, now: float) -> None:
        """Errors are believed without proof: whoever could forge one could drop the answer."""
        code, reason = message.attributes.get("ERROR-CODE", (0, ""))
        challenge = self._challenge_in(message)
        if code in (401, 438) and challenge is not None and not challenge.is_bid_down:
            errand.challenges += 1
            if errand.challenges <= CHALLENGES and not (code == 401 and errand.challenges > 1):
                self._challenge = challenge
                self._forget_requests(key)
                errand.due, errand.tries = now, 0
                return
        if errand.method == REFRESH and self._lifetime == 0:
            self._end((0, "released"))
        else:
            self._give_up(key, (code, reason))

    def _challenge_in(self, message: Message) -> Challenge | None:
        realm = message.attributes.get("REALM", self._challenge and self._challenge.realm)
        nonce = message.attributes.get("NONCE")
        if realm is None or nonce is None:
            return None
        return Challenge(realm, nonce, message.attributes.get("PASSWORD-ALGORITHMS", ()))

    def _give_up(self, key: _Key, why: tuple[int, str]) -> None:
        if key == _ALLOCATION:
            self._end(why)
            return
        del self._errands[key]
        self._headers.pop(key[1], None)

    def _end(self, why: tuple[int, str]) -> None:
        self.relayed, self.refusal = None, why
        self._headers.clear()

    def _forget_requests(self, key: _Key) -> None:
        for transaction in [one for one, asked in self._in_flight.items() if asked == key]:
            del self._in_flight[transaction]

    # Peers' datagrams

    def _from_channel(self, data: bytes) -> tuple[Address, bytes] | None:
        peer = self._peers.get(int.from_bytes(data[:2], "big"))
        length = int.from_bytes(data[2:4], "big")
        if peer is None or len(data) < 4 + length:
            return None
        return peer, data[4 : 4 + length]

    def _from_indication(self, message: Message) -> tuple[Address, bytes] | None:
        peer = message.attributes.get("XOR-PEER-ADDRESS")
        data = message.attributes.get("DATA")
        if peer is None or data is None or not self.permits(peer.host) or peer.port == 0:
            return None
        return peer, data


def _can_be_offered(address: Address) -> bool:
    ip = ipaddress.ip_address(address.host)
    return address.port != 0 and not (ip.is_unspecified or ip.is_multicast or ip.is_loopback)
