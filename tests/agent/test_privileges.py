"""Becoming an ordinary user: who that is, and that there is no way back."""

import json
import os
import pwd
import subprocess
import sys

import pytest

from agent.privileges import NoOrdinaryUser, ordinary_user


@pytest.mark.parametrize(
    ("environment", "uid"),
    [
        ({"DIDMESH_USER": "1234"}, 1234),
        ({"DIDMESH_USER": "nobody"}, pwd.getpwnam("nobody").pw_uid),
        ({"SUDO_UID": "1000"}, 1000),
        ({"DIDMESH_USER": "1234", "SUDO_UID": "1000"}, 1234),
    ],
)
def test_the_named_user_goes_before_the_one_who_called_sudo(
    environment: dict[str, str], uid: int
) -> None:
    assert ordinary_user(environment) == uid


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"DIDMESH_USER": ""},
        {"DIDMESH_USER": "0"},
        {"DIDMESH_USER": "root"},
        {"SUDO_UID": "0"},
        {"DIDMESH_USER": "no such user"},
        {"DIDMESH_USER": "-1"},
        {"DIDMESH_USER": "4294967295"},
        {"DIDMESH_USER": "१२३४"},
    ],
)
def test_without_an_ordinary_user_nothing_runs(environment: dict[str, str]) -> None:
    with pytest.raises(NoOrdinaryUser) as refused:
        ordinary_user(environment)
    assert refused.value.exit_code == 7
    assert refused.value.hint


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to drop")
def test_there_is_no_way_back_to_root() -> None:
    facts = json.loads(subprocess.check_output([sys.executable, "-c", DROPPING]))
    user = pwd.getpwnam("nobody")
    assert facts == {
        "uids": [user.pw_uid] * 3,
        "gids": [user.pw_gid] * 3,
        "groups": [user.pw_gid],
        "home": user.pw_dir,
        "capabilities": "0000000000000000",
        "back": "EPERM",
    }


DROPPING = """
import errno, json, os, pwd
from agent.privileges import drop_root
drop_root(pwd.getpwnam("nobody").pw_uid)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
try:
    os.setresuid(0, 0, 0)
    back = "root"
except OSError as error:
    back = errno.errorcode[error.errno]
print(json.dumps({
    "uids": os.getresuid(), "gids": os.getresgid(), "groups": os.getgroups(),
    "home": os.environ["HOME"], "capabilities": status["CapPrm"].strip(), "back": back,
}))
"""
