"""The pages of docs/howto, played line by line by people who copy them into a shell."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import tarfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.support.howto import FOLDER, Page
from tests.support.internet import Command, Internet, Party
from tests.support.unprivileged import OPEN_TUN, ordinary

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]

# Pages that are not played here, and why.
ELSEWHERE = {
    "find-out-why-a-path-is-relayed": "its commands have tests of their own",
    "host-a-lobby": "asks at a terminal: test_lobby.py plays its commands, and the README's",
    "let-in-only-people-of-one-organisation": "a lobby too: test_lobby.py plays a vouch",
    "run-a-mediator": "wants a name in the DNS, its certificate and systemd",
    "use-the-page": "wants a browser: test_page.py clicks through it",
}
PLACES = ("home0", "home1", "home2")
BIDS = (120, 150, 135)
OPENS = {"DIDMESH_PASSPHRASE": "read aloud to nobody"}
TRANSCRIPT = re.compile(r"\S+/transcripts/\S+\.json")
COMPLETE = "complete: every party agreed, was ready and signed the same result"


def test_every_page_is_played_or_it_is_said_why_not() -> None:
    played = set(re.findall(r'Page\("([\w-]+)"', Path(__file__).read_text()))
    assert {page.stem for page in FOLDER.glob("*.md")} == played | {*ELSEWHERE}
    assert not played & {*ELSEWHERE}


def test_three_who_never_met_compute_and_hold_a_proof_of_it(internet: Internet) -> None:
    people, page = newcomers(internet), Page("run-a-computation", **mediator(internet))
    alice, bob, _ = people
    for person in people:
        made = finished(typed(person, page.span("agent create-did")))
        (person.did,) = {*re.findall(r"did:peer:2\S+", made.output)}
        (mine(person) / "bid.txt").write_text(f"bid={BIDS[people.index(person)]}\n")
    assert alice.did in finished(typed(alice, page.span("agent show --qr"))).output
    answers = typed(bob, page.span("agent ping --answer"))
    finished(typed(alice, page.span("agent ping DID", {"DID": [bob.did]})))
    interrupted(answers)
    commands = []
    for person in people:
        first, second = dids(people, person)
        line = page.line("agent run", {"DID_OF_BOB": [first], "DID_OF_CAROL": [second]})
        commands.append(typed(person, line, as_root=True))
    outputs = {finished(command).output for command in commands}
    assert len(outputs) == 1, "standard output gets the result and nothing else"
    assert re.fullmatch(r"winner=party\d price=135\n", *outputs)
    assert page.unplayed() == []
    its_transcripts_are_judged_as_its_page_says(people, commands)


def its_transcripts_are_judged_as_its_page_says(
    people: Sequence[Party], commands: Sequence[Command]
) -> None:
    alice, page = people[0], Page("verify-a-transcript")
    files = [Path(TRANSCRIPT.findall(command.errors)[-1]) for command in commands]
    (shown,) = TRANSCRIPT.findall(page.text)[:1]
    said = finished(typed(alice, page.line("agent verify ~").replace(shown, str(files[0])))).output
    assert COMPLETE in page.text
    assert COMPLETE in said.splitlines()[-1]
    for file, name in zip(files, ("alices", "bobs", "carols"), strict=True):
        os.chown(shutil.copy(file, mine(alice) / f"{name}.json"), alice.user, alice.user)
    several = page.line("agent verify alices.json")
    assert "equal" in finished(typed(alice, several)).output
    record = json.loads(files[0].read_text())
    assert page.unplayed() == []
    ends: dict[str, Callable[[], str]] = {
        "0": lambda: json.dumps(record),
        "1": lambda: json.dumps({**record, "statements": record["statements"][:-1]}),
        "5": lambda: json.dumps(record).replace(record["statements"][0][-20:], "A" * 20),
        "2": lambda: "",
    }
    assert re.findall(r"^\| (\d) \|", page.text, re.MULTILINE) == sorted(ends)
    for code, content in ends.items():
        (mine(alice) / "alices.json").write_text(content())
        if not content():
            (mine(alice) / "alices.json").unlink()
        assert typed(alice, several).wait() == int(code), code


def test_a_program_of_ones_own_travels_from_the_page_to_its_result(internet: Internet) -> None:
    people, page = internet.parties(*PLACES), Page("write-a-program")
    alice = people[0]
    for person in people:
        page.write_files(mine(person))
        finished(typed(person, page.line("agent program approve ./sum")))
    assert together(people, page, "agent run sum") == {"total=126\n"}
    with tarfile.open(mine(alice) / "sum.tar", "w") as archive:
        archive.add(mine(alice) / "sum", ".")
    for word in ("./sum", "sum.tar"):
        finished(typed(alice, page.line("agent program add", {"FOLDER|ARCHIVE": [word]})))
    for verb in ("show", "approve"):
        for word in ("sum", "./sum"):
            line = page.line(f"agent program {verb} NAME", {"NAME|HASH|PATH": [word]})
            finished(typed(alice, line))
    assert "sum" in finished(typed(alice, page.line("agent program list"))).output
    finished(typed(alice, page.line("agent program rm", {"NAME|HASH": ["sum"]})))
    assert "sum " not in finished(typed(alice, page.line("agent program list"))).output
    voter, helper = "agent run private_match --role voter", "agent run private_match --role helper"
    lines = [
        page.line(voter, {"DID": [people[1].did, people[2].did]}),
        page.line(voter, {"DID": [people[0].did, people[2].did]}),
        page.line(helper, {"DID": [people[0].did, people[1].did]}),
    ]
    commands = [
        typed(person, line, as_root=True) for person, line in zip(people, lines, strict=True)
    ]
    told = [finished(command).output for command in commands]
    assert told[0] == told[1] != told[2], "the helper learns nothing"
    for person in people:
        for name in ("secretsanta.py", "unanimous.py"):  # stand-ins for MPyC's demos
            (mine(person) / name).write_text(SCRIPT)
    for name, told in (("secretsanta.py 8", "sum=24\n"), ("unanimous.py {vote}", "sum=3\n")):
        (line,) = [line for line in page.unplayed() if name in line]
        for person in people:
            refused = typed(person, page.line(line, {"DID": dids(people, person)}), as_root=True)
            assert refused.wait(120) == 6, refused.told()
            (approve,) = re.findall(r"agent program approve \w+", refused.errors)
            finished(typed(person, approve))
        assert together(people, page, line) == {told}
    assert page.unplayed() == []


SCRIPT = """
import sys
from mpyc.runtime import mpc

