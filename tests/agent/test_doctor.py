"""What `agent doctor` says about facts, and that the facts are looked up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.doctor import Facts, Level, exit_code, judge, to_json
from agent.errors import Exit
from tests.support import mediator_process
from tests.support.json_shapes import DOCTOR, check_shape

ROOT = Path(__file__).parents[2]
WELL = Facts(
    privilege="sudo",
    privilege_problem=None,
    rootless_problem="/dev/net/tun is for root alone: sudo chmod 666 /dev/net/tun",
    kernel_wireguard=True,
    tools=frozenset({"ip", "wg", "bwrap"}),
    wireguard_go=True,
    wireguard_go_version=20250522,
    tun=True,
    user_namespaces=True,
    bubblewrap=True,
    mediator="https://mediator.example",
    mediator_problem=None,
    skew=0.4,
    input_policy="accept",
    modes={"/home/a/.didmesh/profiles/default.age": 0o100600},
)

TROUBLES: dict[str, tuple[dict[str, Any], str, Level, str]] = {
    "no privilege": (
        {"privilege": None, "privilege_problem": "sudo does not allow it"},
        "privilege",
        Level.WRONG,
        "sudo",
    ),
    "no privilege, and rootless works": (
        {"privilege": None, "privilege_problem": "no sudo", "rootless_problem": None},
        "privilege",
        Level.NOTE,
        "add --rootless",
    ),
    "no privilege, and rootless would do": (
        {"privilege": None, "privilege_problem": "no sudo"},
        "privilege",
        Level.WRONG,
        "sudo chmod 666 /dev/net/tun",
    ),
    "only wireguard-go": ({"kernel_wireguard": False}, "wireguard", Level.NOTE, "modprobe"),
    "only Debian 12's wireguard-go": (
        {"kernel_wireguard": False, "wireguard_go_version": 20220316},
        "wireguard",
        Level.NOTE,
        "scripts/setup",
    ),
    "no WireGuard at all": (
        {"kernel_wireguard": False, "wireguard_go": False},
        "wireguard",
        Level.WRONG,
        "apt install wireguard-go",
    ),
    "wireguard-go without tun": (
        {"kernel_wireguard": False, "tun": False},
        "wireguard",
        Level.WRONG,
        "/dev/net/tun",
    ),
    "no wg": (
        {"tools": frozenset({"ip", "bwrap"})},
        "tools",
        Level.WRONG,
        "apt install wireguard-tools",
    ),
    "no user namespaces": ({"user_namespaces": False}, "user namespaces", Level.NOTE, "sysctl"),
    "no bubblewrap": ({"bubblewrap": False}, "sandbox", Level.NOTE, "user namespaces"),
    "no mediator": ({"mediator": None}, "mediator", Level.NOTE, "create-did"),
    "a silent mediator": ({"mediator_problem": "no answer"}, "mediator", Level.WRONG, "netcheck"),
    "a clock ahead": ({"skew": 3600.0}, "clock", Level.WRONG, "timedatectl"),
    "a clock behind": ({"skew": -61.0}, "clock", Level.WRONG, "timedatectl"),
    "a closed firewall": ({"input_policy": "drop"}, "firewall", Level.NOTE, "netcheck"),
    "a firewall nobody may see": ({"input_policy": None}, "firewall", Level.NOTE, "sudo"),
    "a keystore for all": (
        {"modes": {"/x/default.age": 0o100644, "/x": 0o40700}},
        "keys",
        Level.WRONG,
        "chmod go= /x/default.age",
    ),
}


def test_where_all_is_well_nothing_is_to_do() -> None:
    findings = judge(WELL)
    assert {finding.level for finding in findings} == {Level.OK}
    assert exit_code(findings) is Exit.OK
    assert to_json(findings)["ok"] is True


@pytest.mark.parametrize("name", TROUBLES)
def test_each_trouble_is_found_alone_and_says_what_to_do(name: str) -> None:
    change, about, level, todo = TROUBLES[name]
    findings = judge(replace(WELL, **change))
    [finding] = [found for found in findings if found.level is not Level.OK]
    assert (finding.name, finding.level) == (about, level)
    assert todo in (finding.todo or "")


def test_the_exit_code_tells_privilege_from_the_rest_and_notes_do_not_count() -> None:
    assert exit_code(judge(replace(WELL, privilege=None))) is Exit.PRIVILEGE
    assert exit_code(judge(replace(WELL, privilege=None, skew=999.0))) is Exit.PRIVILEGE
    assert exit_code(judge(replace(WELL, skew=999.0))) is Exit.FAILED
    assert exit_code(judge(replace(WELL, bubblewrap=False))) is Exit.OK


def test_the_command_looks_at_this_machine_its_mediator_and_its_keys(tmp_path: Path) -> None:
    with (
        mediator_process.folder() as folder,
        mediator_process.process(mediator_process.run_argv(folder / "m.db")) as started,
    ):
        url = mediator_process.facts(started)["http"]
        made = agent(tmp_path, "create-did", "--unencrypted", "--mediator", url)
        assert made.returncode == 0, made.stderr
        well = agent(tmp_path, "doctor", "--json")
        profile = tmp_path / "profiles" / "default.json"
        profile.chmod(0o644)
        open_ = agent(tmp_path, "doctor", "--json")
    told = json.loads(well.stdout)
    check_shape(told, DOCTOR)
    levels = {finding["name"]: finding["level"] for finding in told["findings"]}
    assert levels["mediator"] == levels["clock"] == levels["keys"] == "ok", told
    keys = [one for one in json.loads(open_.stdout)["findings"] if one["name"] == "keys"]
    assert [one["todo"] for one in keys] == [f"chmod go= {profile}"]
    assert open_.returncode != 0


def test_without_a_profile_there_is_no_mediator_to_ask(tmp_path: Path) -> None:
    told = json.loads(agent(tmp_path, "doctor", "--json").stdout)
    check_shape(told, DOCTOR)
    [mediator] = [one for one in told["findings"] if one["name"] == "mediator"]
    assert mediator["level"] == "note"


def agent(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    nobody = {"DIDMESH_USER", "SUDO_UID"}  # the profile is the one of whoever runs the tests
    environment = {name: value for name, value in os.environ.items() if name not in nobody}
    return subprocess.run(
        [sys.executable, "-m", "agent", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
        env={**environment, "DIDMESH_HOME": str(home)},
    )  # fmt: skip
