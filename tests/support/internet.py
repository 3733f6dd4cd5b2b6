"""Parties with agents of their own on a small internet, as tests need them.

    with Internet() as internet:
        one, two, three = internet.parties("home0", "home1", "home2")
        commands = internet.run("auction", (one, 120), (two, 150), (three, 135))

Everything is real: homes behind NATs, mediators and agents as processes of ordinary users. What a
command prints goes to files, so that a test can look at it at any time.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.commands import run as on_this_machine
from lab.host import Host
from lab.link import SMOOTH, Link, Way
from lab.runs import NETNS
from lab.topology import Lab
from tests.support.fork_server import Call, Ended, ForkServer

NEAR, FAR = "198.51.100.10", "198.51.100.20"  # the two mediators
REMOTE = "198.51.100.30"  # a third one, for who asks for it
TRAVEL = Link.both(Way(delay=50))  # from there to everybody else; ms
MEDIATOR = (sys.executable, "-m", "mediator")
# A mediator whose modules are there already, and that begins when it is told to.
LOADED = """
import runpy, sys
import mediator.app, mediator.commands.run
print("loaded", flush=True)
sys.stdin.readline()
runpy.run_module("mediator", run_name="__main__", alter_sys=True)
"""
FIRST_USER = 64101
PATIENCE = 60.0  # seconds; far more than anything here should take
SECONDS_TO_DISAPPEAR = 3.0  # an agent's helper may outlive the agent by this
LAZY_NUMBERS = 1000  # namespaces that the lab's cables connect have smaller numbers than helpers'

MANIFEST = """
name = "rounds"
title = "Adds everybody's number, again and again"
adapter = "mpyc"
entry = "main.py"

[parties]
min = 2
max = 8

[[inputs]]
name = "bid"
type = "integer"
title = "your number"
min = 1
max = 1000000

[[opens]]
what = "the sum"
to = "all"
"""
ROUNDS = """
import asyncio, json, os
from pathlib import Path
from mpyc.runtime import mpc

secint = mpc.SecInt(32)

async def main(bid):
    async with mpc:
        for _ in range(COUNT):
            total = int(await mpc.output(mpc.sum(mpc.input(secint(bid)))))
            await asyncio.sleep(0.1)
        print(f"sum={total}")

