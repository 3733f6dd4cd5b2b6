"""The main job, end to end: three parties behind NATs hold a sealed-bid auction.

Real commands on the hosts of a lab: a mediator on a public address, and in each
of three homes `agent create-did` and `agent run auction`. What they report is
shown as it comes, checked against what the lab knows, and kept as `Facts`.
"""

import json
import os
import secrets
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.behaviour import check
from lab.commands import LabError
from lab.facts import KINDS, Facts, Nat, PartyFacts
from lab.host import Home
from lab.listening import Line, listen
from lab.nat import NatKind
from lab.screen import Screen
from lab.topology import Lab

MEDIATOR = "198.51.100.10"
MEDIATOR_URL = f"http://{MEDIATOR}:8080"
MEDIATOR_USER = 64100
NAT = NatKind.PORT_RESTRICTED
BIDS = (120, 150, 135)  # in the order of parties; the second bids most and pays the third's bid
EXPECTED = "winner=party1 price=135"

SECONDS_FOR_MEDIATOR = 15.0
SECONDS_FOR_DID = 30.0
SECONDS_FOR_SESSION = 120.0
SECONDS_TO_DISAPPEAR = 2.0  # an agent's helper may outlive the agent by this


@dataclass(frozen=True)
class Commands:
    """The commands under demonstration, as they are called in this checkout."""

    agent: Sequence[str] = (sys.executable, "-m", "agent")
    mediator: Sequence[str] = (sys.executable, "-m", "mediator")


@dataclass
class Party:
    """One home's owner: an ordinary user with a directory that nobody else can enter."""

    name: str
    home: Home
    user: int
    folder: Path
    bid: int
    did: str = ""
    files_before: frozenset[Path] | None = None  # None: no session has been started
    events: list[dict[str, Any]] = field(default_factory=list)
    last_words: str = "it does not say why"  # the last line that was no event

    @property
    def passphrase_file(self) -> Path:
        return self.folder / "passphrase"

    def environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder / "tmp"),
            "DIDMESH_HOME": str(self.folder),
            "DIDMESH_USER": str(self.user),
        }

    def files(self) -> frozenset[Path]:
        return frozenset(path for path in self.folder.rglob("*") if not path.is_dir())

    def new_secrets(self) -> list[Path]:
        """Files that a session has left and that are not its transcript."""
        transcripts = self.folder / "transcripts"
        if self.files_before is None:
            return []
        new = self.files() - self.files_before
        return sorted(path for path in new if transcripts not in path.parents)

    def last(self, name: str) -> dict[str, Any]:
        """The last event of this name; empty if there was none."""
        return next((e for e in reversed(self.events) if e.get("event") == name), {})


def demo(screen: Screen, commands: Commands | None = None) -> Facts:
    """Run the scenario to its end, good or bad; what went wrong stands in the facts."""
    facts = Facts(expected=EXPECTED)
    began = time.monotonic()
    lab = Lab()
    try:
        with lab:
            _Scenario(lab, screen, commands or Commands(), facts).play()
    except LabError as error:
        facts.error, facts.hint = str(error), error.hint
    facts.cleanup.add_leftovers(lab.leftovers())
    facts.total_seconds = round(time.monotonic() - began, 2)
    return facts


