"""The agent's end of the network helper: starts it, asks, and runs without privilege itself."""

import asyncio
import base64
import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from agent.errors import AgentError, Exit
from agent.wireguard.config import Endpoint, Interface, Peer, PeerMtu, PeerStatus

HANDED_OVER = "DIDMESH_HELPER_FD"  # the descriptor of a helper that somebody started for us
HELPER_SOCKET = Path("/run/didmesh/network-helper.sock")  # where systemd may listen for us
MAX_REPLY = 60_000
SECONDS_TO_END = 10.0
log = logging.getLogger(__name__)


class PrivilegeMissing(AgentError):
    """No network helper could be started; a person has to allow it."""

    exit_code = Exit.PRIVILEGE

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"cannot start the network helper: {reason}",
            hint="add --rootless, or run the command with sudo, or let your user run this without a"
            " password: " + " ".join(_command(None)),
        )


class HelperRefused(AgentError):
    """We asked for something the helper never does."""


class HelperFailed(AgentError):
    """The helper tried and the system did not let it, or the helper is gone."""


@dataclass(frozen=True)
class Created:
    interface: str
    implementation: Literal["kernel", "wireguard-go"]


@dataclass(frozen=True)
class Removed:
    """What is still there after the removal: all zeros is clean."""

    interfaces: int
    namespaces: int
    processes: int


class NetworkHelper:
    """One session's helper; when it ends, or our process dies, everything is removed."""

    def __init__(self, agent: socket.socket, process: subprocess.Popen[bytes] | None) -> None:
        agent.setblocking(False)
        self._socket = agent
        self._process = process
        self._turn = asyncio.Lock()

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, user: int | None = None) -> AsyncIterator[Self]:
        """Start the helper: as root for `user`, else through systemd's socket or sudo.

        Raises: PrivilegeMissing
        """
        helper = cls(*_started(user))
        try:
            await helper._greeting()
            yield helper
        finally:
            await helper._end()

    async def create(self, addresses: Sequence[str], mtu: int) -> Created:
        """A namespace of our own with the interface in it, up; takes about a second."""
        reply, _ = await self._ask("create", addresses=list(addresses), mtu=mtu)
        return Created(reply["interface"], reply["implementation"])

    async def apply(self, interface: Interface) -> None:
        """Key, port and peers, once; nothing is sent before `set_endpoints`."""
        await self._ask(
            "apply",
            private_key=_base64(interface.private_key),
            listen_port=interface.listen_port,
            peers=[_peer(peer) for peer in interface.peers],
        )

    async def set_endpoints(self, endpoints: Sequence[Endpoint]) -> None:
        """Where some peers are reached from now on; takes a few milliseconds."""
        await self._ask(
            "endpoints",
            endpoints=[
                {
                    "public_key": _base64(endpoint.public_key),
                    "address": list(endpoint.address),
                    "keepalive": endpoint.keepalive,
                    "late": [list(address) for address in endpoint.late],
                    "source_port": endpoint.source_port,
                }
                for endpoint in endpoints
            ],
        )

    async def set_mtus(self, mtus: Sequence[PeerMtu]) -> None:
        """How large packets to some peers may be from now on; 1280 at first."""
        await self._ask(
            "mtu",
            mtus=[{"public_key": _base64(one.public_key), "mtu": one.mtu} for one in mtus],
        )

    async def hold(self, source: socket.socket, address: tuple[str, int]) -> None:
        """The port of this UDP socket of ours may be an endpoint's `source_port` from now on.

        WireGuard may get packets there, and answers those from `address` from there, before any
        endpoint says so.
        """
        await self._ask("hold", (source.fileno(),), address=list(address))

    async def checks(self) -> socket.socket:
        """Sends and receives checks on WireGuard's own port; once, after `apply`; non-blocking.

        `agent.network_helper.checks` says in which form.
        """
        _, descriptors = await self._ask("checks")
        made = socket.socket(fileno=descriptors[0])
        made.setblocking(False)
        return made

    async def status(self) -> tuple[PeerStatus, ...]:
        reply, _ = await self._ask("status")
        return tuple(_peer_status(peer) for peer in reply["peers"])

    async def socket(self, kind: Literal["tcp", "udp"]) -> socket.socket:
        """An IPv4 socket inside the namespace, non-blocking; close it before `remove`."""
        _, descriptors = await self._ask("socket", kind=kind)
        made = socket.socket(fileno=descriptors[0])
        made.setblocking(False)
        return made

    async def launch(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        stdin: int,
        stdout: int,
        stderr: int,
    ) -> "Child":
        """Start a program inside the namespace, as our user; one at a time."""
        reply, descriptors = await self._ask(
            "launch", (stdin, stdout, stderr), argv=list(argv), env=dict(env), cwd=cwd
        )
        return Child(reply["pid"], socket.socket(fileno=descriptors[0]))

    async def remove(self) -> Removed:
        """Take everything down and count what is left; then `create` may begin anew."""
        reply, _ = await self._ask("remove")
        return Removed(**reply)

    async def _greeting(self) -> None:
        try:
            reply, _ = await self._reply()
        except HelperFailed:
            who = "it ended at once" if os.geteuid() == 0 else "sudo does not allow it"
            raise PrivilegeMissing(who) from None
        if "refused" in reply:
            raise PrivilegeMissing(reply["refused"])

    async def _ask(
        self, request: str, descriptors: Sequence[int] = (), **members: object
    ) -> tuple[dict[str, Any], list[int]]:
        data = json.dumps({"request": request, **members}, ensure_ascii=False).encode()
        # Shielded: whoever stops waiting must not leave its reply to the next request.
        reply, received = await asyncio.shield(self._exchange(data, descriptors))
        if "refused" in reply:
            raise HelperRefused(f"network helper refused to {request}: {reply['refused']}")
        if "failed" in reply:
            raise HelperFailed(f"network helper could not {request}: {reply['failed']}")
        return reply, received

    async def _exchange(
        self, data: bytes, descriptors: Sequence[int]
    ) -> tuple[dict[str, Any], list[int]]:
        async with self._turn:
            try:
                socket.send_fds(self._socket, [data], descriptors)
            except OSError as error:
                raise HelperFailed(f"network helper: {error.strerror}") from error
            return await self._reply()

    async def _reply(self) -> tuple[dict[str, Any], list[int]]:
        await _readable(self._socket)
        try:
            data, descriptors, _, _ = socket.recv_fds(
                self._socket, MAX_REPLY, 1, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionError:
            data, descriptors = b"", []
        if not data:
            raise HelperFailed("the network helper has ended")
        return json.loads(data), descriptors

    async def _end(self) -> None:
        self._socket.close()
        if self._process is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SECONDS_TO_END):
                    await asyncio.to_thread(self._process.wait)


