"""The session's network namespace: without a name, alive as long as somebody holds it.

Nothing of it can be left behind: no file in /run/netns, only a descriptor of this process, the
processes inside and the sockets handed out.
"""

import contextlib
import ctypes
import fcntl
import os
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from agent.network_helper.commands import CommandFailed, run

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1  # netdevice(7)
RTM_NEWNSID, NETNSA_NSID, NETNSA_FD = 88, 1, 3
NLM_F_REQUEST_ACK = 5
SECONDS_TO_VANISH = 3.0  # the kernel takes namespaces down in the background

_libc = ctypes.CDLL(None, use_errno=True)
_Made = TypeVar("_Made")


class Namespace:
    def __init__(self) -> None:
        self._descriptor = in_a_thread(made_namespace)
        self._inode = os.fstat(self._descriptor).st_ino
        self._number = secrets.randbits(31)
        _number(self._descriptor, self._number)

    @property
    def path(self) -> str:
        """Where commands find it while we live."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def inside(self, *argv: str) -> list[str]:
        return ["nsenter", f"--net={self.path}", "--", *argv]

    def socket(self, kind: Literal["tcp", "udp"]) -> socket.socket:
        def made() -> socket.socket:
            _check(_libc.setns(self._descriptor, CLONE_NEWNET))
            kinds = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
            return socket.socket(socket.AF_INET, kinds[kind])

        return in_a_thread(made)

    def end_connections(self) -> None:
        """Reset every TCP connection while its process still has it.

        What a killed process leaves half closed towards a party that has vanished would be resent
        for minutes, and would keep the namespace for as long.
        """
        with contextlib.suppress(CommandFailed):  # a kernel without sock_diag's destroy
            run(*self.inside("ss", "--tcp", "--kill"))

    def processes(self) -> int:
        """How many processes are inside, once those that were killed had time to go."""
        return _settled(lambda: sum(map(self._holds, Path("/proc").glob("[0-9]*"))))

    def close(self) -> None:
        os.close(self._descriptor)

    def is_left(self) -> bool:
        """Whether it outlived `close`, because somebody still has a process or socket inside."""
        number = str(self._number)
        return bool(_settled(lambda: run("ip", "netns", "list-id").split().count(number)))

    def _holds(self, process: Path) -> bool:
        with contextlib.suppress(OSError):
            return (process / "ns/net").stat().st_ino == self._inode
        return False


def made_namespace() -> int:
    """A descriptor of a new one, with its loopback interface up; for a thread that ends then."""
    _check(_libc.unshare(CLONE_NEWNET))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("=16sh14x", b"lo", IFF_UP))
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _settled(count: Callable[[], int]) -> int:
    """Zero as soon as it is reached, else what is there when the time is up."""
    deadline = time.monotonic() + SECONDS_TO_VANISH
    while (left := count()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left


def in_a_thread(make: Callable[[], _Made]) -> _Made:
    """Namespaces belong to threads: a short-lived one enters, the rest of us stay outside."""
    made: list[_Made] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            made.append(make())
        except BaseException as error:  # handed to the waiting thread
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]


def _number(descriptor: int, number: int) -> None:
    """Give the namespace a number here, which the kernel forgets when the namespace is gone.

    That is how `is_left` sees sockets inside, too. (`ip netns set` wants a name in /run/netns.)
    """
    attributes = struct.pack("=HHi", 8, NETNSA_NSID, number)
    attributes += struct.pack("=HHI", 8, NETNSA_FD, descriptor)
    body = struct.pack("=B3x", socket.AF_UNSPEC) + attributes
    header = struct.pack("=IHHII", 16 + len(body), RTM_NEWNSID, NLM_F_REQUEST_ACK, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as route:
        route.send(header + body)
        (error,) = struct.unpack_from("=i", route.recv(4096), 16)
    if error:
        raise OSError(-error, os.strerror(-error))


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