async def main():
    async with mpc:
        secint = mpc.SecInt(32)
        print(f"sum={int(await mpc.output(mpc.sum(mpc.input(secint(int(sys.argv[1]))))))}")

mpc.run(main())
"""


@pytest.mark.skipif(shutil.which("pasta") is None, reason="needs Debian's package passt")
def test_who_may_do_nothing_on_a_machine_computes_all_the_same(internet: Internet) -> None:
    people, page = internet.parties(*PLACES), Page("run-without-root")
    named(people)
    for person, bid in zip(people, BIDS, strict=True):
        (mine(person) / "bid.txt").write_text(f"bid={bid}\n")
    commands = []
    for person, others in zip(people, NAMES_OF_OTHERS, strict=True):
        line = page.line("agent run", {"bob": [others[0]], "carol": [others[1]]})
        commands.append(typed(person, line, **ordinary(person, OPEN_TUN)))
    outputs = {finished(command).output for command in commands}
    assert re.fullmatch(r"winner=party\d price=135\n", *outputs)
    host = typed(people[0], page.line("agent host"), **ordinary(people[0], OPEN_TUN))
    until(host, lambda: "/i/" in host.told())
    guest = typed(people[1], page.line("agent join"), **ordinary(people[1], OPEN_TUN))
    until(guest, lambda: "wait" in guest.told())
    for command in (host, guest):
        interrupted(command)
    shutil.rmtree(people[0].folder / "lobbies")  # where the host could go on with --resume
    assert page.unplayed() == []


NAMES_OF_OTHERS = (("bob", "carol"), ("alice", "carol"), ("alice", "bob"))


def newcomers(internet: Internet) -> list[Party]:
    return [internet.newcomer(place) for place in PLACES]


def mediator(internet: Internet) -> dict[str, str]:
    return {"https://mediator.example": internet.near.url}


def mine(person: Party) -> Path:
    """The folder in which this person types."""
    folder = person.folder / "mine"
    if not folder.exists():
        folder.mkdir()
        os.chown(folder, person.user, person.user)
    return folder


def named(people: Sequence[Party]) -> None:
    for person, others in zip(people, NAMES_OF_OTHERS, strict=True):
        for name in others:
            did = people[("alice", "bob", "carol").index(name)].did
            finished(person.start("contacts", "name", did, name))


def dids(people: Sequence[Party], person: Party) -> list[str]:
    return [other.did for other in people if other is not person]


def together(people: Sequence[Party], page: Page, start: str) -> set[str]:
    """What all print, each of whom types this line with the others' DIDs."""
    commands = [
        typed(person, page.line(start, {"DID": dids(people, person)}), as_root=True)
        for person in people
    ]
    return {finished(command).output for command in commands}


def typed(
    person: Party, line: str, *, before: Sequence[str] = (), as_root: bool = False
) -> Command:
    """This line, as a shell reads it in the person's own folder."""
    script = f'cd {mine(person)}\nexec "$0" -m {line}'
    return person.start(before=(*before, "sh", "-c", script), as_root=as_root, env=OPENS)


def finished(command: Command) -> Command:
    assert command.wait(120) == 0, command.told()
    return command


def interrupted(command: Command) -> None:
    command.signal(signal.SIGINT)
    command.wait(20)


def until(command: Command, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert command.process.poll() is None, command.told()
        assert time.monotonic() < deadline, command.told()
        time.sleep(0.05)
