"""Rootless, what can be said without namespaces."""

import fcntl
import itertools
import os
from pathlib import Path

import pytest

from agent.rootless import handover
from agent.rootless.probe import RootlessImpossible, _forbidden
from agent.rootless.way_out import WayOut, only_loopback
from agent.running import RunningSession, Traces, running_sessions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nameserver 127.0.0.53\noptions edns0\n", True),
        ("nameserver ::1\nnameserver 127.0.0.1\n", True),
        ("nameserver 127.0.0.53\nnameserver 192.0.2.1\n", False),
        ("nameserver 2001:db8::1\n", False),
        ("# nameserver 192.0.2.1\nnameserver\n", True),
    ],
)
def test_a_resolver_that_cannot_be_reached_from_inside_is_seen(text: str, expected: bool) -> None:
    assert only_loopback(text) is expected


def test_no_way_out_leads_to_the_machines_own_loopback_or_opens_a_port_by_itself() -> None:
    pasta = WayOut("pasta", "/usr/bin/pasta").argv("/proc/self/fd/3", 4)
    assert "--no-map-gw" in pasta
    forwarded = dict(itertools.pairwise(pasta))
    assert [forwarded[option] for option in ("-t", "-u", "-T", "-U")] == ["none"] * 4
    slirp = WayOut("slirp4netns", "/usr/bin/slirp4netns").argv("/proc/self/fd/3", 4)
    assert "--disable-host-loopback" in slirp
    assert "--ready-fd=4" in slirp


def test_apparmor_is_named_with_its_own_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    switches = {"kernel.apparmor_restrict_unprivileged_userns": "1"}
    monkeypatch.setattr("agent.rootless.probe._setting", lambda name: switches.get(name, ""))
    obstacle = _forbidden("unshare: unshare failed: Operation not permitted")
    assert "AppArmor" in obstacle.reason
    assert obstacle.change == "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    assert RootlessImpossible(obstacle.reason, obstacle.change).exit_code == 7


def test_inside_the_process_outside_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not handover.is_inside()
    assert handover.process_id() == os.getpid()
    monkeypatch.setenv(handover.VARIABLE, "4711")
    assert handover.is_inside()
    assert handover.process_id() == 4711


def test_a_session_runs_as_long_as_its_folder_is_locked_whatever_its_process_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(handover.VARIABLE, "1073741824")  # no such process
    traces = Traces(tmp_path)
    session = RunningSession(1073741824, "hash", ("did:x:1",), {})
    traces.write(session)
    assert running_sessions(tmp_path) == [session]
    other = Traces(tmp_path)  # whoever begins sweeps
    assert traces.workdir.is_dir()
    assert running_sessions(tmp_path) == [session]
    traces.remove()
    other.remove()
    assert list((tmp_path / "sessions").iterdir()) == []


def test_what_a_killed_session_left_is_swept_though_its_number_is_alive(tmp_path: Path) -> None:
    left = tmp_path / "sessions" / f"{os.getpid()}-0123456789abcdef"
    left.mkdir(parents=True)
    (left / "input").write_text("secret")
    left.with_suffix(".json").write_text("{}")
    assert running_sessions(tmp_path) == []
    Traces(tmp_path).remove()
    assert list((tmp_path / "sessions").iterdir()) == []


def test_a_lock_ends_with_its_process_only(tmp_path: Path) -> None:
    traces = Traces(tmp_path)
    folder = os.open(traces.workdir, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.close(folder)
    traces.remove()
