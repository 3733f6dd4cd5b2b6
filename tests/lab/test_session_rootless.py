"""A party that has neither root nor sudo nor a service, among parties that have."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.internet import Internet
from tests.support.unprivileged import OPEN_TUN, ordinary

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
    pytest.mark.skipif(shutil.which("pasta") is None, reason="needs Debian's package passt"),
]
WAYS = ("pasta", "slirp4netns")


# As if the kernel had said so; that this forbids anything is left to a missing `unshare`.
SWITCHED_OFF = """
echo 0 > /mnt/off
mount --bind /mnt/off /proc/sys/user/max_user_namespaces
"""


def without(*programs: str) -> list[str]:
    """Shell lines that make these programs unusable."""
    found = map(shutil.which, programs)
    return [f"mount --bind /dev/null {path}" for path in found if path is not None]


@pytest.mark.alone
@pytest.mark.parametrize("way", WAYS)
def test_one_party_is_rootless_among_others_and_everybody_is_reached_directly(
    internet: Internet, way: str
) -> None:
    if shutil.which(way) is None:
        pytest.skip(f"there is no {way} here")
    parties = internet.parties("home0", "home1", "home2")
    program, hidden = internet.rounds(3), without(*{*WAYS} - {way})
    rootless = ordinary(parties[0], OPEN_TUN, *hidden)
    commands = [
        internet.run_one(program, parties[0], 1, parties, "--json", "--rootless", **rootless),
        internet.run_one(program, parties[1], 2, parties, "--json"),
        internet.run_one(program, parties[2], 3, parties, "--json"),
    ]
    for command in commands:
        assert command.wait() == 0, command.told()
        assert command.the("result")["output"] == "sum=6\n"
        # A relay may answer first; the direct path replaces it.
        in_the_end = {event["did"]: event["kind"] for event in command.all("path")}
        assert list(in_the_end.values()) == ["direct"] * 2, command.told()
        cleanup = command.the("cleanup")
        assert not any(cleanup[kind] for kind in ("interfaces", "namespaces", "processes"))


def test_a_rootless_program_reaches_nobody_but_the_parties_and_gains_nothing(
    internet: Internet,
) -> None:
    parties = internet.parties("home0", "home1")
    words = ("--json", "--rootless")
    commands = [
        internet.run_one(internet.rounds(5), party, 1, parties, *words, **ordinary(party, OPEN_TUN))
        for party in parties
    ]
    for command in commands:
        command.until("the program has started")
    program = internet.program_of(0)
    inside = ["nsenter", f"--net=/proc/{program}/ns/net", "--", "ip", "-j"]
    links = json.loads(subprocess.check_output([*inside, "link"]))
    names = [link["ifname"] for link in links]
    assert names[0] == "lo"
    assert [name[:2] for name in names[1:]] == ["dm"]
    routes = json.loads(subprocess.check_output([*inside, "route"]))
    assert len(routes) == 1, routes
    status = Path(f"/proc/{program}/status").read_text().splitlines()
    facts = {line.partition(":")[0]: line.partition(":")[2] for line in status}
    assert int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 0
    assert facts["NoNewPrivs"].split() == ["1"]
    for command in commands:
        assert command.wait() == 0, command.told()


def test_a_rootless_party_reads_its_input_from_what_was_handed_to_it(internet: Internet) -> None:
    """As `--input @<(pass show bid)` does in a shell, so that no disk and no argument has it."""
    one, two = parties = internet.parties("home0", "home1")
    program, order = internet.rounds(0.1), ",".join(party.did for party in parties)
    one.allow(program)
    mine = one.folder / "mine"
    mine.mkdir()
    (mine / "bid.txt").write_text("bid=1\n")
    for path in (mine, mine / "bid.txt"):
        os.chown(path, one.user, one.user)
    command = one.start(
        *("run", program, "--with", two.did, "--order", order, "--input", "@/dev/fd/9"),
        *("--rootless", "--json"),
        **ordinary(one, OPEN_TUN, f"exec 9<{mine / 'bid.txt'}"),
    )
    other = internet.run_one(program, two, 2, parties, "--json")
    for each in (command, other):
        assert each.wait() == 0, each.told()
        assert each.the("result")["output"] == "sum=3\n"


@pytest.mark.parametrize("killed", ["outside", "first inside"])
def test_nothing_is_left_of_a_rootless_party_that_is_killed(
    internet: Internet, killed: str
) -> None:
    parties = internet.parties("home0", "home1")
    program = internet.rounds(60)
    rootless = ordinary(parties[0], OPEN_TUN)
    command = internet.run_one(program, parties[0], 1, parties, "--json", "--rootless", **rootless)
    other = internet.run_one(program, parties[1], 2, parties, "--json")
    other.until("the program has started")
    sessions = json.loads(parties[0].agent("status", "--json").output)["sessions"]
    assert [session["pid"] for session in sessions] == [command.process.pid]
    if killed == "outside":
        command.kill()
    else:
        command.on_kill()
        (child,) = children(command.process.pid)  # unshare, and below it the first process
        (first,) = children(child)
        os.kill(first, signal.SIGKILL)
        assert command.wait() != 0
    assert other.wait() == 1, other.told()
    # What is left is looked for after every test: processes, interfaces, namespaces, files.


def test_a_rootless_party_leaves_in_good_order_when_it_is_told_to(internet: Internet) -> None:
    parties = internet.parties("home0", "home1")
    rootless = ordinary(parties[0], OPEN_TUN)
    command = internet.run_one(
        internet.rounds(1), parties[0], 1, parties, "--json", "--rootless", **rootless
    )
    command.until("waiting")
    command.signal(signal.SIGTERM)
    assert command.wait() != 0
    assert command.all("cleanup"), command.told()


CLOSED_TUN = OPEN_TUN.replace("666", "600")
NO_UNSHARE = without("unshare")


@pytest.mark.parametrize(
    ("lines", "reason", "change"),
    [
        (
            [OPEN_TUN, *without(*WAYS)],
            "neither pasta nor slirp4netns is installed",
            "sudo apt-get install passt",
        ),
        ([CLOSED_TUN], "/dev/net/tun is for root alone", "sudo chmod 666 /dev/net/tun"),
        (["mount -t tmpfs tester /dev/net"], "there is no /dev/net/tun", "sudo modprobe tun"),
        ([OPEN_TUN, *NO_UNSHARE], "forbids user namespaces", "security settings"),
        (
            [OPEN_TUN, SWITCHED_OFF, *NO_UNSHARE],
            "user namespaces are switched off",
            "sudo sysctl -w user.max_user_namespaces=15000",
        ),
    ],
)
def test_one_sentence_says_what_forbids_it_and_one_what_to_change(
    internet: Internet, lines: Sequence[str], reason: str, change: str
) -> None:
    party = internet.newcomer("home0")
    words = ["run", "auction", "--with", "did:peer:2.x", "--rootless"]
    command = party.start(*words, **ordinary(party, *lines))
    assert command.wait() == 7, command.told()
    told, hint = command.errors.splitlines()
    assert told.startswith("agent: cannot run rootless: ")
    assert reason in told
    assert hint.startswith("agent: hint: ")
    assert change in hint
    assert command.output == ""


def test_without_any_privilege_the_hint_names_the_option(internet: Internet) -> None:
    (party,) = internet.parties("home0")
    other = internet.parties("home1")
    command = internet.run_one(
        internet.rounds(1), party, 1, [party, *other], **ordinary(party, *without("sudo"))
    )
    assert command.wait() == 7, command.told()
    assert "agent: hint: add --rootless" in command.errors


def children(process: int) -> list[int]:
    listed = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(word) for word in listed.split()]
