"""WireGuard's packets, sent another way than WireGuard knows: `docs/decisions/roaming.md`.

Late ones for a relay go along the direct path. Those of a path that leads from another port of ours
(`docs/decisions/birthday.md`) leave from there, and what comes there is given to WireGuard.

One nftables table of our own: what leaves is rewritten before connection tracking, what comes after
it, so that a firewall of this machine sees one flow. Only what is WireGuard's by port and form is
touched; STUN goes on as it is. The kernel ties the table to our netlink socket: it ends with this
process, even if that is killed.
"""

import ctypes
import socket
from collections.abc import Collection, Mapping
from typing import Any

from agent.network_helper.commands import CommandFailed, log
from agent.wireguard.config import Endpoint

PREFIX = "didmesh_agent_"  # of the names of all such tables
WIREGUARD = "@th,64,32 { 0x01000000, 0x02000000, 0x03000000, 0x04000000 }"  # its message types
TABLE = """\
table inet {name} {{
  flags owner
  chain out {{
    type route hook output priority raw; policy accept;
  }}
  chain in {{
    type filter hook prerouting priority mangle; policy accept;
  }}
}}
"""

Address = tuple[str, int]


class Redirect:
    """`port` is WireGuard's. Nothing is there before the first rule, nor after the last."""

    def __init__(self, name: str, port: int) -> None:
        self._name = PREFIX + name
        self._port = port
        self._nft: _Nft | None = None
        self._rules: list[str] = []

    def set(self, endpoints: Collection[Endpoint], held: Mapping[int, Address]) -> None:
        """From now on, what these endpoints say of their late relays and their source ports is so.

        What of WireGuard's comes to a `held` port is given to it; it knows its peers. It goes there
        as soon as it has heard them, so what it sends to the port's address leaves from the port,
        too, unless an endpoint there says otherwise.

        Where this system cannot do it, packets take the longer way, as its log says.
        """
        before, self._rules = self._rules, []
        try:
            told = {to.address: to.source_port for to in endpoints}
            sources = {address: port for port, address in held.items()} | told
            self._rules = [self._late(to, relay) for to in endpoints for relay in _late_of(to)]
            self._rules += [
                self._leave(address, port) for address, port in sources.items() if port is not None
            ]
            self._rules += [self._let_in(port) for port in held]
            if self._rules and self._rules != before:
                self._replace()
        except (CommandFailed, OSError) as error:
            log.warning("WireGuard's packets are not sent another way: %s", error)
            self.close()
        if not self._rules:
            self.close()

    def close(self) -> None:
        if self._nft is not None:
            self._nft.close()
            self._nft = None

    def _replace(self) -> None:
        table = f"inet {self._name}"
        words = f"flush table {table}\n"
        if self._nft is None:
            self._nft = _Nft()
            words = TABLE.format(name=self._name)
        self._nft.run(words + "".join(f"add rule {table} {rule}\n" for rule in self._rules))

    def _leave(self, address: Address, source_port: int) -> str:
        host, port = address
        return (
            f"out udp sport {self._port} {_version(address)} daddr {host} udp dport {port}"
            f" {WIREGUARD} udp sport set {source_port} accept"
        )

    def _let_in(self, held: int) -> str:
        return f"in udp dport {held} {WIREGUARD} udp dport set {self._port} accept"

    def _late(self, to: Endpoint, relay: Address) -> str:
        """Another way out may need another address of ours."""
        ip, (host, port) = _version(relay), to.address
        source = "" if to.source_port is None else f" udp sport set {to.source_port}"
        return (
            f"out udp sport {self._port} {ip} daddr {relay[0]} udp dport {relay[1]} {WIREGUARD}"
            f" {ip} saddr set {_source(to.address)} {ip} daddr set {host} udp dport set {port}"
            f"{source} accept"
        )


def _version(address: Address) -> str:
    """In nftables' words."""
    return "ip6" if ":" in address[0] else "ip"


def _late_of(to: Endpoint) -> list[Address]:
    return [relay for relay in to.late if _version(relay) == _version(to.address)]


class _Nft:
    """The library behind nft(8): unlike that, it keeps one netlink socket. Raises: CommandFailed"""

    def __init__(self) -> None:
        try:
            self._library: Any = ctypes.CDLL("libnftables.so.1")
        except OSError:
            raise CommandFailed("there is no libnftables.so.1") from None
        self._library.nft_ctx_new.restype = ctypes.c_void_p
        self._library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        self._context = ctypes.c_void_p(self._library.nft_ctx_new(0))
        self._library.nft_ctx_buffer_error(self._context)

    def run(self, words: str) -> None:
        log.debug("nft: %s", words)
        if self._library.nft_run_cmd_from_buffer(self._context, words.encode()) != 0:
            complaint: bytes = self._library.nft_ctx_get_error_buffer(self._context)
            raise CommandFailed(f"nft: {complaint.decode().partition(chr(10))[0]}")

    def close(self) -> None:
        self._library.nft_ctx_free(self._context)


def _source(to: Address) -> str:
    """Raises: OSError, where no way leads there."""
    family = socket.AF_INET6 if ":" in to[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as route:
        route.connect(to)
        return str(route.getsockname()[0])
