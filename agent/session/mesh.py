"""The mesh as WireGuard is told it: a plan from descriptor, offers and paths, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from agent.connection.connectivity import Found
from agent.session.descriptor import Descriptor
from agent.session.offers import OwnSide, peer_key
from agent.wireguard.config import Interface, Peer
from messaging.protocols.session import Offer

KEEPALIVE = 20  # seconds; NATs may forget an idle mapping after 30


def plan(
    descriptor: Descriptor,
    me: str,
    own: OwnSide,
    offers: Mapping[str, Offer],
    paths: Mapping[str, Found],
    *,
    mtu: int,
) -> Interface:
    """Our interface with a peer for every path.

    A peer may use exactly its own two addresses: source address = key = DID = rank.
    """
    addresses = dict(
        zip(
            descriptor.parties,
            zip(descriptor.addresses, descriptor.addresses6, strict=True),
            strict=True,
        )
    )
    peers = tuple(
        Peer(
            public_key=peer_key(offers[did]),
            endpoint=path.endpoint,
            allowed_ips=(f"{addresses[did][0]}/32", f"{addresses[did][1]}/128"),
            keepalive=KEEPALIVE,
        )
        for did, path in paths.items()
    )
    return Interface(own.private_key, own.port.port, addresses[me], mtu, peers)


def describe(path: Found, rtt: float | None) -> dict[str, object]:
    """A path as it is told to people and programs; `rtt` in seconds, as measured inside."""
    return {
        "kind": "direct",
        "endpoint": f"{path.endpoint.host}:{path.endpoint.port}",
        "rtt_ms": round((path.rtt if rtt is None else rtt) * 1000, 2),
        "local_kind": str(path.local_kind),
        "remote_kind": str(path.remote_kind),
    }
