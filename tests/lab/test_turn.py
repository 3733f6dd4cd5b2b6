"""Sessions over Debian's coturn, where nobody else relays: with one server, two, and none."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.host import Host
from tests.support.internet import Internet, Party

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
    pytest.mark.skipif(not shutil.which("turnserver"), reason="needs coturn: apt-get install"),
]
USER, PASSWORD = "alice", "not on any command line"
FIRST, SECOND = "198.51.100.30", "198.51.100.40"


@pytest.fixture(scope="module")
def internet() -> Iterator[Internet]:
    """Mediators that relay nothing."""
    with Internet("--relay-enabled", "false") as internet:
        yield internet


@pytest.fixture(scope="module")
def first(internet: Internet) -> Host:
    return internet.server("turn0", FIRST)


@pytest.fixture(scope="module")
def second(internet: Internet) -> Host:
    return internet.server("turn1", SECOND)


@pytest.fixture(autouse=True)
def nothing_left(internet: Internet) -> Iterator[None]:
    yield
    internet.check_nothing_is_left()


def test_two_symmetric_homes_compute_over_the_turn_server_of_one(
    internet: Internet, first: Host, tmp_path: Path
) -> None:
    one, two = internet.parties("office0", "office1")
    with turnserver(first, FIRST, tmp_path):
        write_settings(one, FIRST)
        commands = internet.run(internet.rounds(3), (one, 1), (two, 2))
        for command in commands:
            assert command.wait() == 0, command.told()
            path = command.all("path")[-1]
            assert (path["kind"], path["by"]) == ("relay", "turn")
            assert path["why"]
            assert command.the("result")["output"] == "sum=3\n"
        assert commands[0].all("path")[-1]["endpoint"].startswith("127.0.0.1:")
        assert commands[1].all("path")[-1]["endpoint"].startswith(f"{FIRST}:")
        assert all(PASSWORD not in command.told() for command in commands)


def test_they_compute_with_a_turn_server_each(
    internet: Internet, first: Host, second: Host, tmp_path: Path
) -> None:
    one, two = internet.parties("office0", "office1")
    with turnserver(first, FIRST, tmp_path), turnserver(second, SECOND, tmp_path):
        write_settings(one, FIRST)
        write_settings(two, SECOND)
        commands = internet.run(internet.rounds(3), (one, 1), (two, 2))
        for command in commands:
            assert command.wait() == 0, command.told()
            assert command.all("path")[-1]["by"] == "turn"
            assert command.the("result")["output"] == "sum=3\n"


def test_a_server_that_refuses_or_is_silent_is_named_and_no_more(
    internet: Internet, first: Host, tmp_path: Path
) -> None:
    one, two = internet.parties("home0", "home1")
    with turnserver(first, FIRST, tmp_path):
        write_settings(one, FIRST, password="wrong")
        write_settings(two, SECOND)  # where nobody listens
        commands = internet.run(internet.rounds(1), (one, 1), (two, 2))
        for command in commands:
            assert command.wait() == 0, command.told()
            assert any("the TURN server gives us no address" in step for step in command.steps())
            assert command.all("path")[-1]["kind"] == "direct"


# Helpers


@contextlib.contextmanager
def turnserver(host: Host, address: str, folder: Path) -> Iterator[None]:
    settings = folder / f"{host.name}.conf"
    settings.write_text(
        f"listening-ip={address}\nrelay-ip={address}\nlt-cred-mech\nuser={USER}:{PASSWORD}\n"
        "realm=turn.example\nno-cli\nno-tls\nno-dtls\nno-tcp\nfingerprint\n"
        f"log-file=stdout\nsimple-log\npidfile={folder}/{host.name}.pid\n"
        f"userdb={folder}/{host.name}.db\n"
    )
    with (folder / f"{host.name}.log").open("wb") as log:
        process = host.popen(
            ["turnserver", "-c", str(settings)], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        time.sleep(1.0)
        assert process.poll() is None, (folder / f"{host.name}.log").read_text()
        yield
    finally:
        process.kill()
        process.wait()


def write_settings(party: Party, address: str, password: str = PASSWORD) -> None:
    path = party.folder / "profiles" / "default.turn"
    path.write_text(f"turn:{address}:3478?transport=udp\n{USER}\n{password}\n")
    path.chmod(0o600)
    os.chown(path, party.user, party.user)
