"""What a WireGuard interface is told and what it tells, as `wg` reads and writes it."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

MAX_LATE = 8  # relays of one pair
LEAST_MTU = 1280  # bytes of a packet in the mesh that every path carries; IPv6 allows no less
MOST_MTU = 1420  # with WireGuard's 80 bytes around it (by IPv6) 1500: what an Ethernet takes


@dataclass(frozen=True)
class Peer:
    """Who a peer is; where it is, is said by an `Endpoint`, and may change."""

    public_key: bytes
    allowed_ips: tuple[str, ...]  # "10.1.2.3/32": exactly the peer's own addresses
    preshared_key: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Endpoint:
    """Where a peer is reached from now on."""

    public_key: bytes
    address: tuple[str, int]  # IP literal and port
    keepalive: int  # seconds, 0: none
    late: tuple[tuple[str, int], ...] = ()  # relays left; what still goes there, goes here
    source_port: int | None = None  # of ours, in place of the interface's own


@dataclass(frozen=True)
class PeerMtu:
    """How large packets to a peer may be from now on."""

    public_key: bytes
    mtu: int  # bytes of an IP packet


@dataclass(frozen=True)
class Interface:
    private_key: bytes = field(repr=False)
    listen_port: int
    peers: tuple[Peer, ...]


@dataclass(frozen=True)
class PeerStatus:
    public_key: bytes
    endpoint: tuple[str, int] | None
    last_handshake: float  # UTC seconds, 0 never
    rx_bytes: int
    tx_bytes: int


def serialize(private_key: bytes, listen_port: int, peers: Sequence[Peer]) -> str:
    """The text for `wg setconf`: who the peers are, and nothing that makes WireGuard send.

    What reaches a peer that is not configured yet is lost for five seconds. So endpoints and
    keepalives are given afterwards, see `paths`.
    """
    lines = ["[Interface]", f"PrivateKey = {_text(private_key)}", f"ListenPort = {listen_port}"]
    for peer in peers:
        lines += ["[Peer]", f"PublicKey = {_text(peer.public_key)}"]
        if peer.preshared_key is not None:
            lines.append(f"PresharedKey = {_text(peer.preshared_key)}")
        lines.append(f"AllowedIPs = {', '.join(peer.allowed_ips)}")
    return "\n".join(lines) + "\n"


def paths(endpoints: Sequence[Endpoint]) -> list[str]:
    """The arguments for `wg set NAME` that give each peer its endpoint and keepalive."""
    words = []
    for endpoint in endpoints:
        words += ["peer", _text(endpoint.public_key), "endpoint", endpoint_text(endpoint.address)]
        words += ["persistent-keepalive", str(endpoint.keepalive)]
    return words


def parse_dump(text: str) -> tuple[PeerStatus, ...]:
    """Read `wg show NAME dump`: a line on the interface, which holds the private key, then peers.

    Raises: ValueError, for anything that `wg` does not print.
    """
    return tuple(_peer_status(line) for line in text.splitlines()[1:])


def _peer_status(line: str) -> PeerStatus:
    public_key, _preshared, endpoint, _allowed, handshake, rx, tx, _keepalive = line.split("\t")
    return PeerStatus(
        public_key=base64.b64decode(public_key, validate=True),
        endpoint=None if endpoint == "(none)" else parse_endpoint(endpoint),
        last_handshake=float(handshake),
        rx_bytes=int(rx),
        tx_bytes=int(tx),
    )


def endpoint_text(endpoint: tuple[str, int]) -> str:
    """`address:port` as WireGuard writes it."""
    host, port = endpoint
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_endpoint(text: str) -> tuple[str, int]:
    """Raises: ValueError."""
    host, _, port = text.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()
