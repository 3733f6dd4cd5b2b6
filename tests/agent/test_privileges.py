"""Becoming an ordinary user: who that is, and that there is no way back."""

import json
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent.privileges import NoOrdinaryUser, acting_as, ordinary_user


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


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root reads what others may not")
@pytest.mark.parametrize("what", ["program", "inputs"])
def test_what_root_may_read_is_not_told_to_the_user_it_runs_for(tmp_path: Path, what: str) -> None:
    secret = tmp_path / "secret"
    secret.mkdir(mode=0o700)
    shutil.copytree("agent/programs/second_price_auction", secret / "auction")
    (secret / "inputs").write_text("root_only=1\n")
    program = f"{secret}/auction" if what == "program" else "auction"
    inputs = "bid=1" if what == "program" else f"@{secret}/inputs"
    others = ["--with", "did:key:z6Mk1", "--with", "did:key:z6Mk2"]
    ended = subprocess.run(
        [sys.executable, "-m", "agent", "run", program, *others, "--input", inputs],
        env={**os.environ, "DIDMESH_USER": "nobody", "DIDMESH_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
    )
    assert ended.returncode != 0
    assert "permission denied" in ended.stderr.lower()
    assert "root_only" not in ended.stderr


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as others")
def test_root_is_root_again_after_it_acted_as_a_user() -> None:
    before = os.getresuid(), os.getresgid(), os.getgroups()
    with acting_as(pwd.getpwnam("nobody").pw_uid):
        assert os.geteuid() == pwd.getpwnam("nobody").pw_uid
        assert 0 not in (os.getegid(), *os.getgroups())
    assert (os.getresuid(), os.getresgid(), os.getgroups()) == before