class _Scenario:
    def __init__(self, lab: Lab, screen: Screen, commands: Commands, facts: Facts) -> None:
        self.lab = lab
        self.screen = screen
        self.commands = commands
        self.facts = facts
        self.parties: list[Party] = []

    def play(self) -> None:
        self.build()
        mediator = self.start_mediator()
        try:
            self.check_nats()
            self.create_dids()
            self.run_auction()
        finally:
            self.look_for_remains(mediator)
        self.stop_mediator(mediator)

    def build(self) -> None:
        self.mediator_host = self.lab.public("mediator", MEDIATOR)
        for number, bid in enumerate(BIDS):
            home = self.lab.home(f"home{number}", nat=NAT)
            user = MEDIATOR_USER + 1 + number
            folder = _private_folder(self.lab, home.name, user)
            (folder / "tmp").mkdir(mode=0o700)
            party = Party(f"party{number}", home, user, folder, bid)
            party.passphrase_file.touch(mode=0o600)
            party.passphrase_file.write_text(f"{secrets.token_urlsafe(16)}\n")
            for path in (folder / "tmp", party.passphrase_file):
                os.chown(path, user, user)
            self.parties.append(party)
        self.say(
            "lab", f"an internet with a mediator on {MEDIATOR} and three homes behind {NAT} NATs"
        )

    def start_mediator(self) -> "subprocess.Popen[bytes]":
        folder = _private_folder(self.lab, "mediator", MEDIATOR_USER)
        words = ["run", "--listen", "0.0.0.0:8080", "--public-url", MEDIATOR_URL]
        with (folder / "log").open("wb") as log:
            process = self.mediator_host.popen(
                [*self.commands.mediator, *words, "--data", str(folder / "mediator.db"), "--json"],
                user=MEDIATOR_USER,
                env={"HOME": str(folder), "DIDMESH_HOME": str(folder)},
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        did = _first_line(process, SECONDS_FOR_MEDIATOR).get("did")
        if not isinstance(did, str):
            words = (folder / "log").read_text(errors="replace").splitlines()[-3:]
            process.kill()
            raise LabError(f"the mediator does not start: {' '.join(words) or 'no word of it'}")
        self.say("mediator", f"runs as an ordinary user on {MEDIATOR_URL}: {short(did)}")
        return process

    def check_nats(self) -> None:
        for verdict in check(self.lab, {party.home.name: NAT for party in self.parties}):
            seen = verdict.seen
            self.facts.nats.append(
                Nat(verdict.host, verdict.kind, seen.mapping, seen.filtering, verdict.verified)
            )
            self.say(
                "lab",
                f"{verdict.host}'s NAT, measured from inside: {seen.mapping} mapping,"
                f" {seen.filtering} filtering",
            )
            if not verdict.verified:
                raise LabError(f"the NAT of {verdict.host} is not {verdict.kind}")

    def create_dids(self) -> None:
        words = ["create-did", "--mediator", MEDIATOR_URL, "--json"]
        for party in self.parties:
            self.say(party.name, f"agent create-did --mediator {MEDIATOR_URL}")
        self.converse(
            {party.name: self.start(party, words, user=party.user) for party in self.parties},
            SECONDS_FOR_DID,
        )
        for party in self.parties:
            did = next((e["did"] for e in reversed(party.events) if "did" in e), None)
            if not isinstance(did, str):
                raise LabError(f"{party.name}: agent create-did printed no DID")
            party.did = did
            self.say(party.name, f"is {short(did)}, registered at the mediator")

    def run_auction(self) -> None:
        order = ",".join(party.did for party in self.parties)
        commands = {}
        for party in self.parties:
            others = [other for other in self.parties if other is not party]
            words = ["run", "auction", "--order", order, "--input", f"bid={party.bid}", "--json"]
            words += [word for other in others for word in ("--with", other.did)]
            told = " ".join(f"--with {short(other.did)}" for other in others)
            self.say(party.name, f"agent run auction {told} --input bid=…")
            party.files_before = party.files()
            party.events.clear()
            commands[party.name] = self.start(party, words, user=None)
        try:
            self.converse(commands, SECONDS_FOR_SESSION)
        finally:
            for party in self.parties:
                exit_code = commands[party.name].poll()
                self.facts.parties.append(
                    PartyFacts(party.did, party.last("result").get("output"), exit_code)
                )
            self.facts.take_mesh({party.name: party.events for party in self.parties})
        self.check_endpoints()

    def check_endpoints(self) -> None:
        """Each path leads to where the lab knows the other home to be."""
        homes = {party.name: party.home.address for party in self.parties}
        for pair in self.facts.pairs:
            for party, endpoint in ((pair.b, pair.endpoint), (pair.a, pair.endpoint_back)):
                address = (endpoint or "").rpartition(":")[0]
                if address != homes[party]:
                    raise LabError(f"{pair.a} - {pair.b}: {endpoint} is not {party}'s home")

    def start(
        self, party: Party, words: list[str], *, user: int | None
    ) -> "subprocess.Popen[bytes]":
        """The agent in a party's home; as root (user None) it drops to DIDMESH_USER itself."""
        return party.home.host.popen(
            [*self.commands.agent, *words, "--passphrase-file", str(party.passphrase_file)],
            user=user,
            env=party.environment(),
            cwd=party.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def converse(self, commands: Mapping[str, "subprocess.Popen[bytes]"], timeout: float) -> None:
        """Show and keep what the parties report until all have ended, and ended well."""
        parties = {party.name: party for party in self.parties}
        for line in listen(commands, timeout):
            self.hear(parties[line.who], line)
        codes = {name: process.poll() for name, process in commands.items()}
        failures = [_failure(parties[name], code) for name, code in codes.items() if code]
        if failures:
            hints = [hint for _, hint in failures if hint]
            raise LabError("; ".join(words for words, _ in failures), next(iter(hints), None))
        if slow := [name for name, code in codes.items() if code is None]:
            raise LabError(f"{', '.join(slow)} did not end in {timeout:g} s")

    def hear(self, party: Party, line: Line) -> None:
        event = None if line.is_error else _object(line.text)
        if event is None:
            party.last_words = line.text.strip() or party.last_words
            self.say(party.name, line.text, style="dim")
            return
        party.events.append(event)
        if text := _words(event):
            self.say(party.name, text, style="red" if event.get("event") == "error" else "")

    def look_for_remains(self, mediator: "subprocess.Popen[bytes]") -> None:
        """What the sessions have left in the homes, before the lab itself is taken down."""
        deadline = time.monotonic() + SECONDS_TO_DISAPPEAR
        while (running := self.running_beside(mediator)) and time.monotonic() < deadline:
            time.sleep(0.05)
        cleanup = self.facts.cleanup
        cleanup.interfaces += self.lab.foreign_interfaces()
        cleanup.processes += running.values()
        cleanup.keys += self.lab.left_in_run()
        cleanup.keys += [str(path) for party in self.parties for path in party.new_secrets()]
        for party in self.parties:
            cleanup.add_report(party.name, party.last("cleanup"))

    def running_beside(self, mediator: "subprocess.Popen[bytes]") -> dict[int, str]:
        return {pid: words for pid, words in self.lab.running().items() if pid != mediator.pid}

    def stop_mediator(self, mediator: "subprocess.Popen[bytes]") -> None:
        mediator.terminate()
        try:
            code = mediator.wait(10)
        except subprocess.TimeoutExpired as error:
            raise LabError("the mediator does not end when it is told to") from error
        if code != 0:
            raise LabError(f"the mediator ended with exit code {code} when it was told to end")
        self.say("mediator", "ended as told")

    def say(self, who: str, text: str, *, style: str = "") -> None:
        self.screen.say(who, text, style=style)


def show(screen: Screen, facts: Facts) -> None:
    """The end of the story for a person: paths, results, times, and what is left."""
    if facts.pairs:
        screen.title("How each pair was connected")
        rows: list[tuple[str, ...]] = [("pair", "path", "endpoint", "RTT")]
        for pair in facts.pairs:
            rtt = "?" if pair.rtt_ms is None else f"{pair.rtt_ms:.2f} ms"
            rows.append((f"{pair.a} - {pair.b}", pair.path, pair.endpoint or "?", rtt))
        screen.table(rows)
    if facts.parties:
        screen.title("What each party printed")
        rows = [("party", "printed", "exit code")]
        for number, party in enumerate(facts.parties):
            rows.append((f"party{number}", party.line or "nothing", str(party.exit_code)))
        screen.table(rows)
    screen.title("Left after the clean-up, checked")
    left = facts.cleanup.counts()
    screen.table([list(left), [str(number) for number in left.values()]])
    for remain in facts.cleanup.remains():
        screen.say("lab", f"left: {remain}", style="red")
    if facts.mesh_seconds is not None:
        mesh = f"mesh {facts.mesh_seconds:.2f} s from first offer to last handshake, "
    else:
        mesh = ""
    screen.title(f"{mesh}{facts.total_seconds:.1f} s in all")


def short(did: str) -> str:
    return did if len(did) <= 32 else f"{did[:20]}…{did[-6:]}"


def _private_folder(lab: Lab, name: str, user: int) -> Path:
    folder = lab.directory / name
    folder.mkdir(mode=0o700)
    os.chown(folder, user, user)
    return folder


def _first_line(process: "subprocess.Popen[bytes]", timeout: float) -> dict[str, Any]:
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], timeout)[0]:
        return {}
    return _object(process.stdout.readline().decode(errors="replace")) or {}


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _words(event: Mapping[str, Any]) -> str | None:
    """What a person is told of an event; the rest is shown at the end."""
    match event.get("event"):
        case "step" | "error":
            return str(event.get("text"))
        case "path":
            kinds = f"{event.get('local_kind')} to {event.get('remote_kind')}"
            return (
                f"{event.get('party')} is reached {event.get('kind')} at {event.get('endpoint')}"
                f" ({kinds}), {event.get('rtt_ms')} ms"
            )
        case "mesh":
            return f"all others answer, {event.get('seconds')} s after the first offer"
        case "result":
            return str(event.get("output") or "no result").strip()
        case "cleanup":
            left = sum(int(event.get(kind, 0)) for kind in KINDS)
            return f"has removed its network; left of it: {left or 'nothing'}"
        case _:
            return None


def _failure(party: Party, code: int) -> tuple[str, str | None]:
    """Why a party's command failed, in its own words, and its hint."""
    error = party.last("error") or next((e for e in reversed(party.events) if "error" in e), {})
    words = error.get("text") or error.get("error") or party.last_words
    return f"{party.name} ended with exit code {code}: {words}", error.get("hint")
