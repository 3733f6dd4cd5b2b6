"""WireGuard's late packets for a relay, sent along the direct path: `docs/decisions/roaming.md`.

One nftables table of our own before connection tracking. Only what leaves WireGuard's port for a
relay, in WireGuard's form, is touched; STUN to the relay goes on as it is. The kernel ties the
table to our netlink socket: it ends with this process, even if that is killed.
"""

import ctypes
import socket
from collections.abc import Mapping
from typing import Any

from agent.network_helper.commands import CommandFailed, log

PREFIX = "didmesh_agent_"  # of the names of all such tables
WIREGUARD = "@th,64,32 { 0x01000000, 0x02000000, 0x03000000, 0x04000000 }"  # its message types
TABLE = """\
table inet {name} {{
  flags owner
  chain out {{
    type route hook output priority raw; policy accept;
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
        self._rules: dict[Address, Address] = {}

    def set(self, rules: Mapping[Address, Address]) -> None:
        """From now on, what goes to a key goes to its value; addresses are literals.

        Where this system cannot do it, packets take the longer way, as its log says.
        """
        usable = {late: to for late, to in rules.items() if (":" in late[0]) == (":" in to[0])}
        if usable == self._rules:
            return
        self._rules = usable
        if not usable:
            self.close()
            return
        try:
            self._replace()
        except (CommandFailed, OSError) as error:
            log.warning("late packets of a relay are not redirected: %s", error)
            self.close()

    def close(self) -> None:
        if self._nft is not None:
            self._nft.close()
            self._nft = None

    def _replace(self) -> None:
        lines = [f"add rule inet {self._name} out {rule}" for rule in map(self._rule, self._rules)]
        words = f"flush chain inet {self._name} out\n"
        if self._nft is None:
            self._nft = _Nft()
            words = TABLE.format(name=self._name)
        self._nft.run(words + "\n".join(lines) + "\n")

    def _rule(self, late: Address) -> str:
        """Another way out may need another address of ours."""
        to = self._rules[late]
        ip = "ip6" if ":" in to[0] else "ip"
        return (
            f"udp sport {self._port} {ip} daddr {late[0]} udp dport {late[1]} {WIREGUARD}"
            f" {ip} saddr set {_source(to)} {ip} daddr set {to[0]} udp dport set {to[1]} accept"
        )


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
