"""Nobody is root who need not be: programs, agents, and what they see of the machine."""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.internet import NEAR, Internet, Party

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]

needs_sudo = pytest.mark.skipif(shutil.which("sudo") is None, reason="there is no sudo here")
HELPER = f"{sys.executable} -I -m agent.network_helper"

# Looks around instead of computing, and leaves what it saw in its party's home.
LOOK_AROUND = """
import json, os, socket
from pathlib import Path
from mpyc.runtime import mpc

KINDS = ("Inh", "Prm", "Eff", "Bnd", "Amb")

def attempt(work):
    try:
        work()
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    return "done"

def connect():
    socket.create_connection(("MEDIATOR", 8080), timeout=3).close()

def send():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"?", ("MEDIATOR", 3478))

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return [line.split()[1:] for line in lines if line.startswith(name + ":")][0]

async def look():
    async with mpc:
        uids, groups = {*os.getresuid()}, {*os.getresgid(), *os.getgroups()}
        print(json.dumps({
            "one ordinary user": len(uids) == 1 and 0 not in uids and groups == uids,
            "capabilities": sorted({status(f"Cap{kind}")[0] for kind in KINDS}),
            "no_new_privs": status("NoNewPrivs"),
            "interfaces": len(socket.if_nameindex()),
            "eth0": "eth0" in [name for _, name in socket.if_nameindex()],
            "processes": sum(name.isdigit() for name in os.listdir("/proc")),
            "connect": attempt(connect),
            "send": attempt(send),
            "homes": [attempt(lambda: os.listdir(home)) for home in HOMES.split()],
            "environment": sorted(os.environ),
            "input in argv": any(n in Path("/proc/self/cmdline").read_text() for n in NUMBERS),
        }))

mpc.run(look())
"""


def test_a_program_is_its_callers_and_sees_nothing_but_the_mesh(internet: Internet) -> None:
    parties = internet.parties("home0", "home1")
    homes = " ".join(str(party.folder) for party in parties)
    main = LOOK_AROUND.replace("MEDIATOR", NEAR).replace("HOMES", repr(homes))
    main = main.replace("NUMBERS", repr(["770077", "880088"]))
    commands = internet.run(internet.program(main), (parties[0], 770_077), (parties[1], 880_088))
    for command in commands:
        assert command.wait() == 0, command.told()
        if command.the("sandbox")["level"] != "A":
            pytest.skip("bubblewrap does not work on this machine")
        seen = json.loads(command.the("result")["output"])
        assert seen["one ordinary user"]
        assert [int(bits, 16) for bits in seen["capabilities"]] == [0]
        assert seen["no_new_privs"] == ["1"]
        assert (seen["interfaces"], seen["eth0"]) == (2, False)
        assert seen["processes"] <= 3
        assert seen["connect"] == seen["send"] == "Network is unreachable"
        assert seen["homes"] == ["No such file or directory"] * 2
        assert not seen["input in argv"]
        assert not [name for name in seen["environment"] if name.startswith("DIDMESH_P")]


@needs_sudo
def test_an_ordinary_user_runs_it_with_sudo_for_the_helper_alone(internet: Internet) -> None:
    parties = internet.parties("home0", "home1")
    commands = [
        internet.run_one(
            internet.rounds(1),
            party,
            number,
            parties,
            "--json",
            before=as_ordinary(party, f"tester ALL=(root) NOPASSWD: {HELPER}"),
        )
        for number, party in enumerate(parties, start=1)
    ]
    commands[0].until("everybody signed")
    for command in commands:
        assert command.wait() == 0, command.told()
        assert command.the("result")["output"] == "sum=3\n"
        assert clean(command.the("cleanup"))


@needs_sudo
def test_without_sudo_the_missing_privilege_is_named_with_a_hint(internet: Internet) -> None:
    parties = internet.parties("home0", "home1")
    command = internet.run_one(
        internet.rounds(1), parties[0], 1, parties, before=as_ordinary(parties[0], "")
    )
    assert command.wait() == 7, command.told()
    assert command.output == ""
    told = [line for line in command.errors.splitlines() if line.startswith("agent: ")]
    assert told[0].startswith("agent: cannot start the network helper: ")
    assert told[1].startswith("agent: hint: ")
    assert f"sudo -n {HELPER}" in told[1]


def test_root_without_an_ordinary_user_to_become_is_refused(internet: Internet) -> None:
    parties = internet.parties("home0", "home1")
    for user in ("", "0", "root", "nobody-of-this-name"):
        command = internet.run_one(
            internet.rounds(1), parties[0], 1, parties, env={"DIDMESH_USER": user}
        )
        assert command.wait() == 7, command.told()
        assert command.errors.startswith("agent: will not run as root: ")
        assert "agent: hint: " in command.errors


def as_ordinary(party: Party, rule: str) -> Sequence[str]:
    """Words before a command: the party's user, called tester, under this rule of sudo's alone.

    The machine's own users and rules stay as they are: the files lie in a mount namespace that
    ends with the command. (sudo reads no file with a dot in its name.)
    """
    user = party.user
    tester = f"tester:x:{user}:{user}::{party.folder}:/bin/sh"
    script = f"""
set -e
mkdir -p /run/sudo
mount -t tmpfs tester /run/sudo
mount -t tmpfs -o mode=755 tester /etc/sudoers.d
printf '%s\\n' {shlex.quote(rule)} > /etc/sudoers.d/tester
chmod 440 /etc/sudoers.d/tester
for file in passwd group shadow; do cp -p /etc/$file /etc/sudoers.d/$file.new; done
echo {shlex.quote(tester)} >> /etc/sudoers.d/passwd.new
echo tester:x:{user}: >> /etc/sudoers.d/group.new
echo 'tester:*:19000:0:99999:7:::' >> /etc/sudoers.d/shadow.new
for file in passwd group shadow; do mount --bind /etc/sudoers.d/$file.new /etc/$file; done
exec setpriv --reuid={user} --regid={user} --clear-groups --inh-caps=-all -- "$@"
"""
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]


def clean(cleanup: dict[str, Any]) -> bool:
    return not any(cleanup[kind] for kind in ("interfaces", "namespaces", "processes"))
