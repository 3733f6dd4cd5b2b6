"""Asking a gateway for a port by PCP, and by NAT-PMP unless PCP is granted at once.

Not by both in the same moment: they share a server, and the later request would take the mapping
away from the protocol that was granted it. A gateway that knows NAT-PMP alone says so.
One exchange over one socket that is connected to the gateway. What it says is believed only as far
as it answers what was asked; others cannot answer, for they have neither its address nor the nonce.
Source: RFC 6887, sections 8.1 and 11.2; RFC 6886, sections 3.1 to 3.3.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from traversal import nat_pmp, pcp
from traversal.candidate import Address
from traversal.upnp import Control

WANTED_LIFETIME = 1800  # seconds; what a killed agent leaves open is closed after that
SHORTEST_LIFETIME, LONGEST_LIFETIME = 60, 86400  # of what a gateway says
RESEND_AFTER = (0.25, 0.5, 1.0, 2.0)  # seconds (RFC 6886, 3.1)


class Protocol(StrEnum):
    PCP = "pcp"
    NAT_PMP = "nat-pmp"
    UPNP = "upnp-igd"


@dataclass(frozen=True)
class Gateway:
    """`address` is the default route's next hop, `client` our own address towards it."""

    address: str
    client: str


@dataclass(frozen=True)
class Mapped:
    """A port that a gateway opens for us; `lifetime` in seconds, 0 for one without an end."""

    protocol: Protocol
    gateway: Gateway
    internal_port: int
    external: Address
    lifetime: int
    nonce: bytes = field(default=b"", repr=False)
    control: Control | None = None

    @property
    def double_nat(self) -> bool:
        """The gateway's own outside is private: another NAT follows, which knows of nothing."""
        return self.external.private

    def renew_after(self) -> float:
        """Seconds; half of the lifetime, for an answer may be lost (RFC 6887, 11.2.1)."""
        return (self.lifetime or WANTED_LIFETIME) / 2


class PortRequest:
    """Asks for `internal_port` from `now` on, until `mapped` or until the caller has waited enough.

    `before` is the mapping to renew, in the protocol that granted it.
    """

    def __init__(
        self,
        gateway: Gateway,
        internal_port: int,
        nonce: bytes,
        now: float,
        before: Mapped | None = None,
    ) -> None:
        self.mapped: Mapped | None = None
        self._gateway, self._port, self._nonce = gateway, internal_port, nonce
        self._before = before
        self._open = {before.protocol} if before else {Protocol.PCP, Protocol.NAT_PMP}
        self._next, self._waits = now, iter(RESEND_AFTER)
        self._pcp_was_first = False
        self._external: str | None = None
        self._mapping: nat_pmp.Mapping | None = None

    @property
    def over(self) -> bool:
        """Granted, or refused in every protocol."""
        return self.mapped is not None or not self._open

    def next_timer(self) -> float | None:
        return None if self.over else self._next

    def datagrams_to_send(self, now: float) -> list[bytes]:
        """All to the gateway's port `pcp.PORT`."""
        if self.over or now < self._next:
            return []
        self._next = now + next(self._waits, RESEND_AFTER[-1])
        asked = self._open if self._pcp_was_first else self._open & {Protocol.PCP} or self._open
        self._pcp_was_first = True
        return [data for protocol in sorted(asked) for data in self._requests(protocol)]

    def handle_datagram(self, data: bytes, now: float) -> None:
        """Never raises; what answers nothing that was asked is dropped."""
        if self.over:
            return
        open_before = set(self._open)
        try:
            if data[:1] == bytes([pcp.VERSION]):
                self._handle_pcp(pcp.parse_response(data))
            else:
                self._handle_nat_pmp(nat_pmp.parse_response(data))
        except (pcp.MalformedPcp, nat_pmp.MalformedNatPmp):
            return
        if self._open != open_before:  # the other one is asked at once
            self._next = now

    def _requests(self, protocol: Protocol) -> Sequence[bytes]:
        wish = self._before.external if self._before else None
        if protocol is Protocol.PCP:
            request = pcp.MapRequest(
                self._gateway.client, self._port, WANTED_LIFETIME, self._nonce, wish
            )
            return [pcp.serialize_request(request)]
        port = wish.port if wish else self._port
        mapping = nat_pmp.map_request(self._port, port, WANTED_LIFETIME)
        return [nat_pmp.EXTERNAL_REQUEST, mapping]

    def _handle_pcp(self, response: pcp.MapResponse) -> None:
        ours = (response.nonce, response.internal_port) == (self._nonce, self._port)
        if Protocol.PCP not in self._open or not ours:
            return
        if response.result != pcp.Result.SUCCESS:
            self._open.discard(Protocol.PCP)
            return
        self._grant(Protocol.PCP, response.external, response.lifetime)

    def _handle_nat_pmp(self, said: nat_pmp.Answer) -> None:
        match said:
            case nat_pmp.Refused(nat_pmp.Result.UNSUPPORTED_VERSION):  # of the PCP request
                self._open.discard(Protocol.PCP)
            case _ if Protocol.NAT_PMP not in self._open:
                return
            case nat_pmp.Refused():
                self._open.discard(Protocol.NAT_PMP)
            case nat_pmp.ExternalAddress(host):
                self._external = host
            case nat_pmp.Mapping(internal_port) if internal_port == self._port:
                self._mapping = said
        if self._external is not None and self._mapping is not None:
            external = Address(self._external, self._mapping.external_port)
            self._grant(Protocol.NAT_PMP, external, self._mapping.lifetime)

    def _grant(self, protocol: Protocol, external: Address, lifetime: int) -> None:
        if lifetime == 0 or not usable(external):
            self._open.discard(protocol)
            return
        self.mapped = Mapped(
            protocol, self._gateway, self._port, external, bounded(lifetime), self._nonce
        )


def release_datagrams(mapped: Mapped) -> list[bytes]:
    """Delete it in both protocols, for both were asked for it; to `pcp.PORT`."""
    request = pcp.MapRequest(mapped.gateway.client, mapped.internal_port, 0, mapped.nonce)
    return [pcp.serialize_request(request), nat_pmp.map_request(mapped.internal_port, 0, 0)]


def usable(external: Address) -> bool:
    """Whether datagrams can be sent there; private ones can, from inside the next NAT."""
    ip = ipaddress.ip_address(external.host)
    nowhere = ip.is_unspecified or ip.is_loopback or ip.is_multicast
    return external.port > 0 and not nowhere and not (ip.version == 4 and ip.packed[0] >= 240)


def bounded(lifetime: int) -> int:
    """A gateway that says a second, or a century, is not taken at its word; 0 has no end."""
    return lifetime and max(SHORTEST_LIFETIME, min(lifetime, LONGEST_LIFETIME))
