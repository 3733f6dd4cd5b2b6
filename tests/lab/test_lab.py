"""The lab makes what it says, for root and for ordinary users, and leaves nothing."""

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import runs
from lab.commands import LabError
from lab.topology import Lab

CHECKOUT = Path(__file__).resolve().parents[2]
SOMEBODY = 64109

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]

RECEIVE_ONE = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("0.0.0.0", 5000))
    print("bound", flush=True)
    data, source = sock.recvfrom(100)
    print(data.decode(), source[0])
"""
SEND_ONE = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.sendto(b"hello", (sys.argv[1], 5000))
"""


def test_a_host_at_home_reaches_a_public_one_and_shows_only_the_homes_address() -> None:
    with Lab() as lab:
        public = lab.public("public", "198.51.100.10")
        home = lab.home("home", nat="port-restricted")
        assert home.address != home.host.address
        receiver = public.popen([sys.executable, "-c", RECEIVE_ONE], stdout=subprocess.PIPE)
        with receiver:
            assert receiver.stdout is not None
            assert receiver.stdout.readline() == b"bound\n"
            home.host.run([sys.executable, "-c", SEND_ONE, public.address])
            assert receiver.stdout.readline().decode() == f"hello {home.address}\n"


def test_udp_between_two_hosts_can_be_held_back_and_let_through_again() -> None:
    with Lab() as lab:
        public = lab.public("public", "198.51.100.10")
        lab.carrier("isp", nat="port-restricted")
        home = lab.home("home", nat="port-restricted", behind="isp").host
        receiver = public.popen([sys.executable, "-c", RECEIVE_ONE], stdout=subprocess.PIPE)
        try:
            assert receiver.stdout is not None
            assert receiver.stdout.readline() == b"bound\n"
            lab.close_between(home, public)
            home.run([sys.executable, "-c", SEND_ONE, public.address])
            assert not select.select([receiver.stdout], [], [], 0.3)[0]
            lab.open_between(home, public)
            home.run([sys.executable, "-c", SEND_ONE, public.address])
            assert receiver.stdout.readline().startswith(b"hello")
        finally:
            receiver.kill()


def test_hosts_of_two_homes_may_have_the_same_address() -> None:
    with Lab() as lab:
        one = lab.home("one", nat="port-restricted")
        two = lab.home("two", nat="symmetric")
        assert one.host.address == two.host.address
        assert one.address != two.address


def test_hosts_of_one_home_reach_each_other_inside() -> None:
    with Lab() as lab:
        home = lab.home("home", nat="port-restricted", hosts=2)
        receiver = home.hosts[0].popen([sys.executable, "-c", RECEIVE_ONE], stdout=subprocess.PIPE)
        with receiver:
            assert receiver.stdout is not None
            receiver.stdout.readline()
            home.hosts[1].run([sys.executable, "-c", SEND_ONE, home.hosts[0].address])
            assert receiver.stdout.readline().decode() == f"hello {home.hosts[1].address}\n"


def test_nothing_leads_out_to_the_machines_own_network() -> None:
    with Lab() as lab:
        home = lab.home("home", nat="full-cone")
        assert home.host.run([sys.executable, "-c", GREET, "203.0.113.200"]) == "unreachable\n"
        assert home.host.run([sys.executable, "-c", GREET, "1.1.1.1"]) == "unreachable\n"
        assert lab.foreign_interfaces() == []


GREET = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(5)
    sock.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR: tell what routers say
    sock.connect((sys.argv[1], 9))
    try:
        sock.send(b"anybody there?")
        sock.recv(100)
    except TimeoutError:
        print("silence")
    except OSError:
        print("unreachable")
