"""`mediator run` and `mediator show` as processes: restarts, kill -9, and nothing lost."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from messaging.protocols.out_of_band import Invitation
from tests.support.crashes import SENDERS, crash_rounds
from tests.support.mediator_client import Party
from tests.support.mediator_process import CHECKOUT, facts, folder, free_port, process, run_argv


async def test_it_says_first_who_it_is_and_how_to_reach_it() -> None:
    with folder() as data, process(run_argv(data / "m.db")[:-1]) as started:
        assert started.stdout is not None
        did, invitation = (started.stdout.readline().decode().split() for _ in range(2))
        assert did[0] == "did"
        assert invitation[0] == "invitation"
        assert Invitation.from_url(invitation[1]).frm == did[1]


async def test_did_and_invitation_survive_a_restart_and_show_tells_them_always() -> None:
    with folder() as data:
        file, port = data / "m.db", free_port()
        with process(run_argv(file, port)) as started:
            running = facts(started)
            assert shown(file) == {k: v for k, v in running.items() if k != "stun"}
        assert started.returncode == 0
        assert shown(file)["did"] == running["did"]
        with process(run_argv(file, port)) as started:
            assert facts(started)["invitation"] == running["invitation"]


async def test_told_to_stop_it_closes_sockets_and_ends_well() -> None:
    with folder() as data, process(run_argv(data / "m.db")) as started:
        there = facts(started)
        async with aiohttp.ClientSession() as http:
            alice = Party(http, there["did"], there["http"])
            await alice.register()
            async with alice.socket() as live:
                started.send_signal(signal.SIGTERM)
                assert (await live.connection.receive(timeout=5)).data == 1001
            assert started.wait(timeout=5) == 0


async def test_a_socket_that_went_silent_does_not_hold_it_up() -> None:
    with folder() as data, process(run_argv(data / "m.db")) as started:
        port = facts(started)["http"].rpartition(":")[2]
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert b"101" in await reader.readline()
        started.terminate()
        assert started.wait(timeout=8) == 0
        writer.close()


@pytest.mark.parametrize("what", ["file", "port", "STUN port"])
async def test_a_second_mediator_on_the_same_file_or_port_says_so(
    what: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with folder() as data, process(run_argv(data / "m.db")) as started:
        there = facts(started)
        port = there["http"].rpartition(":")[2]
        argv, words = {
            "file": (run_argv(data / "m.db"), "another mediator runs on it"),
            "port": (run_argv(data / "other.db", int(port)), f"127.0.0.1:{port}: address already"),
            "STUN port": (
                [*run_argv(data / "other.db"), "--stun-port", str(there["stun"][0])],
                f"UDP 127.0.0.1, ports 0 and 0 and {there['stun'][0]}: ",
            ),
        }[what]
        with process(argv) as second:
            assert second.wait(timeout=10) == 1
        sentence, hint = capfd.readouterr().err.splitlines()[-2:]
        assert sentence.startswith("mediator: cannot ")
        assert words in sentence
        assert hint.startswith("mediator: hint: ")


@pytest.mark.slow
async def test_what_was_accepted_survives_20_times_kill_9_in_order() -> None:
    tally = await crash_rounds(20)
    assert (tally.lost, tally.strayed, tally.disordered) == (0, 0, 0)
    assert tally.accepted >= 20 * SENDERS


async def test_a_mediator_that_answers_before_it_commits_is_found_out() -> None:
    """Or the count above would count nothing; at the latest after as many kills."""
    for _ in range(5):
        tally = await crash_rounds(4, "tests.support.hasty_mediator")
        if tally.lost:
            return
    pytest.fail("it lost nothing in 20 kills")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be refused")
def test_it_does_not_run_as_root() -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "mediator", "run"], cwd=CHECKOUT, capture_output=True, check=False
    )
    assert outcome.returncode == 7
    assert b"mediator: hint:" in outcome.stderr


def shown(file: Path) -> dict[str, str]:
    outcome = subprocess.run(
        [sys.executable, "-m", "mediator", "show", "--data", str(file), "--json"],
        cwd=CHECKOUT,
        capture_output=True,
        check=True,
    )
    value: dict[str, str] = json.loads(outcome.stdout)
    return value
