"""Following a session by its file: the table, `agent ping` and `agent wait`, as processes."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from agent.errors import Exit
from agent.running import RunningSession, Traces
from agent.watching import row, state_of, table, why
from tests.support.json_shapes import MESH_PING, STATUS_WATCH, WAIT, check_shape

ROOT = Path(__file__).parents[2]
BOB, CAROL = "did:web:bob.example", "did:web:carol.example"
RELAYED: dict[str, Any] = {
    "kind": "relay",
    "endpoint": "198.51.100.10:41000",
    "why": "none of 2 addresses answered; we: symmetric; they: symmetric",
    "mesh_rtt_ms": 31.5,
    "mtu": 1328,
    "since": 1000.0,
    "next_try": 1042,
    "rx_bytes": 3 * 1024 * 1024,
    "tx_bytes": 12,
}
DIRECT = {"kind": "direct", "endpoint": "203.0.113.9:5000", "mesh_rtt_ms": 9.5, "since": 900.0}


# -- words


def test_a_row_says_path_endpoint_time_bytes_age_reason_and_next_try() -> None:
    assert row("bob", RELAYED, 1030.0) == (
        "bob",
        "relay",
        "198.51.100.10:41000",
        "31.5 ms",
        "1328",
        "3.0 MiB",
        "12 B",
        "30 s",
        "none of 2 addresses answered; we: symmetric; they: symmetric; next try in 12 s",
    )
    assert row("bob", DIRECT, 1030.0)[7:] == ("2 min 10 s", "")


def test_a_pair_without_a_path_has_a_reason_too() -> None:
    assert row("bob", {"kind": "none", "why": "no answer"}, 0.0)[-1] == "no answer"
    assert why({"kind": "none", "next_try": 5}, 10.0) == "next try in 0 s"


def test_the_table_shows_no_control_characters_of_a_stranger() -> None:
    evil = RELAYED | {"why": "\x1b[2Jgone [red]red"}
    session = RunningSession(1, "ab" * 32, (BOB,), {BOB: evil})
    out = io.StringIO()
    Console(file=out, width=200).print(table([session], lambda did: did, 1030.0))
    assert "\x1b" not in out.getvalue()
    assert "[red]red" in out.getvalue()
    assert BOB in out.getvalue()


def test_a_session_is_as_good_as_its_worst_pair() -> None:
    def state(**paths: dict[str, Any]) -> str:
        return state_of([RunningSession(1, "s", tuple(paths), paths)])

    answering = {"answered": 1.0}
    assert state() == "none"
    assert state(bob=DIRECT | answering) == "direct"
    assert state(bob=DIRECT | answering, carol=RELAYED | answering) == "usable"
    assert state(bob=DIRECT | answering, carol=DIRECT) == "none"  # never answered
    assert state(bob=DIRECT | answering, carol={"kind": "none"}) == "none"
    assert state_of([]) == "none"


# -- commands


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIDMESH_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def session(home: Path) -> Iterator[Callable[[dict[str, dict[str, Any]]], None]]:
    """Writes, twice a second, the file of a session in which everybody answers."""
    traces, ended = Traces(home), threading.Event()
    paths: dict[str, dict[str, Any]] = {}

    def write() -> None:
        while not ended.wait(0.1):
            now = round(time.time(), 3)
            noted = {
                did: path if path["kind"] == "none" else path | {"answered": now}
                for did, path in paths.copy().items()
            }
            traces.write(RunningSession(os.getpid(), "ab" * 32, (BOB, CAROL), noted))

    thread = threading.Thread(target=write)
    thread.start()

    def set_paths(new: dict[str, dict[str, Any]]) -> None:
        paths.update(new)
        time.sleep(0.3)

    yield set_paths
    ended.set()
    thread.join()
    traces.remove()


def test_ping_in_a_session_stops_at_the_first_direct_answer(session: Any) -> None:
    session({BOB: DIRECT})
    done = agent("ping", BOB)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{BOB}: ping 1: 9.5 ms by direct 203.0.113.9:5000\n"
    told = json.loads(agent("ping", BOB, "--json").stdout)
    check_shape(told, MESH_PING)
    assert told["direct"] is True


def test_ping_tells_each_relayed_answer_and_at_last_the_reason(session: Any) -> None:
    session({BOB: RELAYED})
    done = agent("ping", BOB, "--count", "2")
    assert done.returncode == Exit.RELAYED
    assert [line.split(": ", 1)[1] for line in done.stdout.splitlines()] == [
        f"ping {n}: 31.5 ms by relay 198.51.100.10:41000" for n in (1, 2)
    ]
    assert "not by a direct path" in done.stderr
    assert "we: symmetric; they: symmetric" in done.stderr


def test_ping_that_was_never_direct_is_one_json_object_and_exit_code_4(session: Any) -> None:
    session({BOB: RELAYED})
    done = agent("ping", BOB, "--count", "1", "--json")
    assert done.returncode == Exit.RELAYED
    told = json.loads(done.stdout)
    check_shape(told, MESH_PING)
    assert (told["direct"], told["why"]) == (False, RELAYED["why"])


def test_ping_of_a_party_without_a_path_is_no_answer(session: Any) -> None:
    session({BOB: {"kind": "none", "why": "UDP blocked there"}})
    done = agent("ping", BOB, "--timeout", "0.5")
    assert done.returncode == Exit.TIMEOUT
    assert "UDP blocked there" in done.stderr


def test_wait_returns_when_all_are_reached_and_asks_more_with_direct(session: Any) -> None:
    session({BOB: DIRECT, CAROL: RELAYED})
    done = agent("wait", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    check_shape(told, WAIT)
    assert told["state"] == "usable"
    refused = agent("wait", "--direct", "--timeout", "0.5")
    assert refused.returncode == Exit.RELAYED
    assert "carol" in refused.stderr
    assert "none of 2 addresses answered" in refused.stderr
    session({CAROL: DIRECT})
    assert agent("wait", "--direct").returncode == 0


def test_wait_without_a_session_or_a_path_is_a_timeout(home: Path, session: Any) -> None:
    session({BOB: {"kind": "none", "why": "UDP blocked there"}})
    lacking = agent("wait", "--timeout", "0.3")
    assert lacking.returncode == Exit.TIMEOUT
    assert "UDP blocked there" in lacking.stderr


def test_wait_without_a_session_says_so(home: Path) -> None:
    done = agent("wait", "--timeout", "0.2")
    assert done.returncode == Exit.TIMEOUT
    assert "no session runs here" in done.stderr


def test_watching_ends_in_peace_and_its_json_is_an_object_a_second(session: Any) -> None:
    session({BOB: DIRECT, CAROL: RELAYED})
    with subprocess.Popen(
        [sys.executable, "-m", "agent", "status", "--watch", "--json"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert errors == ""
    for line in lines:
        check_shape(json.loads(line), STATUS_WATCH)


def agent(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