"""


def test_an_ordinary_users_command_has_no_privilege_and_no_group() -> None:
    with Lab() as lab:
        home = lab.home("home", nat="port-restricted")
        status = home.host.run(["cat", "/proc/self/status"], user=SOMEBODY)
        facts = dict(line.split(":", 1) for line in status.splitlines())
        assert facts["Uid"].split() == [str(SOMEBODY)] * 4
        assert facts["Gid"].split() == [str(SOMEBODY)] * 4
        assert facts["Groups"].split() == []
        assert facts["NoNewPrivs"].split() == ["1"]
        assert int(facts["CapEff"], 16) == int(facts["CapInh"], 16) == 0


def test_the_callers_environment_stays_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIDMESH_PASSPHRASE", "of the person who runs the lab")
    with Lab() as lab:
        words = lab.public("public", "198.51.100.10").run(["env"], env={"GIVEN": "yes"})
        assert "DIDMESH_PASSPHRASE" not in words
        assert "GIVEN=yes" in words.splitlines()


def test_a_command_that_fails_is_told_with_its_own_words() -> None:
    with Lab() as lab, pytest.raises(LabError, match="No such file"):
        lab.public("public", "198.51.100.10").run(["cat", "/no/such/file"])


def test_a_process_of_the_lab_is_the_command_itself() -> None:
    with Lab() as lab:
        process = lab.public("public", "198.51.100.10").popen(["sleep", "100"], user=SOMEBODY)
        with process:
            _wait_for(lambda: b"sleep" in Path(f"/proc/{process.pid}/cmdline").read_bytes()[:6])
            process.kill()
            assert process.wait(5) == -signal.SIGKILL


@pytest.mark.parametrize("closed", ["the checkout's parent", "the checkout itself", "both"])
def test_ordinary_users_reach_a_checkout_below_a_closed_directory(
    tmp_path: Path, closed: str
) -> None:
    parent = tmp_path / "closed"
    checkout = parent / "checkout"
    checkout.mkdir(parents=True)
    shutil.copytree(CHECKOUT / "lab", checkout / "lab")
    (checkout / ".venv").symlink_to(CHECKOUT / ".venv")
    for directory in (tmp_path, *tmp_path.parents[:-2]):
        directory.chmod(0o755)
    parent.chmod(0o755 if closed == "the checkout itself" else 0o700)
    checkout.chmod(0o755 if closed == "the checkout's parent" else 0o700)
    script = (
        "from lab.topology import Lab\n"
        "with Lab() as lab:\n"
        "    host = lab.public('public', '198.51.100.10')\n"
        f"    print(host.run(['.venv/bin/python', '-c', {WHERE!r}], user={SOMEBODY}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.split() == [str(SOMEBODY), str(checkout / "lab" / "__init__.py")]


WHERE = "import os, lab; print(os.getuid(), lab.__file__)"


def test_two_labs_side_by_side_know_their_own() -> None:
    with Lab() as one, Lab() as two:
        for lab in (one, two):
            lab.home("home", nat="port-restricted")
        process = one.homes["home"].host.popen(["sleep", "100"])
        assert list(one.running()) == [process.pid]
        assert two.running() == {}
        assert set(one.leftovers().namespaces).isdisjoint(two.leftovers().namespaces)
    assert process.wait(5) == -signal.SIGTERM
    assert not one.leftovers()
    assert not two.leftovers()


def test_nothing_is_left_after_an_error_inside() -> None:
    lab = Lab()

    def fail_inside() -> None:
        with lab:
            lab.home("home", nat="port-restricted").host.popen(["sleep", "100"])
            lab.public("home", "198.51.100.10")

    with pytest.raises(LabError, match="one already"):
        fail_inside()
    assert not lab.leftovers()


def test_a_process_that_hides_behind_a_dead_parent_is_found_and_ended() -> None:
    bare = ["env", "-i", "unshare", "--net", "sh", "-c", "sleep 100 >/dev/null 2>&1 & exit 0"]
    with Lab() as lab:
        lab.public("public", "198.51.100.10").popen(bare).wait(5)
        deadline = time.monotonic() + 10
        while list((hidden := lab.running()).values()) != ["sleep 100"]:
            assert time.monotonic() < deadline, hidden
            time.sleep(0.02)  # it is still its parent's copy
    assert not any(Path(f"/proc/{pid}/cmdline").exists() for pid in hidden)


def test_an_interface_that_a_command_made_is_told() -> None:
    with Lab() as lab:
        host = lab.public("public", "198.51.100.10")
        host.run(["ip", "link", "add", "stray", "type", "bridge"])
        assert lab.foreign_interfaces() == ["public/stray"]


def test_a_file_that_a_command_left_in_run_is_told_and_never_on_the_machine() -> None:
    with Lab() as lab:
        lab.public("public", "198.51.100.10").run(["touch", "/run/stray.sock"])
        assert lab.left_in_run() == ["/run/stray.sock"]
        assert not Path("/run/stray.sock").exists()


def test_a_lab_told_to_end_cleans_up_first(lab_elsewhere: "subprocess.Popen[str]") -> None:
    run = _run_of(lab_elsewhere)
    lab_elsewhere.terminate()
    assert lab_elsewhere.wait(10) == 128 + signal.SIGTERM
    assert not runs.leftovers(run)


def test_a_killed_lab_is_removed_by_the_next_down(lab_elsewhere: "subprocess.Popen[str]") -> None:
    run = _run_of(lab_elsewhere)
    assert runs.is_alive(run)
    lab_elsewhere.kill()
    lab_elsewhere.wait(5)
    assert not runs.is_alive(run)
    left = runs.leftovers(run)
    assert len(left.namespaces) == 3
    assert left.processes
    assert f"{run} removed" in _lab("down")
    assert not runs.leftovers(run)


def test_down_leaves_a_running_lab_alone() -> None:
    with Lab() as lab:
        process = lab.public("public", "198.51.100.10").popen(["sleep", "100"])
        assert f"{lab.name}  running" in _lab("list")
        assert f"{lab.name} is running and stays" in _lab("down")
        assert process.poll() is None
        assert lab.leftovers().namespaces


@pytest.fixture
def lab_elsewhere() -> Iterator["subprocess.Popen[str]"]:
    """A lab with a home and a process in it, in another process that prints the run's name."""
    script = (
        "from lab.topology import Lab\n"
        "with Lab() as lab:\n"
        "    home = lab.home('home', nat='symmetric')\n"
        "    process = home.host.popen(['sh', '-c', 'echo; exec sleep 100'], stdout=-1)\n"
        "    process.stdout.readline()\n"
        "    print(lab.name, flush=True)\n"
        "    process.wait()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def _run_of(lab: "subprocess.Popen[str]") -> str:
    assert lab.stdout is not None
    return lab.stdout.readline().strip()


def _lab(*words: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "lab", *words],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def _wait_for(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
