"""The mesh as WireGuard is told it, and as people are; plans from facts, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from agent.session.descriptor import Descriptor
from agent.session.offers import OwnSide, peer_key
from agent.wireguard.config import Interface, Peer
from messaging.protocols.session import Offer
from traversal.pairs import Path


def plan(
    descriptor: Descriptor,
    me: str,
    own: OwnSide,
    offers: Mapping[str, Offer],
    preshared: Mapping[str, bytes],
) -> Interface:
    """Our interface with everybody else as a peer, nobody's endpoint known yet.

    `preshared` has the key of each pair by the other's DID, or nothing where none is agreed.

    A peer may use exactly its own two addresses: source address = key = DID = rank.
    """
    places = zip(descriptor.parties, descriptor.addresses, descriptor.addresses6, strict=True)
    peers = tuple(
        Peer(peer_key(offers[did]), (f"{address}/32", f"{address6}/128"), preshared.get(did))
        for did, address, address6 in places
        if did != me
    )
    return Interface(own.private_key, own.port.port, peers)


def describe(path: Path) -> dict[str, object]:
    """A path as it is told to people and programs."""
    return {
        "kind": kind_of(path),
        "endpoint": str(path.endpoint),
        "rtt_ms": round(path.rtt * 1000, 2),
        "local_kind": str(path.local_kind),
        "remote_kind": str(path.remote_kind),
        **({"by": "turn"} if path.turn else {}),
    }


def kind_of(path: Path) -> str:
    """`degraded`: the relay is reached through a stream, since UDP is blocked."""
    if path.degraded:
        return "degraded"
    return "relay" if path.relayed else "direct"
