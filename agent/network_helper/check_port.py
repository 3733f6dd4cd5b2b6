"""Raw sockets on WireGuard's port, through which STUN and nothing else passes, both ways.

They stay here: Linux has no raw socket that can be kept from sending, and whoever has one can send
anything in anybody's name. The agent holds one end of a pair of local sockets.
"""

import contextlib
import ctypes
import socket
import struct
from collections.abc import Collection

from agent.network_helper import checks
from agent.network_helper.buffers import enlarge
from agent.network_helper.checks import Check, MalformedCheck

SO_ATTACH_FILTER = 26  # <asm/socket.h>
IPV6_CHECKSUM_AT = 6  # bytes into the UDP header, where the kernel is to write it
BUFFER = 2 * 1024 * 1024  # bytes; the usual 208 KiB hold 278 checks, fewer than twenty parties make
AT_ONCE = 64  # datagrams of one direction before anything else gets its turn
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


class CheckPort:
    """Checks of one UDP port; call `pass_on` with those of `sockets` that are readable."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._raw = {version: _raw(version, port) for version in FAMILIES if _spoken(version)}
        self._ours, self._agents = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)
        for held in (self._ours, self._agents, *self._raw.values()):
            enlarge(held, BUFFER)

    @property
    def sockets(self) -> list[socket.socket]:
        return [self._ours, *self._raw.values()]

    def hand_out(self) -> int:
        """The descriptor for the agent; once."""
        return self._agents.detach()

    def pass_on(self, ready: Collection[int | socket.socket]) -> bool:
        """Whether the agent still holds its end; what has no way is a lost datagram."""
        for version, ear in self._raw.items():
            if ear in ready:
                self._hear(version, ear)
        return self._ours not in ready or self._speak()

    def close(self) -> None:
        for held in (*self._raw.values(), self._ours, self._agents):
            held.close()

    def _speak(self) -> bool:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            for _ in range(AT_ONCE):
                data = self._ours.recv(checks.MAX_SIZE)
                if not data:
                    return False
                with contextlib.suppress(MalformedCheck, OSError):
                    self._send(checks.parse(data))
        return True

    def _hear(self, version: int, ear: socket.socket) -> None:
        """An agent that is slower than a flood misses what does not fit."""
        with contextlib.suppress(OSError):
            for _ in range(AT_ONCE):
                data, source = ear.recvfrom(checks.MAX_SIZE)
                with contextlib.suppress(MalformedCheck, BlockingIOError):
                    self._ours.send(checks.serialize(checks.arrived(data, version, source[0])))

    def _send(self, check: Check) -> None:
        raw = self._raw.get(check.version)
        if raw is None:
            return
        source = _source(check) if check.version == 4 else None
        raw.sendto(checks.udp_datagram(check, source, self._port), (check.host, 0))


def _source(check: Check) -> str:
    """The address of ours that the kernel will send from; a socket keeps the first it has found."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        route.connect((check.host, check.port))
        return str(route.getsockname()[0])


def _spoken(version: int) -> bool:
    """Whether the kernel has this family at all; it may be switched off."""
    with contextlib.suppress(OSError), socket.socket(FAMILIES[version], socket.SOCK_DGRAM):
        return True
    return False


def _raw(version: int, port: int) -> socket.socket:
    made = socket.socket(FAMILIES[version], socket.SOCK_RAW, socket.IPPROTO_UDP)
    made.setblocking(False)
    _attach(made, checks.deaf_filter())
    with contextlib.suppress(BlockingIOError):
        while True:  # what came before there was a filter
            made.recv(1)
    _attach(made, checks.receive_filter(version, port))
    if version == 6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_CHECKSUM, IPV6_CHECKSUM_AT)
    return made


def _attach(made: socket.socket, program: bytes) -> None:
    memory = ctypes.create_string_buffer(program)
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(memory))
    made.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, header)
