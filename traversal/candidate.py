"""Candidates: addresses at which a party may be reachable, and the offer that carries them.

What arrives from the other party is read by `from_json` with limits; nothing else makes a
candidate out of strangers' data.
Source: RFC 8445, sections 5.1.1 (kinds, foundations) and 5.1.2 (priorities).
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple, Self

MAX_CANDIDATES = 32
MAX_NAME = 32
MAPPED = "mapped"  # the foundation's start of a port that was opened on request
PREDICTED = "predicted"  # the same of an address that a NAT is only expected to give us
TURN = "turn"  # the same of an address on a TURN server, and of a way to one
UFRAG_LENGTH = range(4, 33)
PASSWORD_LENGTH = range(22, 129)
ICE_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")
PRIVATE_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "fc00::/7",
        "fe80::/10",
    )
)


class BadCandidate(ValueError):
    """An offer holds an address or credential nobody can use; refuse the offer."""


class Address(NamedTuple):
    """Where a datagram goes to or comes from: a literal IP address, never a name, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def version(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.host else 4

    @property
    def private(self) -> bool:
        """Not routed on the internet, so it says something only inside its own network."""
        return _is_private(self.host)

    @property
    def loopback(self) -> bool:
        return _is_loopback(self.host)


# Asked about the same few addresses with every datagram.
@lru_cache(maxsize=1024)
def _is_private(host: str) -> bool:
    ip = ipaddress.ip_address(host)
    return any(ip in network for network in PRIVATE_NETWORKS)


@lru_cache(maxsize=1024)
def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback


class Kind(StrEnum):
    """How an address was found out."""

    HOST = "host"
    SERVER_REFLEXIVE = "srflx"
    PEER_REFLEXIVE = "prflx"
    RELAY = "relay"


TYPE_PREFERENCE = {
    Kind.HOST: 126,
    Kind.PEER_REFLEXIVE: 110,
    Kind.SERVER_REFLEXIVE: 100,
    Kind.RELAY: 0,
}


class Nat(StrEnum):
    """What a party's own candidates say about the NAT before it (mappings in RFC 4787 words)."""

    NONE = "no NAT"
    INDEPENDENT = "a NAT with endpoint-independent mapping"
    VARYING = "a NAT with address-and-port-dependent mapping"
    UNKNOWN = "no address seen from outside (UDP blocked, or no STUN server answered)"


@dataclass(frozen=True)
class Candidate:
    """`related` is the address behind a reflexive one (our side of the NAT), if known."""

    kind: Kind
    address: Address
    priority: int
    foundation: str
    related: Address | None = None

    def __str__(self) -> str:
        """For people."""
        word = PREDICTED if self.foundation.startswith(PREDICTED) else self.kind
        return f"{word} {self.address}"

    def to_json(self) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "kind": self.kind.value,
            "host": self.address.host,
            "port": self.address.port,
            "priority": self.priority,
            "foundation": self.foundation,
        }
        if self.related is not None:
            fields["related"] = {"host": self.related.host, "port": self.related.port}
        return fields

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Raises: BadCandidate, for anything but a unicast address that can be sent to."""
        fields = _mapping(data)
        related = fields.get("related")
        return cls(
            _kind(fields.get("kind")),
            _address(fields),
            _integer(fields.get("priority"), range(1, 1 << 31), "priority"),
            _name(fields.get("foundation")),
            None if related is None else _address(_mapping(related)),
        )


@dataclass(frozen=True)
class _Side:
    ufrag: str
    password: str = field(repr=False)
    candidates: tuple[Candidate, ...]
    birthday: bool = False  # whether this side takes part in a birthday attempt

    def __post_init__(self) -> None:
        _check_ice_text(self.ufrag, UFRAG_LENGTH, "ufrag")
        _check_ice_text(self.password, PASSWORD_LENGTH, "password")
        if len(self.candidates) > MAX_CANDIDATES:
            raise BadCandidate(f"more than {MAX_CANDIDATES} candidates")


class LocalSide(_Side):
    """What we offer to one party; a fresh one for each, so that no third can speak for either."""

    @classmethod
    def fresh(cls, candidates: Sequence[Candidate], *, birthday: bool = False) -> Self:
        ufrag, password = secrets.token_urlsafe(6), secrets.token_urlsafe(24)
        return cls(ufrag, password, tuple(candidates), birthday)

    def to_json(self) -> dict[str, Any]:
        return {
            "ufrag": self.ufrag,
            "password": self.password,
            "candidates": [candidate.to_json() for candidate in self.candidates],
            **({"birthday": True} if self.birthday else {}),
        }


class RemoteSide(_Side):
    """What the other party offered to us."""

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Raises: BadCandidate, for any other input whatsoever."""
        fields = _mapping(data)
        ufrag, password, candidates = (
            fields.get(name) for name in ("ufrag", "password", "candidates")
        )
        if not (isinstance(ufrag, str) and isinstance(password, str)):
            raise BadCandidate("ufrag and password must be text")
        birthday = fields.get("birthday") is True
        return cls(ufrag, password, candidates_from_json(candidates), birthday)