class Child:
    """A program in the session's namespace; it ends when this object's socket closes."""

    def __init__(self, pid: int, leash: socket.socket) -> None:
        leash.setblocking(False)
        self.pid = pid  # of the process that keeps the program's pid namespace
        self._leash = leash
        self._status: int | None = None

    async def wait(self) -> int:
        """The exit code, or minus the signal that ended the program. For one waiting task.

        Raises: HelperFailed, if the helper ended first.
        """
        if self._status is None:
            await _readable(self._leash)
            with self._leash:
                status = self._leash.recv(16)
            if not status:
                raise HelperFailed("the network helper has ended")
            self._status = int(status)
        return self._status

    def kill(self) -> None:
        """End the program and everything it started; `wait` still says how it ended."""
        with contextlib.suppress(OSError):
            self._leash.shutdown(socket.SHUT_WR)


def _started(user: int | None) -> tuple[socket.socket, subprocess.Popen[bytes] | None]:
    if (handed := os.environ.pop(HANDED_OVER, None)) is not None:
        return socket.socket(fileno=int(handed)), None
    if os.geteuid() != 0 and HELPER_SOCKET.exists():
        agent = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            agent.connect(str(HELPER_SOCKET))
        except OSError as error:
            agent.close()
            raise PrivilegeMissing(f"{HELPER_SOCKET}: {error.strerror}") from error
        return agent, None
    return start_process(user)


def start_process(user: int | None) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Our end of a new helper's socket, and its process: by root for `user`, else by sudo.

    Raises: PrivilegeMissing
    """
    agent, helpers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with helpers:
        try:
            return agent, subprocess.Popen(
                _command(user), stdin=helpers.fileno(), stdout=subprocess.DEVNULL
            )
        except OSError as error:
            agent.close()
            raise PrivilegeMissing(f"sudo: {error.strerror}") from error


def _command(user: int | None) -> list[str]:
    helper = [sys.executable, "-I", "-m", "agent.network_helper"]
    if log.isEnabledFor(logging.DEBUG):
        helper.append("--debug")
    if os.geteuid() != 0:
        return ["sudo", "-n", *helper]
    return [*helper, "--uid", str(user)] if user is not None else helper


async def _readable(waiting: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(waiting, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(waiting)


def _peer(peer: Peer) -> dict[str, object]:
    return {
        "public_key": _base64(peer.public_key),
        "preshared_key": None if peer.preshared_key is None else _base64(peer.preshared_key),
        "allowed_ips": list(peer.allowed_ips),
    }


def _peer_status(words: dict[str, Any]) -> PeerStatus:
    endpoint = words["endpoint"]
    return PeerStatus(
        public_key=base64.b64decode(words["public_key"]),
        endpoint=None if endpoint is None else (endpoint[0], endpoint[1]),
        last_handshake=words["last_handshake"],
        rx_bytes=words["rx_bytes"],
        tx_bytes=words["tx_bytes"],
    )


def _base64(key: bytes) -> str:
    return base64.b64encode(key).decode()
