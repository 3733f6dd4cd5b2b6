"""Whether this machine lets an ordinary user have namespaces with a way out; measured."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from agent.errors import AgentError, Exit
from agent.rootless.way_out import PACKAGES, PREFERRED, WayOut

TUN = "/dev/net/tun"
SECONDS_TO_PROBE = 10.0
NAMESPACES = [
    "unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child",
    "--mount-proc", "--",
]  # fmt: skip
"""The words before a command that make it the first process in namespaces of its own."""

# Switches of kernels and distributions: what forbids user namespaces, and what allows them.
SWITCHES = (
    ("kernel.unprivileged_userns_clone", "0", "1", "user namespaces are switched off"),
    ("user.max_user_namespaces", "0", "15000", "user namespaces are switched off"),
    (
        "kernel.apparmor_restrict_unprivileged_userns", "1", "0",
        "AppArmor lets no ordinary user have user namespaces",
    ),
)  # fmt: skip


class RootlessImpossible(AgentError):
    """Something has to be changed on this machine first; the hint says what."""

    exit_code = Exit.PRIVILEGE

    def __init__(self, reason: str, change: str) -> None:
        super().__init__(f"cannot run rootless: {reason}", change)


@dataclass(frozen=True)
class Obstacle:
    reason: str
    change: str


def find_ways() -> tuple[WayOut, ...]:
    """The installed ways out, the best first."""
    found = ((name, shutil.which(name)) for name in PREFERRED)
    return tuple(WayOut(name, path) for name, path in found if path is not None)


def find_obstacle() -> Obstacle | None:
    """What keeps this user from running rootless, the first thing to change; takes about 50 ms."""
    if not find_ways():
        packages = " or ".join(PACKAGES.values())
        return Obstacle(
            f"neither {' nor '.join(PREFERRED)} is installed",
            f"install the package {packages}: sudo apt-get install {PACKAGES[PREFERRED[0]]}",
        )
    if not Path(TUN).exists():
        return Obstacle(f"there is no {TUN}", "let root load the kernel module: sudo modprobe tun")
    if not os.access(TUN, os.R_OK | os.W_OK):
        return Obstacle(
            f"{TUN} is for root alone",
            f"open it to ordinary users, as systems usually do: sudo chmod 666 {TUN}",
        )
    complaint = _complaint()
    return None if complaint is None else _forbidden(complaint)


def require() -> tuple[WayOut, ...]:
    """The ways out. Raises: RootlessImpossible."""
    obstacle = find_obstacle()
    if obstacle is not None:
        raise RootlessImpossible(obstacle.reason, obstacle.change)
    return find_ways()


def _complaint() -> str | None:
    """What is said when namespaces are made; None if they can be."""
    network = ["unshare", "--net", "true"]
    try:
        done = subprocess.run(
            [*NAMESPACES, *network],
            capture_output=True, text=True, timeout=SECONDS_TO_PROBE,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (done.stderr.strip() or "no reason given") if done.returncode != 0 else None


def _forbidden(complaint: str) -> Obstacle:
    for name, off, on, reason in SWITCHES:
        if _setting(name) == off:
            return Obstacle(reason, f"sudo sysctl -w {name}={on}")
    if "proc" in complaint:
        return Obstacle(
            f"this container hides parts of /proc ({complaint})",
            "start the container with an unmasked /proc, or run outside of it",
        )
    return Obstacle(
        f"the system forbids user namespaces ({complaint})",
        "allow them to your user, in the container's or the system's security settings",
    )


def _setting(name: str) -> str:
    try:
        return Path("/proc/sys", *name.split(".")).read_text().strip()
    except OSError:
        return ""
