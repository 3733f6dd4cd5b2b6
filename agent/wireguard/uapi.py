"""What wireguard-go's control socket is told and what it tells, without a process for each word.

A mesh asks for its peers' state many times a second while paths change; `wg` would be started as
often, for every party of the machine.
Source: "Cross-platform interface" of wireguard.com.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agent.wireguard.config import Endpoint, PeerStatus, endpoint_text, parse_endpoint

GET = "get=1\n\n"
END = b"\n\n"  # of every request and answer


def set_endpoints(endpoints: Sequence[Endpoint]) -> str:
    """The request that gives peers which are there already their endpoints and keepalives."""
    lines = ["set=1"]
    for endpoint in endpoints:
        lines += [
            f"public_key={endpoint.public_key.hex()}",
            "update_only=true",
            f"endpoint={endpoint_text(endpoint.address)}",
            f"persistent_keepalive_interval={endpoint.keepalive}",
        ]
    return "\n".join(lines) + "\n\n"


def parse_errno(answer: str) -> int:
    """0, or the number of what went wrong. Raises: ValueError."""
    return int(_fields(answer)[-1][1])


def listens(answer: str) -> bool:
    """Whether the answer to GET is of an interface that is up, with a port. Raises: ValueError."""
    return any(name == "listen_port" and value != "0" for name, value in _fields(answer))


def parse_status(answer: str) -> tuple[PeerStatus, ...]:
    """Read the answer to GET: lines on the interface, its private key among them, then peers.

    Raises: ValueError, for anything that wireguard-go does not say.
    """
    return tuple(_peer_status(fields) for fields in _peers(answer))


def _peers(answer: str) -> Iterator[dict[str, str]]:
    peer: dict[str, str] | None = None
    for name, value in _fields(answer):
        if name == "public_key":
            if peer is not None:
                yield peer
            peer = {}
        if peer is not None:
            peer[name] = value
    if peer is not None:
        yield peer


def _fields(answer: str) -> list[tuple[str, str]]:
    fields = []
    for line in answer.strip("\n").split("\n"):
        name, equals, value = line.partition("=")
        if not equals:
            raise ValueError("not an answer of wireguard-go")
        fields.append((name, value))
    return fields


def _peer_status(fields: dict[str, str]) -> PeerStatus:
    seconds = int(fields.get("last_handshake_time_sec", "0"))
    nanoseconds = int(fields.get("last_handshake_time_nsec", "0"))
    endpoint = fields.get("endpoint")
    return PeerStatus(
        public_key=bytes.fromhex(fields["public_key"]),
        endpoint=None if endpoint is None else parse_endpoint(endpoint),
        last_handshake=seconds + nanoseconds / 1e9,
        rx_bytes=int(fields.get("rx_bytes", "0")),
        tx_bytes=int(fields.get("tx_bytes", "0")),
    )
