"""What `agent netcheck` finds out, and the JSON it is told in (version 1).

    {"version": 1, "verdict": "direct-unless-varying", "words": "direct paths are …",
     "udp": true,
     "ipv4": {"name": "port-restricted NAT", "address": "203.0.113.9:40000",
              "mapping": "endpoint-independent", "filtering": "address-and-port-dependent",
              "translated": true, "ports": "preserved", "hairpin": false,
              "mtu": {"route": 1500, "probed": 1308}},
     "ipv6": null,
     "servers": [{"address": "198.51.100.10:3478", "seen": "203.0.113.9:40000", "rtt_ms": 12.1}],
     "port_mapping": {"gateway": "192.168.1.1", "protocol": "pcp", "external": "203.0.113.9:40000",
                      "double_nat": false},
     "http": {"url": "https://mediator.example", "reachable": true, "ms": 31.0, "proxy": null,
              "problem": null}}

`udp` is null where no STUN server was known; `servers` are also where the mediators' relays are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agent.connection.measuring import Family, measure
from agent.connection.outer_mtu import OVERHEAD
from agent.connection.port_mapping import find_gateway, map_port, release
from agent.connection.udp import UdpPort
from agent.wireguard.config import LEAST_MTU
from traversal.behaviour import WORDS, Verdict, verdict_of
from traversal.candidate import Address
from traversal.port_mapping import Mapped

VERSION = 1
MAPPING_SECONDS = 4.0
# Bytes of WireGuard's packets around the mesh's least.
NEEDED_MTU = {version: LEAST_MTU + around for version, around in OVERHEAD.items()}


@dataclass(frozen=True)
class Http:
    """The way to the mediator that leads over TCP; `ms` of one request and its answer."""

    url: str
    reachable: bool
    ms: float | None
    proxy: str | None
    problem: str | None


@dataclass(frozen=True)
class Netcheck:
    asked: bool  # whether there was a STUN server to ask
    ipv4: Family | None
    ipv6: Family | None
    gateway: str | None
    mapped: Mapped | None
    http: Http | None

    @property
    def verdict(self) -> Verdict:
        """Of IPv4 where there is it: everybody has that, and not everybody IPv6."""
        if not self.asked:
            return Verdict.UNKNOWN
        family = self.ipv4 or self.ipv6
        useful = self.mapped is not None and not self.mapped.double_nat
        return verdict_of(family.behaviour if family else None, mapped=useful)

    @property
    def words(self) -> str:
        if not self.asked:
            return "nothing could be measured: no STUN server is known"
        if self.verdict is Verdict.NO_UDP and self.http is not None and not self.http.reachable:
            return "neither UDP nor the mediator's HTTP gets through: there is no way out of here"
        return WORDS[self.verdict]

    def to_json(self) -> dict[str, Any]:
        families = [family for family in (self.ipv4, self.ipv6) if family]
        return {
            "version": VERSION,
            "verdict": str(self.verdict),
            "words": self.words,
            "udp": bool(families) if self.asked else None,
            "ipv4": _family(self.ipv4),
            "ipv6": _family(self.ipv6),
            "servers": [
                {
                    "address": str(server),
                    "seen": str(seen.address),
                    "rtt_ms": round(seen.rtt * 1000, 1),
                }
                for family in families
                for server, seen in family.servers.items()
            ],
            "port_mapping": self._port_mapping(),
            "http": None if self.http is None else asdict(self.http),
        }

    def _port_mapping(self) -> dict[str, Any] | None:
        """None without a router that could be asked."""
        if self.gateway is None:
            return None
        mapped = self.mapped
        return {
            "gateway": self.gateway,
            "protocol": mapped and str(mapped.protocol),
            "external": mapped and str(mapped.external),
            "double_nat": mapped and mapped.double_nat,
        }


async def netcheck(servers: Sequence[Address], http: Http | None) -> Netcheck:
    """Ask these STUN servers and the router, all at once; up to eight seconds."""
    ipv4, ipv6, (gateway, mapped) = await asyncio.gather(
        measure([server for server in servers if server.version == 4]),
        measure([server for server in servers if server.version == 6]),
        _router(),
    )
    return Netcheck(bool(servers), ipv4, ipv6, gateway, mapped, http)


async def _router() -> tuple[str | None, Mapped | None]:
    """A port is mapped and at once given back: what a router promises, only that shows."""
    gateway = find_gateway()
    if gateway is None:
        return None, None
    port = await UdpPort.bind()
    try:
        mapped = await map_port(port.port, MAPPING_SECONDS)
        if mapped is not None:
            await release(mapped)
    finally:
        port.close()
    return gateway.address, mapped


def _family(family: Family | None) -> dict[str, Any] | None:
    if family is None:
        return None
    behaviour = family.behaviour
    return {
        "name": behaviour.name,
        "address": str(family.address),
        **asdict(behaviour),
        "mtu": asdict(family.mtu),
    }
