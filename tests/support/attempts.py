# ruff: noqa: PTH123, PTH110, PTH108, PTH208, SIM115
"""A program that tries to get out: what each attempt came to, as one line of JSON.

python attempts.py KEYSTORE OTHER_WORK_FOLDER AGENT_PID ABSTRACT_SOCKET UNIX_SOCKET ADDRESS
"""

import ctypes
import errno
import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable

KEYSTORE, OTHER, AGENT, ABSTRACT, UNIX, ADDRESS = sys.argv[1:]
LIBC = ctypes.CDLL(None, use_errno=True)
PTRACE_ATTACH, CLONE_NEWUSER, CLONE_NEWNET = 16, 0x10000000, 0x40000000


def outcome(attempt: Callable[[], object]) -> str:
    try:
        if attempt() == -1:
            return errno.errorcode[ctypes.get_errno()]
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    except MemoryError:
        return "ENOMEM"
    except ValueError:
        return "EPERM"
    return "done"


def read(path: str) -> Callable[[], object]:
    def attempt() -> None:
        with open(path, "rb") as file:
            file.read(1)

    return attempt


def write(path: str) -> Callable[[], object]:
    def attempt() -> None:
        with open(path, "ab") as file:
            file.write(b"x")

    return attempt


def connect(family: int, address: object) -> Callable[[], object]:
    def attempt() -> None:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(2)
            sock.connect(address)

    return attempt


def fill(folder: str) -> Callable[[], object]:
    """Many files below any limit of one, until somebody says no."""

    def attempt() -> None:
        for number in range(64):
            with open(f"{folder}/fill{number}", "wb") as file:
                file.write(bytes(16 << 20))

    def then_tidy() -> None:
        try:
            attempt()
        finally:
            for number in range(64):
                if os.path.exists(f"{folder}/fill{number}"):
                    os.unlink(f"{folder}/fill{number}")

    return then_tidy


def fork_bomb() -> None:
    children = []
    try:
        for _ in range(500):
            children.append(subprocess.Popen(["/usr/bin/sleep", "3"]))
    finally:
        for child in children:
            child.kill()


def one_large_file() -> None:
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with open("large", "wb") as file:
        file.truncate(1 << 30)


ATTEMPTS: dict[str, Callable[[], object]] = {
    "read the keystore": read(KEYSTORE),
    "read it by a way upwards": read("../" * 20 + KEYSTORE.lstrip("/")),
    "read another session's work folder": lambda: os.listdir(OTHER),
    "read passwords": read("/etc/passwd"),
    "read a home": lambda: os.listdir("/home") + os.listdir("/root"),
    "link to the keystore": lambda: os.link(KEYSTORE, "stolen"),
    "write to the system": write("/usr/bin/true"),
    "write to its own program": write("program/main.py"),
    "write to the root": write("/x"),
    "write to the devices": write("/dev/x"),
    "write to its work folder": write("notes"),
    "see the agent": lambda: os.kill(int(AGENT), 0),
    "trace the agent": lambda: LIBC.ptrace(PTRACE_ATTACH, int(AGENT), 0, 0),
    "reach an abstract socket": connect(socket.AF_UNIX, b"\0" + ABSTRACT.encode()),
    "reach a socket with a path": connect(socket.AF_UNIX, UNIX),
    "reach the network": connect(socket.AF_INET, (ADDRESS, 53)),
    "make a user namespace": lambda: LIBC.unshare(CLONE_NEWUSER),
    "make a network namespace": lambda: LIBC.unshare(CLONE_NEWNET),
    "be root": lambda: os.setuid(0),
    "mount": lambda: LIBC.mount(b"none", b"/tmp", b"tmpfs", 0, None),
    "fill the work folder": fill("."),
    "fill /tmp": fill("/tmp"),
    "fill /dev/shm": fill("/dev/shm"),
    "one large file": one_large_file,
    "take all memory": lambda: bytearray(5 << 30),
    "fork without end": fork_bomb,
    "raise a limit": lambda: resource.setrlimit(resource.RLIMIT_AS, (-1, -1)),
}
ALL = {name: outcome(attempt) for name, attempt in ATTEMPTS.items()}
ALL["input"] = open("/dev/stdin").read()
print(json.dumps(ALL))