mpc.run(main(json.loads(Path(os.environ["DIDMESH_INPUTS"]).read_text())["bid"]))
"""

NATS = {
    "home0": "port-restricted",
    "home1": "port-restricted",
    "home2": "port-restricted",
    "shared": "port-restricted",
    "office0": "symmetric",
    "office1": "symmetric",
    "counting": "symmetric-sequential",
    "mapper": "symmetric",
    "open0": "full-cone",
    "walled": "udp-blocked",
}
RESIDENTS = {"shared": 2}


@dataclass
class Command:
    """One agent process; `events` are its lines of JSON, `words` what it says to a person."""

    process: subprocess.Popen[bytes] | Ended
    _output: Path
    _errors: Path
    on_kill: Callable[[], None] = lambda: None

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    @property
    def events(self) -> list[dict[str, Any]]:
        lines = self.output.split("\n")[:-1]  # the last one may be half written
        return [json.loads(line) for line in lines]

    def all(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event.get("event") == name]

    def the(self, name: str) -> dict[str, Any]:
        [event] = self.all(name)
        return event

    def steps(self) -> list[str]:
        return [event["text"] for event in self.all("step")]

    def until(self, words: str, timeout: float = PATIENCE) -> None:
        """Until a step says these words; a command that ends before it does is a failure."""
        deadline = time.monotonic() + timeout
        while not any(words in step for step in self.steps()):
            assert self.process.poll() is None, f"ended before {words!r}: {self.told()}"
            assert time.monotonic() < deadline, f"never said {words!r}: {self.told()}"
            time.sleep(0.02)

    def wait(self, timeout: float = PATIENCE) -> int:
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {timeout:g} s: {self.told()}") from None

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """What no process can prepare for."""
        self.on_kill()
        self.process.kill()
        self.process.wait()

    def told(self) -> str:
        return f"\n{self.output}\n{self.errors}"


@dataclass
class Party:
    """An ordinary user on a host, with a directory that nobody else can enter."""

    host: Host
    user: int
    folder: Path
    internet: Internet = field(repr=False)
    did: str = ""
    python: str = sys.executable
    """Whose packages its agent and its programs have."""
    killed: bool = False
    allowed: set[str] = field(default_factory=set)

    def start(
        self,
        *words: str,
        as_root: bool = False,
        before: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> Command:
        """The agent, as the party's user or as root that becomes this user; `before` wraps it."""
        logs = self.internet.next_log()
        output, errors = logs.with_suffix(".out"), logs.with_suffix(".err")
        with output.open("wb") as out, errors.open("wb") as err:
            process = self.host.popen(
                [*before, self.python, "-m", "agent", *words],
                user=None if as_root else self.user,
                env={**self.environment(), **(env or {})},
                cwd=self.folder,
                stdout=out,
                stderr=err,
            )
        command = Command(process, output, errors, self._note_kill)
        self.internet.commands.append(command)
        return command

    def agent(self, *words: str, timeout: float = PATIENCE) -> Command:
        """A command to its end."""
        command = self.start(*words)
        command.wait(timeout)
        return command

    def prepared(self, *words: str) -> Command:
        """A command to its end that is none of the test's matter."""
        (command,) = self.internet.prepare([self], *words)
        return command

    def allow(self, program: str) -> None:
        """Approve a program that does not come along, once."""
        if "/" in program and program not in self.allowed:
            command = self.prepared("program", "approve", program)
            assert command.wait() == 0, command.told()
            self.allowed.add(program)

    def environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder / "tmp"),
            "DIDMESH_HOME": str(self.folder),
            "DIDMESH_USER": str(self.user),
        }

    def transcript(self) -> Path | None:
        """The one transcript of the one session that this party has signed."""
        found = list((self.folder / "transcripts").glob("*"))
        assert len(found) <= 1
        return next(iter(found), None)

    def verdict(self) -> dict[str, Any]:
        """What `agent verify` says of it, without a network."""
        path = self.transcript()
        assert path is not None
        command = self.prepared("verify", str(path), "--json")
        verdict = json.loads(command.output)
        assert command.wait() == (0 if verdict["complete"] else 1), command.told()
        assert isinstance(verdict, dict)
        return verdict

    def remains(self) -> list[str]:
        """Files that no session should have left; a party that was killed could not help it."""
        names = ("profiles", "transcripts", "programs", "claims", "mine")
        kept = [self.folder / name for name in names]
        files = [
            self.folder / f"{name}.{ending}"
            for name in ("consents", "contacts")
            for ending in ("json", "lock")
        ]
        return [
            str(path)
            for path in self.folder.rglob("*")
            if not (path.is_dir() or path in files or any(one in path.parents for one in kept))
        ]

    def _note_kill(self) -> None:
        self.killed = True


