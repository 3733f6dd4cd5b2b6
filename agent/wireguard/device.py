"""One WireGuard interface, its UDP socket in our namespace and itself in the session's; needs root.

The kernel's WireGuard does that by being made here with a namespace to go to. Without it,
wireguard-go makes the interface here and we move it.
"""

import contextlib
import ctypes
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from agent.network_helper.buffers import enlarge
from agent.network_helper.commands import ENVIRONMENT, CommandFailed, log, run
from agent.network_helper.namespace import Namespace
from agent.wireguard import uapi
from agent.wireguard.config import (
    LEAST_MTU,
    Endpoint,
    Peer,
    PeerMtu,
    PeerStatus,
    parse_dump,
    paths,
    serialize,
)
from agent.wireguard.program import NAME, find_wireguard_go

CONTROL_SOCKETS = "/run/wireguard"
SOCKET_BUFFER = 4 * 1024 * 1024  # wireguard-go keeps the 208 KiB default: a fifth of its speed
QUEUE_LENGTH = 2000  # packets
TCP_AND_IP = {4: 40, 6: 60}  # bytes of headers
MAX_CALL, MAX_SEGMENTS = 65_507, 64  # bytes and datagrams that wireguard-go sends in one call
WIREGUARD_HEAD = 32  # bytes
SECONDS_TO_START = 5.0
SECONDS_TO_ANSWER = 5.0
CLONE_NEWNS = 0x20000
MS_REC, MS_SLAVE = 0x4000, 0x80000
SYS_PIDFD_GETFD = 438
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def most_packets(mtu: int) -> int:
    """How many of an interface wireguard-go should read at once: as many as it sends in one call.

    With any more it makes two calls of them, the second of which carries next to nothing.
    """
    return min(MAX_SEGMENTS, MAX_CALL // (mtu + WIREGUARD_HEAD))


class Device:
    """Made by `create`; at the end `remove`."""

    def __init__(self, where: Namespace) -> None:
        self.name = f"dm{secrets.token_hex(5)}"
        self._where = where
        self._userspace: subprocess.Popen[bytes] | None = None
        self._mtu = 0  # the interface's
        self._hosts: dict[bytes, tuple[str, ...]] = {}  # of each peer, by its public key

    @property
    def implementation(self) -> Literal["kernel", "wireguard-go"]:
        return "kernel" if self._userspace is None else "wireguard-go"

    def create(self, addresses: Sequence[str], mtu: int) -> None:
        try:
            run("ip", "link", "add", self.name, "netns", self._where.path, "type", "wireguard")
        except CommandFailed:
            self._start_userspace(mtu)
        self._mtu = mtu
        link = f"dev {self.name}"
        commands = [f"address add {address} {link} nodad" for address in addresses]
        commands += [f"link set {link} mtu {mtu} txqueuelen {QUEUE_LENGTH} up"]
        if self._userspace is not None:
            commands += [f"link set {link} gso_max_segs {most_packets(mtu)}"]
        self._ip(commands)
        if self._userspace is not None:
            self._await(lambda: uapi.listens(self._ask(uapi.GET)))

    def configure(self, private_key: bytes, listen_port: int, peers: Sequence[Peer]) -> None:
        """Everything but where to send, once; the caller goes on with `set_endpoints`."""
        text = serialize(private_key, listen_port, peers)
        run(*self._where.inside("wg", "setconf", self.name, "/dev/stdin"), text=text, quiet=True)
        self._hosts = {peer.public_key: peer.allowed_ips for peer in peers}
        first = min(LEAST_MTU, self._mtu)
        self.set_mtus([PeerMtu(peer.public_key, first) for peer in peers])
        if self._userspace is not None:
            _enlarge_buffers(self._userspace.pid)

    def set_endpoints(self, endpoints: Sequence[Endpoint]) -> None:
        if self._userspace is None:
            self._wg("set", self.name, *paths(endpoints))
        elif errno := uapi.parse_errno(self._ask(uapi.set_endpoints(endpoints))):
            raise CommandFailed(f"wireguard-go: {os.strerror(abs(errno))}")

    def set_mtus(self, mtus: Sequence[PeerMtu]) -> None:
        """How large packets to these peers may be; open connections follow.

        Others are always told that we take the most that the interface allows (`advmss`), so that
        a connection which begins with small packets can go on with large ones.
        """
        routes = []
        for one in mtus:
            for host in self._hosts[one.public_key]:
                most = self._mtu - TCP_AND_IP[6 if ":" in host else 4]
                routes.append(f"route replace {host} dev {self.name} mtu {one.mtu} advmss {most}")
        self._ip(routes)

    def status(self) -> tuple[PeerStatus, ...]:
        if self._userspace is None:
            return parse_dump(self._wg("show", self.name, "dump"))
        return uapi.parse_status(self._ask(uapi.GET))

    def remove(self) -> None:
        if self._userspace is not None:
            self._userspace.kill()
            self._userspace.wait()
        else:
            with contextlib.suppress(CommandFailed):
                self._ip([f"link delete dev {self.name}"])

    def is_left(self) -> bool:
        return self.name in (name for _, name in socket.if_nameindex())

    def _start_userspace(self, mtu: int) -> None:
        """wireguard-go learns the MTU before the move only; after it, within 1 s that it is up."""
        _hide_control_sockets()
        argv = [
            "setpriv", "--no-new-privs", "--bounding-set=-all,+net_admin", "--inh-caps=-all", "--",
            find_wireguard_go(ENVIRONMENT["PATH"]) or NAME, "--foreground", self.name,
        ]  # fmt: skip
        log.debug("runs %s", " ".join(argv))
        self._userspace = subprocess.Popen(
            argv,
            env=ENVIRONMENT | {"WG_PROCESS_FOREGROUND": "1", "LOG_LEVEL": "error"},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            preexec_fn=_die_with(os.getpid()),
            start_new_session=True,  # no Ctrl-C, and its own share of the processors
        )  # fmt: skip
        self._await(lambda: bool(self._ask(uapi.GET)))
        link = f"link set dev {self.name}"
        run("ip", "-batch", "-", text=f"{link} mtu {mtu}\n{link} netns {self._where.path}\n")

    def _await(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS_TO_START
        while True:
            with contextlib.suppress(CommandFailed):
                if condition():
                    return
            if time.monotonic() > deadline or self._userspace is None or self._userspace.poll():
                raise CommandFailed("wireguard-go: did not start")
            time.sleep(0.01)

    def _ip(self, commands: Sequence[str]) -> None:
        run(*self._where.inside("ip", "-batch", "-"), text="\n".join(commands) + "\n")

    def _wg(self, *argv: str) -> str:
        return run(*self._where.inside("wg", *argv))

    def _ask(self, request: str) -> str:
        """wireguard-go's answer. Raises: CommandFailed."""
        answer = b""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(SECONDS_TO_ANSWER)
            try:
                control.connect(f"{CONTROL_SOCKETS}/{self.name}.sock")
                control.sendall(request.encode())
                while not answer.endswith(uapi.END):
                    if not (more := control.recv(65536)):
                        break
                    answer += more
            except OSError as error:
                raise CommandFailed(f"wireguard-go: {error.strerror or 'no answer'}") from None
        return answer.decode()


def _hide_control_sockets() -> None:
    """Keep wireguard-go's control socket in a mount namespace of ours, so that it dies with us.

    Its path would be shared by the whole machine, and would stay behind after a kill.
    """
    if _libc.unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    _mount("none", "/", None, MS_REC | MS_SLAVE)
    try:
        Path(CONTROL_SOCKETS).mkdir(mode=0o700, exist_ok=True)
    except PermissionError:  # root of a user namespace, to which the machine's /run is closed
        _mount("tmpfs", "/run", "tmpfs", options="mode=0755")
        Path(CONTROL_SOCKETS).mkdir(mode=0o700)
    _mount("tmpfs", CONTROL_SOCKETS, "tmpfs", options="mode=0700")


def _mount(
    source: str, target: str, kind: str | None, flags: int = 0, options: str | None = None
) -> None:
    """mount(2), without a process for it. Raises: OSError."""
    words = [None if word is None else word.encode() for word in (source, target, kind, options)]
    if _libc.mount(*words[:3], ctypes.c_ulong(flags), words[3]) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)


def _die_with(parent: int) -> Callable[[], None]:
    """For the child before it runs anything: end when the parent ends, if it has not already."""

    def bind() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return bind


def _enlarge_buffers(pid: int) -> None:
    """Borrow the UDP sockets of a process of ours, which has no setting for their buffers."""
    process = os.pidfd_open(pid)
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            if _is_socket(link):
                borrowed = _libc.syscall(SYS_PIDFD_GETFD, process, int(link.name), 0)
                if borrowed >= 0:
                    _enlarge(borrowed)
    finally:
        os.close(process)


def _is_socket(link: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):  # closed since it was listed
        return str(link.readlink()).startswith("socket:")
    return False


def _enlarge(descriptor: int) -> None:
    with socket.socket(fileno=descriptor) as borrowed:
        if borrowed.type == socket.SOCK_DGRAM:
            enlarge(borrowed, SOCKET_BUFFER)
