"""A mediator and agents as processes on hosts of a lab, each an ordinary user's with its folder."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.commands import LabError
from lab.host import Host
from lab.link import SMOOTH, Link
from lab.topology import Lab

AGENT = (sys.executable, "-m", "agent")
MEDIATOR = (sys.executable, "-m", "mediator")
MEDIATOR_PORT = 443  # what the strictest of networks lets out
FIRST_USER = 64100
SECONDS_TO_START = 30.0


@dataclass
class Member:
    """A party with an unencrypted profile, made once and used in many sessions."""

    name: str
    host: Host
    user: int
    folder: Path
    did: str = ""

    def start(self, *words: str, as_root: bool = False) -> "subprocess.Popen[bytes]":
        """The agent; as root it becomes this user by itself, once it has its helper."""
        return self.host.popen(
            [*AGENT, *words],
            user=None if as_root else self.user,
            env={
                "HOME": str(self.folder),
                "TMPDIR": str(self.folder),
                "DIDMESH_HOME": str(self.folder),
                "DIDMESH_USER": str(self.user),
            },
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(
        self, program: Path, roster: "Sequence[Member]", **inputs: int
    ) -> "subprocess.Popen[bytes]":
        """`agent run` with these parties in this order, with its events as JSON."""
        others = [word for other in roster if other is not self for word in ("--with", other.did)]
        order = ",".join(member.did for member in roster)
        return self.start(
            *("run", str(program), "--order", order, "--timeout", "60", "--json"),
            *(word for name, value in inputs.items() for word in ("--input", f"{name}={value}")),
            *others,
            as_root=True,
        )


@dataclass
class Crew:
    """Members of one lab and their mediator, which everybody reaches by the name of its host."""

    lab: Lab
    members: list[Member] = field(default_factory=list)
    mediator: int | None = None  # its process, once it was started

    def start_mediator(self, *addresses: str, link: Link = SMOOTH) -> str:
        """Start it on a new public host and give back its URL."""
        host = self.lab.public("mediator", *addresses, link=link)
        url = f"http://mediator.lab:{MEDIATOR_PORT}"
        folder = self._folder("mediator-files", FIRST_USER)
        words = ["run", "--listen", f"[::]:{MEDIATOR_PORT}", "--public-url", url, "--json"]
        with (folder / "log").open("wb") as log:
            process = host.popen(
                [*MEDIATOR, *words, "--data", str(folder / "mediator.db")],
                user=FIRST_USER,
                env={"HOME": str(folder)},
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self.mediator = process.pid
        assert process.stdout is not None
        ready = select.select([process.stdout], [], [], SECONDS_TO_START)[0]
        if not ready or not process.stdout.readline():
            words = (folder / "log").read_text(errors="replace").splitlines()[-3:]
            raise LabError(f"the mediator does not start: {' '.join(words) or 'no word of it'}")
        return url

    def hire(self, name: str, host: Host) -> Member:
        user = FIRST_USER + 1 + len(self.members)
        member = Member(name, host, user, self._folder(f"member-{user}", user))
        self.members.append(member)
        return member

    def create_dids(self, url: str, *, at_once: int) -> None:
        """A DID for every member, registered at the mediator."""
        for first in range(0, len(self.members), at_once):
            group = self.members[first : first + at_once]
            words = ("create-did", "--mediator", url, "--unencrypted", "--json")
            processes = [member.start(*words) for member in group]
            for member, process in zip(group, processes, strict=True):
                member.did = _did(member, process)

    def approve(self, program: Path, *, at_once: int) -> None:
        """Every member allows this program to run."""
        for first in range(0, len(self.members), at_once):
            group = self.members[first : first + at_once]
            processes = [member.start("program", "approve", str(program)) for member in group]
            for member, process in zip(group, processes, strict=True):
                _complete(member, process, "program approve")

    def _folder(self, name: str, user: int) -> Path:
        folder = self.lab.directory / name
        folder.mkdir(mode=0o700)
        os.chown(folder, user, user)
        return folder


def _did(member: Member, process: "subprocess.Popen[bytes]") -> str:
    output = _complete(member, process, "create-did")
    told = [event for line in output.splitlines() if (event := read_event(line)) is not None]
    did = next((event["did"] for event in told if "did" in event), None)
    if not isinstance(did, str):
        raise LabError(f"{member.name}: agent create-did tells no DID: {told}")
    return did


def _complete(member: Member, process: "subprocess.Popen[bytes]", called: str) -> bytes:
    """What the command printed. Raises: LabError, unless it ended well."""
    with process:
        try:
            output, errors = process.communicate(timeout=SECONDS_TO_START)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise LabError(f"{member.name}: agent {called} does not end") from error
    if process.returncode != 0:
        words = (errors or output).decode(errors="replace").strip().splitlines() or ["no word"]
        raise LabError(f"{member.name}: agent {called} failed: {words[-1]}")
    return output


def read_event(line: bytes | str) -> dict[str, Any] | None:
    """An event out of a line of a command's output, if it is one."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