def candidates_from_json(data: object) -> tuple[Candidate, ...]:
    """Raises: BadCandidate; one bad candidate spoils the list, for its sender is broken."""
    if not isinstance(data, list) or len(data) > MAX_CANDIDATES:
        raise BadCandidate(f"candidates must be a list of at most {MAX_CANDIDATES}")
    return tuple(Candidate.from_json(entry) for entry in data)


def candidate(kind: Kind, address: Address, related: Address | None = None) -> Candidate:
    """Our own candidate, its priority and foundation worked out."""
    base = related or address
    return Candidate(
        kind, address, priority(kind, address.version), f"{kind}-{base.version}", related
    )


def mapped_candidate(address: Address, related: Address | None) -> Candidate:
    """A port that the gateway opens on request: reached like a reflexive one, and by anybody."""
    made = candidate(Kind.SERVER_REFLEXIVE, address, related)
    return replace(made, foundation=f"{MAPPED}-{address.version}")


def turn_candidate(address: Address) -> Candidate:
    """Our address on a TURN server, or a port of this machine that leads through one."""
    made = candidate(Kind.RELAY, address)
    return replace(made, foundation=f"{TURN}-{address.version}")


def priority(kind: Kind, version: int) -> int:
    """RFC 8445 5.1.2.1, component 1; IPv6 first within a kind."""
    local_preference = 65535 if version == 6 else 65534
    return (TYPE_PREFERENCE[kind] << 24) + (local_preference << 8) + 255


def is_elsewhere(host: str) -> bool:
    """Whether a literal address can be another machine's, to which datagrams can be sent."""
    return _can_be_sent_to(ipaddress.ip_address(host))


def is_in_another_network(
    inside: Candidate, theirs: Iterable[Candidate], ours: Iterable[Candidate]
) -> bool:
    """Whether their address lies inside a network that, seen from outside, is not ours.

    A way there is unlikely, and possible: through a tunnel, or a larger network around both.
    """
    if inside.kind is not Kind.HOST or not inside.address.private:
        return False
    version = inside.address.version
    their_places, our_places = _seen_at(theirs, version), _seen_at(ours, version)
    return bool(their_places and our_places) and their_places.isdisjoint(our_places)


def _seen_at(candidates: Iterable[Candidate], version: int) -> set[str]:
    """Where servers outside see a party."""
    reflexive = (found for found in candidates if found.kind is Kind.SERVER_REFLEXIVE)
    return {found.address.host for found in reflexive if found.address.version == version}


def nat_of(candidates: Sequence[Candidate]) -> Nat:
    """What these candidates of one party, all from one UDP port, tell about its NAT."""
    hosts = {c.address for c in candidates if c.kind is Kind.HOST}
    reflexive = {
        c.address
        for c in candidates
        if c.kind is Kind.SERVER_REFLEXIVE and not c.foundation.startswith(MAPPED)
    }
    if not reflexive:
        return Nat.NONE if any(not host.private for host in hosts) else Nat.UNKNOWN
    ports_per_host = {address.host for address in reflexive}
    return Nat.VARYING if len(reflexive) > len(ports_per_host) else Nat.INDEPENDENT


def _mapping(data: object) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise BadCandidate("expected a JSON object")
    return data


def _kind(value: object) -> Kind:
    try:
        return Kind(value)  # type: ignore[arg-type]
    except ValueError as error:
        raise BadCandidate("unknown kind of candidate") from error


def _integer(value: object, allowed: range, name: str) -> int:
    if type(value) is not int or value not in allowed:
        raise BadCandidate(f"{name} is not a number from {allowed.start} to {allowed.stop - 1}")
    return value


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise BadCandidate("foundation must be text")
    _check_ice_text(value, range(1, MAX_NAME + 1), "foundation")
    return value


def _address(fields: Mapping[str, Any]) -> Address:
    host = fields.get("host")
    if not isinstance(host, str) or len(host) > 45:
        raise BadCandidate("host is not an IP address")
    try:
        ip = ipaddress.ip_address(host)
    except ValueError as error:
        raise BadCandidate("host is not an IP address") from error
    if not _can_be_sent_to(ip):
        raise BadCandidate(f"{ip} is not a unicast address of another machine")
    return Address(str(ip), _integer(fields.get("port"), range(1, 65536), "port"))


def _can_be_sent_to(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.scope_id is not None or ip.ipv4_mapped is not None:
            return False
    elif ip.packed[0] in (0, 127) or ip.packed[0] >= 240:
        return False
    return not (ip.is_loopback or ip.is_multicast or ip.is_unspecified)


def _check_ice_text(value: str, length: range, name: str) -> None:
    if len(value) not in length or not ICE_CHARACTERS.issuperset(value):
        raise BadCandidate(f"{name} is too short, too long or has characters that ICE lacks")
