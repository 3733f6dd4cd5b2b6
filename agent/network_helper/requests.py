"""What can be asked of the network helper: structure, types, ranges; no input, no output.

    parse(bytes, number of descriptors) -> Request

The caller is an ordinary user who may be hostile, or whose agent a stranger has taken over. What
it can reach at most: one namespace with nothing but loopback and one WireGuard interface inside,
whose addresses are private ones, programs that run there as that very user, and datagrams that
look like STUN from that interface's port (`checks`).
"""

import base64
import ipaddress
import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, cast

from agent.wireguard.config import LEAST_MTU, MAX_LATE, MOST_MTU, Endpoint, Peer, PeerMtu

MAX_REQUEST = 60_000  # bytes; below a pipe's 64 KiB, so that handing on a `launch` never blocks
MAX_PARTIES = 64
NETWORKS = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "100.64.0.0/10", "fd00::/8")))
_HOST = re.compile(r"[0-9a-fA-F:.]{2,45}(/32|/128)?", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}", re.ASCII)


class RequestRefused(Exception):
    """The request is not one we serve; it changed nothing. Says which part, never its value."""


@dataclass(frozen=True)
class Create:
    """A namespace with the interface in it; our addresses, at most one IPv4 and one IPv6."""

    addresses: tuple[str, ...]  # "10.1.2.3/32"
    mtu: int


@dataclass(frozen=True)
class Apply:
    """Key, port and peers, once; nothing is sent before `Endpoints`."""

    private_key: bytes = field(repr=False)
    listen_port: int
    peers: tuple[Peer, ...]


@dataclass(frozen=True)
class Endpoints:
    """Where some of the peers are reached from now on; the session with them goes on.

    What WireGuard sends to one of the `late` addresses of an endpoint, goes to the endpoint. With a
    `source_port`, what it sends to the endpoint leaves from there, and what comes from the endpoint
    to there is WireGuard's.
    """

    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True)
class Mtu:
    """How large packets to some of the peers may be from now on."""

    mtus: tuple[PeerMtu, ...]


@dataclass(frozen=True)
class Hold:
    """A port of the caller's may be a `source_port`; comes with its socket, which proves it.

    What comes there is WireGuard's at once, and what WireGuard sends to `address` leaves from there
    unless an endpoint says otherwise: WireGuard answers before it is told of a path.
    """

    address: tuple[str, int]


@dataclass(frozen=True)
class Checks:
    """A local socket for connectivity checks on the port that WireGuard has."""


@dataclass(frozen=True)
class Status:
    """When each peer was heard, from where, and how much went by."""


@dataclass(frozen=True)
class Socket:
    """An IPv4 socket inside the namespace."""

    kind: Literal["tcp", "udp"]


@dataclass(frozen=True)
class Launch:
    """A program inside the namespace, as the caller; comes with stdin, stdout and stderr."""

    argv: tuple[str, ...] = field(repr=False)
    env: dict[str, str] = field(repr=False)
    cwd: str


@dataclass(frozen=True)
class Remove:
    """The end of programs, interface and namespace."""


Request = Create | Apply | Endpoints | Mtu | Hold | Checks | Status | Socket | Launch | Remove


def parse(data: bytes, descriptors: int) -> Request:
    """Raises: RequestRefused, for any other input whatsoever."""
    words = _json(data)
    if not isinstance(words, dict):
        refuse("a request is an object")
    kind = words.pop("request", None)
    reader = READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        refuse("no such request")
    if descriptors != DESCRIPTORS.get(kind, 0):
        refuse("wrong number of file descriptors")
    return cast(Request, reader(words))


def _create(words: dict[str, Any]) -> Create:
    addresses, mtu = _members(words, "addresses", "mtu")
    hosts = _hosts(addresses)
    six = any(":" in host for host in hosts)
    return Create(hosts, _number(mtu, "mtu", 1280 if six else 576, 9000))


def _apply(words: dict[str, Any]) -> Apply:
    private_key, listen_port, peers = _members(words, "private_key", "listen_port", "peers")
    if not isinstance(peers, list) or not 1 <= len(peers) < MAX_PARTIES:
        refuse("peers: wants a list of 1 to 63")
    made = tuple(_peer(peer) for peer in peers)
    if len({peer.public_key for peer in made}) < len(made):
        refuse("peers: a public key twice")
    addresses = [address for peer in made for address in peer.allowed_ips]
    if len(set(addresses)) < len(addresses):
        refuse("peers: an address twice")
    return Apply(_key(private_key), _number(listen_port, "listen_port", 1024, 65535), made)


def _peer(words: object) -> Peer:
    public_key, preshared_key, allowed_ips = _members(
        words, "public_key", "preshared_key", "allowed_ips"
    )
    return Peer(
        public_key=_key(public_key),
        preshared_key=None if preshared_key is None else _key(preshared_key),
        allowed_ips=_hosts(allowed_ips),
    )


def _endpoints(words: dict[str, Any]) -> Endpoints:
    (endpoints,) = _members(words, "endpoints")
    if not isinstance(endpoints, list) or not 1 <= len(endpoints) < MAX_PARTIES:
        refuse("endpoints: wants a list of 1 to 63")
    made = tuple(map(_endpoint, endpoints))
    if len({endpoint.public_key for endpoint in made}) < len(made):
        refuse("endpoints: a public key twice")
    return Endpoints(made)


