"""What `agent doctor` finds on this machine, judged from facts without touching anything.

JSON, version 1:

    {"version": 1, "ok": true,
     "findings": [{"name": "wireguard", "level": "ok", "text": "the kernel's", "todo": null}]}

`level` is ok, note (works, but less than it could) or wrong (a session will not start).
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from agent.errors import Exit

VERSION = 1
MAX_SKEW = 60.0  # seconds; envelopes carry times, and what is too old or from the future is refused
NEEDED_TOOLS = {"ip": "iproute2", "wg": "wireguard-tools"}  # and their Debian packages
PRIVILEGE = "privilege"
# The day from which on wireguard-go hands packets over in batches, at half the processor time.
QUICK_SINCE = 20230401


class Level(StrEnum):
    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    name: str
    level: Level
    text: str
    todo: str | None = None


@dataclass(frozen=True)
class Facts:
    """What was looked up. `skew` is our clock minus the mediator's, in seconds.

    `input_policy` says what the firewall does with datagrams that no rule names: accept, drop, or
    None where only root may look. `modes` are those of files that hold secrets, by their paths.
    """

    privilege: str | None  # by what the helper was started
    privilege_problem: str | None
    rootless_problem: str | None  # why `--rootless` would not work
    kernel_wireguard: bool
    tools: frozenset[str]
    wireguard_go: bool
    wireguard_go_version: int | None  # the day of it, 20220316 for instance
    tun: bool
    user_namespaces: bool
    bubblewrap: bool
    mediator: str | None
    mediator_problem: str | None
    skew: float | None
    input_policy: str | None
    modes: Mapping[str, int]


def judge(facts: Facts) -> tuple[Finding, ...]:
    return (
        _privilege(facts),
        _wireguard(facts),
        _tools(facts),
        _namespaces(facts),
        _sandbox(facts),
        *_mediator(facts),
        _firewall(facts),
        *_files(facts),
    )


def to_json(findings: Sequence[Finding]) -> dict[str, Any]:
    ok = all(finding.level is not Level.WRONG for finding in findings)
    return {"version": VERSION, "ok": ok, "findings": [asdict(finding) for finding in findings]}


def exit_code(findings: Sequence[Finding]) -> Exit:
    wrong = [finding.name for finding in findings if finding.level is Level.WRONG]
    if PRIVILEGE in wrong:
        return Exit.PRIVILEGE
    return Exit.FAILED if wrong else Exit.OK


def _privilege(facts: Facts) -> Finding:
    if facts.privilege is not None:
        return Finding(PRIVILEGE, Level.OK, f"the network helper starts by {facts.privilege}")
    problem = f"the network helper does not start: {facts.privilege_problem}"
    if facts.rootless_problem is None:
        return Finding(
            PRIVILEGE, Level.NOTE, f"{problem}; without it sessions run", "add --rootless"
        )
    return Finding(
        PRIVILEGE,
        Level.WRONG,
        problem,
        "run agent with sudo, or let an administrator install the systemd socket of "
        f"agent/network_helper/systemd; or make --rootless possible: {facts.rootless_problem}",
    )


def _wireguard(facts: Facts) -> Finding:
    if facts.kernel_wireguard:
        return Finding("wireguard", Level.OK, "the kernel's")
    if not facts.wireguard_go:
        return Finding(
            "wireguard",
            Level.WRONG,
            "neither the kernel's module nor wireguard-go is there",
            "apt install wireguard-go, or load the module: modprobe wireguard",
        )
    if not facts.tun:
        return Finding(
            "wireguard",
            Level.WRONG,
            "wireguard-go is there, and /dev/net/tun is not",
            "modprobe tun; in a container, pass the device /dev/net/tun to it",
        )
    return _userspace_wireguard(facts.wireguard_go_version or QUICK_SINCE)


def _userspace_wireguard(version: int) -> Finding:
    text = "wireguard-go: slower than the kernel's module, which is not there"
    todo = "modprobe wireguard, where the kernel has it"
    if version < QUICK_SINCE:
        text += f"; of {version // 10000}, it takes twice the processor time of today's"
        todo += ", or run scripts/setup where Go is installed: it builds today's"
    return Finding("wireguard", Level.NOTE, text, todo)


def _tools(facts: Facts) -> Finding:
    missing = [name for name in NEEDED_TOOLS if name not in facts.tools]
    if not missing:
        return Finding("tools", Level.OK, " and ".join(NEEDED_TOOLS) + " are there")
    packages = " ".join(NEEDED_TOOLS[name] for name in missing)
    return Finding(
        "tools", Level.WRONG, f"missing: {', '.join(missing)}", f"apt install {packages}"
    )


def _namespaces(facts: Facts) -> Finding:
    if facts.user_namespaces:
        return Finding("user namespaces", Level.OK, "may be made by ordinary users")
    return Finding(
        "user namespaces",
        Level.NOTE,
        "may not be made by ordinary users, so bubblewrap shuts programs in only where it is "
        "installed with privilege",
        "sysctl kernel.unprivileged_userns_clone=1 "
        "kernel.apparmor_restrict_unprivileged_userns=0, as far as the kernel knows them",
    )


def _sandbox(facts: Facts) -> Finding:
    if facts.bubblewrap:
        return Finding("sandbox", Level.OK, "bubblewrap shuts programs in")
    todo = "apt install bubblewrap" if "bwrap" not in facts.tools else "see user namespaces"
    return Finding(
        "sandbox", Level.NOTE, "bubblewrap does not work: programs can read your files", todo
    )


def _mediator(facts: Facts) -> Iterator[Finding]:
    if facts.mediator is None:
        yield Finding(
            "mediator", Level.NOTE, "no profile with one", "agent create-did --mediator URL"
        )
        return
    if facts.mediator_problem is not None:
        yield Finding(
            "mediator", Level.WRONG, facts.mediator_problem, "agent netcheck tells what gets out"
        )
        return
    yield Finding("mediator", Level.OK, f"{facts.mediator} answers")
    if facts.skew is None:
        yield Finding("clock", Level.NOTE, "the mediator does not tell its time")
    elif abs(facts.skew) <= MAX_SKEW:
        yield Finding("clock", Level.OK, f"{abs(facts.skew):.0f} s from the mediator's")
    else:
        way = "ahead of" if facts.skew > 0 else "behind"
        yield Finding(
            "clock",
            Level.WRONG,
            f"{abs(facts.skew):.0f} s {way} the mediator's",
            "timedatectl set-ntp true",
        )


def _firewall(facts: Facts) -> Finding:
    if facts.input_policy is None:
        return Finding("firewall", Level.NOTE, "only root may look", "sudo agent doctor")
    if facts.input_policy == "accept":
        return Finding("firewall", Level.OK, "lets datagrams in that no rule names")
    return Finding(
        "firewall",
        Level.NOTE,
        "drops what no rule names: direct paths open from inside only, which mostly suffices",
        "agent netcheck tells what it lets back in",
    )


def _files(facts: Facts) -> Iterator[Finding]:
    """Whoever else may read a keystore may try passphrases on it."""
    wide = [path for path, mode in facts.modes.items() if stat.S_IMODE(mode) & 0o077]
    for path in wide:
        mode = stat.S_IMODE(facts.modes[path])
        words = f"{path} is open to others (mode {mode:o})"
        yield Finding("keys", Level.WRONG, words, f"chmod go= {path}")
    if not wide:
        yield Finding("keys", Level.OK, "readable by you alone")
