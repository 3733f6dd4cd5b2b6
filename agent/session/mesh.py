"""The mesh as WireGuard is told it: a plan from descriptor, offers and paths, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from agent.connection.connectivity import Found
from agent.session.descriptor import Descriptor
from agent.session.offers import OwnSide, peer_key
from agent.wireguard.config import Endpoint, Interface, Peer
from messaging.protocols.session import Offer

KEEPALIVE = 20  # seconds; NATs may forget an idle mapping after 30


def plan(descriptor: Descriptor, me: str, own: OwnSide, offers: Mapping[str, Offer]) -> Interface:
    """Our interface with everybody else as a peer, nobody's endpoint known yet.

    A peer may use exactly its own two addresses: source address = key = DID = rank.
    """
    places = zip(descriptor.parties, descriptor.addresses, descriptor.addresses6, strict=True)
    peers = tuple(
        Peer(peer_key(offers[did]), (f"{address}/32", f"{address6}/128"))
        for did, address, address6 in places
        if did != me
    )
    return Interface(own.private_key, own.port.port, peers)


def endpoint(offer: Offer, path: Found) -> Endpoint:
    """Where WireGuard reaches the party that made this offer."""
    return Endpoint(peer_key(offer), path.endpoint, KEEPALIVE)


def describe(path: Found, rtt: float | None) -> dict[str, object]:
    """A path as it is told to people and programs; `rtt` in seconds, as measured inside."""
    return {
        "kind": "direct",
        "endpoint": f"{path.endpoint.host}:{path.endpoint.port}",
        "rtt_ms": round((path.rtt if rtt is None else rtt) * 1000, 2),
        "local_kind": str(path.local_kind),
        "remote_kind": str(path.remote_kind),
    }
