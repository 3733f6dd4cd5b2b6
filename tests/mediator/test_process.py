"""`mediator run` and `mediator show` as processes: restarts, kill -9, and nothing lost."""

import asyncio
import itertools
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from messaging.message import Attachment
from messaging.protocols.out_of_band import Invitation
from tests.support.mediator_client import Party
from tests.support.mediator_process import CHECKOUT, facts, folder, free_port, process, run_argv

SENDERS = 6


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


async def test_what_was_accepted_survives_kill_9_in_order() -> None:
    await crash_rounds(3)


@pytest.mark.slow
async def test_what_was_accepted_survives_20_times_kill_9_in_order() -> None:
    await crash_rounds(20)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be refused")
def test_it_does_not_run_as_root() -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "mediator", "run"], cwd=CHECKOUT, capture_output=True, check=False
    )
    assert outcome.returncode == 7
    assert b"mediator: hint:" in outcome.stderr


async def crash_rounds(rounds: int) -> None:
    """Senders send, the recipient fetches and acknowledges, the mediator dies; again and again.

    Every accepted forward must be delivered, each sender's in its order.
    """
    accepted: list[list[int]] = [[] for _ in range(SENDERS)]
    delivered: list[int] = []
    with folder() as data:
        argv = run_argv(data / "m.db", free_port())
        alice = await registered_party(argv)
        for number in range(rounds):
            with process(argv) as started:
                facts(started)
                async with aiohttp.ClientSession() as alice.http:
                    await send_until_killed(alice, accepted, delivered, started, number * 10_000)
        with process(argv) as started:
            facts(started)
            async with aiohttp.ClientSession() as alice.http:
                while messages := await alice.fetch():
                    await take(alice, messages, delivered)
    everything = set(itertools.chain(*accepted))
    assert len(everything) >= rounds * SENDERS
    assert everything - set(delivered) == set()
    first_seen = {n: place for place, n in reversed(list(enumerate(delivered)))}
    for of_one in accepted:
        places = [first_seen[n] for n in of_one]
        assert places == sorted(places)


async def registered_party(argv: list[str]) -> Party:
    with process(argv) as started:
        there = facts(started)
        async with aiohttp.ClientSession() as http:
            alice = Party(http, there["did"], there["http"])
            await alice.register()
    return alice


async def send_until_killed(
    alice: Party,
    accepted: list[list[int]],
    delivered: list[int],
    mediator: subprocess.Popen[bytes],
    first: int,
) -> None:
    async def send(sender: int) -> None:
        for count in itertools.count():
            number = first + count * SENDERS + sender
            if (await alice.forward(alice.did, {"n": number})).status == 200:
                accepted[sender].append(number)

    async def fetch() -> None:
        while True:
            await take(alice, await alice.fetch(5), delivered)

    async def kill() -> None:
        await asyncio.sleep(random.uniform(0.2, 0.6))
        mediator.kill()

    outcomes = await asyncio.gather(
        *(send(n) for n in range(SENDERS)), fetch(), kill(), return_exceptions=True
    )
    for outcome in outcomes:
        if isinstance(outcome, Exception) and not isinstance(outcome, aiohttp.ClientError):
            raise outcome


async def take(alice: Party, messages: list[Attachment], delivered: list[int]) -> None:
    """Noted before they are acknowledged, so that an answer lost in a crash loses nothing."""
    delivered.extend(message.json["n"] for message in messages)
    await alice.acknowledge([message.id for message in messages])


def shown(file: Path) -> dict[str, str]:
    outcome = subprocess.run(
        [sys.executable, "-m", "mediator", "show", "--data", str(file), "--json"],
        cwd=CHECKOUT,
        capture_output=True,
        check=True,
    )
    value: dict[str, str] = json.loads(outcome.stdout)
    return value
