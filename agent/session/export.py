"""A mesh as other tools read it: wg-quick, a hosts file, MPyC's party file, JSON; pure.

All of it holds for as long as the session runs. When it ends, every agent removes its interface
and its keys, and nobody answers at these addresses any more.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.wireguard.config import Interface, endpoint_text, serialize

ENDS = "holds while the session runs; the other parties' agents remove their end with it"
KEEPALIVE = 25  # seconds


@dataclass(frozen=True)
class MeshExport:
    """What a running agent knows of its mesh; `interface` has the secrets."""

    descriptor: Mapping[str, Any]
    session: str
    rank: int
    mtu: int
    endpoints: Mapping[bytes, tuple[str, int]]  # by WireGuard key, where there is a path now
    interface: Interface = field(repr=False)

    def text(self, kind: str) -> str:
        """Empty for a kind that is none."""
        kinds = {
            "wg-quick": self._wg_quick,
            "hosts": self._hosts,
            "mpyc": self._mpyc,
            "json": self._json,
        }
        return kinds[kind]() if kind in kinds else ""

    def _wg_quick(self) -> str:
        """Holds the private key; wants this interface's port, which the session has."""
        mesh = self.descriptor["mesh"]
        addresses = f"{mesh['ipv4'][self.rank]}/32, {mesh['ipv6'][self.rank]}/128"
        interface = self.interface
        lines = serialize(interface.private_key, interface.listen_port, interface.peers)
        text = lines.replace("[Peer]", f"Address = {addresses}\nMTU = {self.mtu}\n[Peer]", 1)
        for key, address in self.endpoints.items():
            line = f"PublicKey = {base64.b64encode(key).decode()}\n"
            where = f"Endpoint = {endpoint_text(address)}\nPersistentKeepalive = {KEEPALIVE}\n"
            text = text.replace(line, line + where)
        words = (
            "# one of the two at a time: this interface, or the agent's own with the same keys\n"
        )
        return f"{self._title('#')}{words}{text}"

    def _hosts(self) -> str:
        mesh = self.descriptor["mesh"]
        lines = [
            f"{address}\tparty{rank}\n"
            for name in ("ipv4", "ipv6")
            for rank, address in enumerate(mesh[name])
        ]
        return self._title("#") + "".join(lines)

    def _mpyc(self) -> str:
        """For `-C`, below the folder .config; an empty host says which party is us."""
        mesh = self.descriptor["mesh"]
        places = enumerate(zip(mesh["ipv4"], mesh["ports"], strict=True))
        sections = [
            f"[Party {rank}]\nhost = {'' if rank == self.rank else host}\nport = {port}\n"
            for rank, (host, port) in places
        ]
        return self._title("#") + "\n".join(sections)

    def _json(self) -> str:
        """No secrets."""
        facts = {"session": self.session, "rank": self.rank, "mtu": self.mtu}
        return json.dumps({**facts, "descriptor": dict(self.descriptor)}, indent=1) + "\n"

    def _title(self, mark: str) -> str:
        return f"{mark} session {self.session}, party{self.rank}: {ENDS}\n"