def _endpoint(words: object) -> Endpoint:
    public_key, address, keepalive, late, source_port = _members(
        words, "public_key", "address", "keepalive", "late", "source_port"
    )
    if not isinstance(late, list) or len(late) > MAX_LATE:
        refuse(f"late: wants a list of at most {MAX_LATE}")
    return Endpoint(
        _key(public_key),
        _address(address),
        _number(keepalive, "keepalive", 0, 3600),
        tuple(map(_address, late)),
        None if source_port is None else _number(source_port, "source_port", 1024, 65535),
    )


def _mtu(words: dict[str, Any]) -> Mtu:
    (mtus,) = _members(words, "mtus")
    if not isinstance(mtus, list) or not 1 <= len(mtus) < MAX_PARTIES:
        refuse("mtus: wants a list of 1 to 63")
    made = tuple(map(_peer_mtu, mtus))
    if len({one.public_key for one in made}) < len(made):
        refuse("mtus: a public key twice")
    return Mtu(made)


def _peer_mtu(words: object) -> PeerMtu:
    public_key, mtu = _members(words, "public_key", "mtu")
    return PeerMtu(_key(public_key), _number(mtu, "mtu", LEAST_MTU, MOST_MTU))


def _hold(words: dict[str, Any]) -> Hold:
    (address,) = _members(words, "address")
    return Hold(_address(address))


def _checks(words: dict[str, Any]) -> Checks:
    _members(words)
    return Checks()


def _status(words: dict[str, Any]) -> Status:
    _members(words)
    return Status()


def _socket(words: dict[str, Any]) -> Socket:
    (kind,) = _members(words, "kind")
    if kind not in ("tcp", "udp"):
        refuse("kind: tcp or udp")
    return Socket(kind)


def _launch(words: dict[str, Any]) -> Launch:
    argv, env, cwd = _members(words, "argv", "env", "cwd")
    if not isinstance(argv, list) or not 1 <= len(argv) <= 1000 or argv[0] == "":
        refuse("argv: wants a program and at most 999 arguments")
    if not isinstance(env, dict) or len(env) > 200 or not all(map(_VARIABLE.fullmatch, env)):
        refuse("env: wants at most 200 variables with plain names")
    if not _text(cwd, "cwd").startswith("/"):
        refuse("cwd: wants an absolute path")
    argv = tuple(_text(word, "argv") for word in argv)
    return Launch(argv, {name: _text(value, "env") for name, value in env.items()}, cwd)


def _remove(words: dict[str, Any]) -> Remove:
    _members(words)
    return Remove()


READERS = {
    "create": _create,
    "apply": _apply,
    "endpoints": _endpoints,
    "mtu": _mtu,
    "hold": _hold,
    "checks": _checks,
    "status": _status,
    "socket": _socket,
    "launch": _launch,
    "remove": _remove,
}
DESCRIPTORS = {"launch": 3, "hold": 1}


def _hosts(value: object) -> tuple[str, ...]:
    """One or two addresses, of different families, in the one way `ip` writes them."""
    if not isinstance(value, list) or len(value) not in (1, 2):
        refuse("addresses: wants a list of one or two")
    hosts = [_host(text) for text in value]
    if len({host.version for host in hosts}) < len(hosts):
        refuse("addresses: two of one family")
    return tuple(map(str, hosts))


def _host(value: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    if not isinstance(value, str) or not _HOST.fullmatch(value):
        refuse("addresses: not an address")
    try:
        host = ipaddress.ip_network(value)
    except ValueError:
        refuse("addresses: not an address")
    if host.num_addresses != 1:
        refuse("addresses: wants one host, not a network")
    if not any(host.network_address in network for network in NETWORKS):
        refuse("addresses: outside 10.0.0.0/8, 100.64.0.0/10 and fd00::/8")
    return host


def _address(value: object) -> tuple[str, int]:
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[0], str):
        refuse("address: wants an address and a port")
    try:
        address = ipaddress.ip_address(value[0])
    except ValueError:
        refuse("address: not an address")
    if address.is_multicast or address.is_unspecified or "%" in value[0]:
        refuse("address: not the address of one host")
    return str(address), _number(value[1], "address", 1, 65535)


def _key(value: object) -> bytes:
    try:
        key = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except ValueError:
        key = b""
    if len(key) != 32:
        refuse("key: wants 32 bytes in base64")
    return key


def _members(value: object, *names: str) -> list[Any]:
    """Exactly these members, no more and no fewer."""
    if not isinstance(value, dict) or value.keys() != set(names):
        refuse(f"wants exactly: {', '.join(names) or 'nothing'}")
    return [value[name] for name in names]


def _number(value: object, name: str, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        refuse(f"{name}: wants a whole number from {low} to {high}")
    return value


def _text(value: object, name: str) -> str:
    """What the system takes as a string: no NUL, and writable as UTF-8 (no lone surrogate)."""
    if not isinstance(value, str) or "\0" in value or _SURROGATE.search(value):
        refuse(f"{name}: wants text")
    return value


def _json(data: bytes) -> Any:
    if len(data) > MAX_REQUEST:
        refuse("too long")
    try:
        return json.loads(data.decode(), object_pairs_hook=_object, parse_constant=refuse)
    except (ValueError, RecursionError):
        refuse("not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        refuse("a member twice")
    return members


def refuse(reason: str) -> NoReturn:
    """Raises: RequestRefused."""
    raise RequestRefused(reason)