class Mediator:
    """One mediator's process on its public address; its file outlives the process."""

    def __init__(self, host: Host, user: int, folder: Path, words: Sequence[str] = ()) -> None:
        self.host = host
        self.url = f"http://{host.address}:8080"
        self._user = user
        self._folder = folder
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        self._process = self._popen(MEDIATOR, ())
        self._await_its_did()

    def restart(self, *more: str) -> None:
        """As if killed and started with more words, on a machine that loads it in no time."""
        loaded = self._popen((sys.executable, "-c", LOADED), more)
        assert loaded.stdin is not None
        assert loaded.stdout is not None
        assert loaded.stdout.readline() == b"loaded\n"
        self.kill()
        self._process = loaded
        with loaded.stdin as stdin:
            stdin.write(b"go on\n")
        self._await_its_did()

    def _popen(self, program: Sequence[str], more: Sequence[str]) -> subprocess.Popen[bytes]:
        words = ["run", "--listen", "0.0.0.0:8080", "--public-url", self.url, "--json"]
        words += ["--data", str(self._folder / "mediator.db"), *self._words, *more]
        with (self._folder / "log").open("ab") as log:
            return self.host.popen(
                [*program, *words],
                user=self._user,
                env={"HOME": str(self._folder)},
                cwd=self._folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def _await_its_did(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the mediator does not start:\n{self.log()}"
        assert json.loads(line)["did"]

    def kill(self) -> None:
        """As if the power had gone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process = None

    def log(self) -> str:
        return (self._folder / "log").read_text()


class Internet:
    """Two mediators and a handful of homes; parties are made as a test asks for them."""

    def __init__(self, *mediator_words: str) -> None:
        """The words are for `mediator run`."""
        self._mediator_words = mediator_words
        self.commands: list[Command] = []
        self._lab = Lab()
        self._users = iter(range(FIRST_USER, FIRST_USER + 1000))
        self._logs = 0
        self._rounds: dict[float, str] = {}
        self._parties: list[Party] = []
        self._remote: Mediator | None = None
        self._server: ForkServer | None = None

    def __enter__(self) -> Internet:
        self._lab.__enter__()
        try:
            (self._lab.directory / "logs").mkdir(mode=0o700)
            self.near = self._mediator("near", NEAR)
            self.far = self._mediator("far", FAR)
        except BaseException:
            self._lab.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, *error: Any) -> None:
        if self._server is not None:
            self._server.__exit__(*error)
        self._lab.__exit__(*error)
        assert not self._lab.leftovers()

    def parties(
        self, *places: str, mediators: Sequence[Mediator] = (), encrypted: bool = False
    ) -> list[Party]:
        """New parties with DIDs at these hosts, registered at the near mediator or at their own."""
        made = [self.newcomer(place) for place in places]
        words = [] if encrypted else ["--unencrypted"]
        env = {"DIDMESH_PASSPHRASE": secrets.token_urlsafe(16)} if encrypted else {}
        at = mediators or [self.near] * len(made)
        commands = self.prepare(
            made,
            "create-did",
            "--json",
            *words,
            each=[["--mediator", one.url] for one in at],
            env=env,
        )
        for party, command in zip(made, commands, strict=True):
            assert command.wait() == 0, command.told()
            party.did = command.events[-1]["did"]
        return made

    def prepare(
        self,
        parties: Sequence[Party],
        *words: str,
        each: Sequence[Sequence[str]] = (),
        env: Mapping[str, str] | None = None,
    ) -> list[Command]:
        """A command at all of these at once, to its end, in processes that need not load the agent.

        For what leads to a test's matter; `each` are further words for one party each.
        """
        logs = [self.next_log() for _ in parties]
        calls = [
            Call(
                words=[*words, *more],
                environment={**party.host.settings, **party.environment(), **(env or {})},
                folder=str(party.folder),
                output=f"{log}.out",
                errors=f"{log}.err",
                user=party.user,
                namespaces=[
                    str(NETNS / party.host.namespace),
                    party.host.machine.mount_namespace,
                ],
            )
            for party, log, more in zip(parties, logs, each or [()] * len(parties), strict=True)
        ]
        commands = [
            Command(ended, Path(call.output), Path(call.errors))
            for ended, call in zip(self._fork_server().run(calls), calls, strict=True)
        ]
        self.commands += commands
        return commands

    def _fork_server(self) -> ForkServer:
        if self._server is None:
            # Without the lab's mark: its processes are all to be gone after a test.
            plain = self.near.host.machine.environment
            self._server = ForkServer({name: plain[name] for name in ("PATH", "LANG")})
            self._server.__enter__()
        return self._server

    @property
    def remote(self) -> Mediator:
        """A mediator, and its relay, far away from everybody; made when it is first asked for."""
        if self._remote is None:
            self._remote = self._mediator("remote", REMOTE, TRAVEL)
        return self._remote

    def run(self, program: str, *seats: tuple[Party, int]) -> list[Command]:
        """`agent run` at everybody at once, in this order of parties, with events as JSON."""
        everybody = [party for party, _ in seats]
        return [self.run_one(program, party, bid, everybody, "--json") for party, bid in seats]

    def run_one(
        self,
        program: str,
        party: Party,
        bid: int,
        everybody: Sequence[Party],
        *words: str,
        **how: Any,
    ) -> Command:
        """`agent run` at one party; it drops root by itself unless `how` says otherwise."""
        party.allow(program)
        others = [other.did for other in everybody if other is not party]
        order = ",".join(other.did for other in everybody)
        return party.start(
            *("run", program, "--order", order, "--input", f"bid={bid}"),
            *(word for did in others for word in ("--with", did)),
            *words,
            **{"as_root": True, **how},
        )

    def rounds(self, seconds: float) -> str:
        """A program that adds all numbers again and again for so long, and tells their sum."""
        if seconds not in self._rounds:
            main = ROUNDS.replace("COUNT", str(round(seconds / 0.1)))
            self._rounds[seconds] = self.program(main)
        return self._rounds[seconds]

    def folder(self, name: str) -> Path:
        """A new folder that everybody can read."""
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._lab.directory))
        folder.chmod(0o755)
        return folder

    def program(self, main: str) -> str:
        """The folder of a program that does this, for two parties or more with a number each."""
        folder = self.folder("program")
        (folder / "manifest.toml").write_text(MANIFEST)
        (folder / "main.py").write_text(main)
        return str(folder)

    def until_queued(self, party: Party, messages: int) -> None:
        """Until so many messages wait for a party at its mediator."""
        deadline = time.monotonic() + PATIENCE
        while True:
            told = json.loads(party.prepared("status", "--json").output)
            if told["mediator"]["queued"] == messages:
                return
            assert time.monotonic() < deadline, told

    def programs(self) -> list[str]:
        """Command lines of the programs (not agents) that run somewhere."""
        return [words for words in self._lab.running().values() if " --rank " in words]

    def program_of(self, rank: int) -> int:
        """The process of the program that the party of this rank runs."""
        found = [
            pid for pid, words in self._lab.running().items() if f" --rank {rank} " in f"{words} "
        ]
        assert found, self._lab.running()
        return found[-1]

    def next_log(self) -> Path:
        self._logs += 1
        return self._lab.directory / "logs" / str(self._logs)

    def check_nothing_is_left(self) -> None:
        """After a test: no process, interface, namespace or file of it, and no traceback."""
        self._end_commands()
        for mediator in (self.near, self.far):
            if mediator.pid is None:
                mediator.start()
        deadline = time.monotonic() + SECONDS_TO_DISAPPEAR
        while (left := self._left()) and time.monotonic() < deadline:
            time.sleep(0.05)
        told = [command.told() for command in self.commands if "Traceback" in command.told()]
        parties, self._parties, self.commands = self._parties, [], []
        assert left == [], left
        assert told == [], told
        for party in parties:
            remains = party.remains()
            assert party.killed or remains == [], remains
        assert "Traceback" not in self.near.log() + self.far.log()

    def _left(self) -> list[str]:
        ours = {self.near.pid, self.far.pid, self._remote and self._remote.pid}
        running = [words for pid, words in self._lab.running().items() if pid not in ours]
        return [
            *running,
            *self._lab.foreign_interfaces(),
            *self._lab.left_in_run(),
            *self._foreign_namespaces(),
        ]

    def _foreign_namespaces(self) -> list[str]:
        """Namespaces without a name that some host still has a number for."""
        hosts = {party.host.namespace for party in self._parties}
        listed = {
            host: on_this_machine(["ip", "-n", host, "-j", "netns", "list-id"]) for host in hosts
        }
        return [
            f"{host}: namespace {entry['nsid']}"
            for host, text in listed.items()
            for entry in json.loads(text or "[]")
            if entry["nsid"] > LAZY_NUMBERS
        ]

    def _end_commands(self) -> None:
        for command in self.commands:
            if command.process.poll() is None:
                command.kill()

    def _mediator(self, name: str, address: str, link: Link = SMOOTH) -> Mediator:
        user = FIRST_USER - 1
        host = self._lab.public(name, address, link=link)
        folder = self._private_folder(name, user)
        mediator = Mediator(host, user, folder, self._mediator_words)
        mediator.start()
        return mediator

    def newcomer(self, place: str) -> Party:
        """A party without a DID."""
        user = next(self._users)
        folder = self._private_folder(f"party-{user}", user)
        (folder / "tmp").mkdir(mode=0o700)
        os.chown(folder / "tmp", user, user)
        party = Party(self._host(place), user, folder, self)
        self._parties.append(party)
        return party

    def _host(self, place: str) -> Host:
        home, _, number = place.partition("-")
        if home not in self._lab.homes:
            mapper, hosts = home == "mapper", RESIDENTS.get(home, 1)
            self._lab.home(home, nat=NATS[home], hosts=hosts, port_mapping=mapper)
        return self._lab.homes[home].hosts[int(number or 0)]

    def address_of(self, place: str) -> str:
        """A home's public address."""
        return self._lab.homes[place].address

    def server(self, name: str, address: str) -> Host:
        """One more host on the internet, for a server that a test starts by itself."""
        return self._lab.public(name, address)

    def router_of(self, place: str) -> str:
        """The network namespace of a home's router."""
        return self._lab.homes[place].router.namespace

    def _private_folder(self, name: str, user: int) -> Path:
        folder = self._lab.directory / name
        folder.mkdir(mode=0o700)
        os.chown(folder, user, user)
        return folder
