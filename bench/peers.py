"""Durable forwards, ours beside other DIDComm v2 mediators, interleaved on the same machine.

    python -m bench.peers [--forwards 1000] [--rounds 3]

Veramo's mediator plugins come from npm (`scripts/interop veramo_mediator`), once with its store in
memory, once on PostgreSQL. Any other is measured if somebody has it: DIDMESH_BENCH_PEERS names a
folder with one executable for each, which becomes that mediator (`exec`) and prints a line of JSON
when it is ready, with `did` and `http`, and if they apply `keeps` (where its mail is: "memory"),
`mediation` ("2.0", if it does not know 3.0), and two URLs beside the protocol: `recipients` takes
the DID of one by POST, `kept` tells the number of messages that wait. Each must read did:peer:2.

What another's 2xx promises is for its documents to say: ours is on disk. The floor opens and checks
nothing, and commits the same bytes to SQLite, as `bench.mediator` explains.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp

from bench.load import post_all, tree_cpu_seconds
from bench.mediator import FORWARD_SIZE, RECIPIENTS, floor, sealed_forward
from messaging.message import Message
from messaging.protocols import coordinate_mediation as mediation
from messaging.protocols import message_pickup as pickup
from tests.support.mediator_client import Party
from tests.support.mediator_process import CHECKOUT, facts, folder, process, run_argv
from tests.support.postgres import cluster, find_programs

VARIABLE = "DIDMESH_BENCH_PEERS"
VERAMO = CHECKOUT / ".interop" / "veramo_mediator"
GLUE = CHECKOUT / "tests" / "support" / "peers" / "veramo_mediator.mjs"
WARMING = 100  # forwards before the clock starts
OURS, FLOOR = "didmesh", "floor"
ELSEWHERE = (
    ("roots-id/didcomm-mediator", "Python"),
    ("estoc-net/didcomm-mediator", "Node"),
)


@dataclass(frozen=True)
class Started:
    pids: Sequence[int]  # of the mediator and of its database, with all their children
    facts: dict[str, Any]


@dataclass(frozen=True)
class Peer:
    name: str
    keeps: str  # where its mail is when it has answered; empty if it says so itself
    start: Callable[[], AbstractContextManager[Started]]


@dataclass(frozen=True)
class Run:
    per_second: float
    cpu_ms: float  # a forward, its database's included


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--forwards", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    peers = [Peer(OURS, "file, synchronised", _ours), *_veramo(), *_others()]
    peers.append(Peer(FLOOR, "file, synchronised", _floor))
    runs: dict[str, list[Run]] = {peer.name: [] for peer in peers}
    keeps: dict[str, str] = {}
    for number in range(options.rounds):
        for peer in peers:
            with peer.start() as started:
                keeps[peer.name] = peer.keeps or started.facts.get("keeps", "not said")
                run = asyncio.run(_measure(peer, started, options.forwards))
            print(f"round {number + 1}: {peer.name}: {run.per_second:.0f}/s", flush=True)
            runs[peer.name].append(run)
    _print(keeps, runs)
    _print_missing(peers)


# Who there is


def _veramo() -> Iterator[Peer]:
    if shutil.which("node") is None or not (VERAMO / ".installed").exists():
        return
    yield Peer("veramo", "memory", lambda: _node([]))
    if find_programs() is not None:
        yield Peer("veramo, PostgreSQL", "database, synchronised", _veramo_on_postgres)


def _others() -> Iterator[Peer]:
    if VARIABLE not in os.environ:
        return
    for path in sorted(Path(os.environ[VARIABLE]).iterdir()):
        if os.access(path, os.X_OK) and path.is_file():
            yield Peer(path.name, "", lambda path=path: _running([path.resolve()]))


def _print_missing(peers: Sequence[Peer]) -> None:
    there = " ".join(peer.name for peer in peers)
    if "veramo" not in there:
        print("not here: veramo (Node): needs node and npm, then scripts/interop veramo_mediator")
    elif "PostgreSQL" not in there:
        print("not here: veramo on PostgreSQL: needs the server's programs (initdb)")
    for name, language in ELSEWHERE:
        if name.partition("/")[0] not in there:
            print(
                f"not here: {name} ({language}): a public repository, to be built as its README"
                f" says; then an executable that starts it, in a folder named by {VARIABLE}"
            )


# How they are started


@contextmanager
def _ours() -> Iterator[Started]:
    with folder() as data, process(run_argv(data / "m.db")) as started:
        yield Started([started.pid], facts(started))


@contextmanager
def _floor() -> Iterator[Started]:
    with floor() as (pid, there):
        yield Started([pid], there)


@contextmanager
def _veramo_on_postgres() -> Iterator[Started]:
    with cluster() as server, _node([server.database()]) as started:
        yield Started([*started.pids, server.pid], started.facts)


def _node(arguments: Sequence[str]) -> AbstractContextManager[Started]:
    return _running(["node", GLUE, VERAMO, *arguments])


@contextmanager
def _running(argv: Sequence[str | Path]) -> Iterator[Started]:
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as started:
        try:
            assert started.stdout is not None
            line = started.stdout.readline()
            if not line:
                raise SystemExit(f"{argv[0]} ended before it was ready")
            yield Started([started.pid], json.loads(line))
        finally:
            started.terminate()


# A round


async def _measure(peer: Peer, started: Started, count: int) -> Run:
    there = started.facts
    if peer.name == FLOOR:
        return await _load(started, [os.urandom(FORWARD_SIZE) for _ in range(WARMING + count)])
    async with aiohttp.ClientSession() as http:
        parties = [Party(http, there["did"], there["http"]) for _ in range(RECIPIENTS)]
        for party in parties:
            await _register(party, there)
        envelopes = [
            await sealed_forward(parties[0], parties[number % RECIPIENTS])
            for number in range(WARMING + count)
        ]
        run = await _load(started, envelopes)
        kept = await _kept(parties, there)
        assert kept == len(envelopes), f"{peer.name} answered {len(envelopes)} and keeps {kept}"
        return run


async def _load(started: Started, envelopes: Sequence[bytes]) -> Run:
    url, count = started.facts["http"], len(envelopes) - WARMING
    await post_all(url, envelopes[:WARMING])
    cpu, began = _cpu(started), time.perf_counter()
    await post_all(url, envelopes[WARMING:])
    took, used = time.perf_counter() - began, _cpu(started) - cpu
    return Run(count / took, 1000 * used / count)


def _cpu(started: Started) -> float:
    return sum(tree_cpu_seconds(pid) for pid in started.pids)


async def _register(party: Party, there: dict[str, Any]) -> None:
    if "recipients" in there:
        await party.http.post(there["recipients"], data=party.did)
        return
    version = mediation.Version.V2 if there.get("mediation") == "2.0" else mediation.Version.V3
    await _ask(party, mediation.MediateRequest().to_message(version))
    update = mediation.Update(party.did, mediation.Action.ADD)
    answer = await _ask(party, mediation.RecipientUpdate((update,)).to_message(version))
    [updated] = mediation.RecipientUpdateResponse.from_message(answer).updated
    assert updated.result in {mediation.Result.SUCCESS, mediation.Result.NO_CHANGE}


async def _kept(parties: Sequence[Party], there: dict[str, Any]) -> int:
    if "kept" in there:
        async with parties[0].http.get(there["kept"]) as answer:
            return int(await answer.text())
    answers = [await _ask(party, pickup.StatusRequest().to_message()) for party in parties]
    return sum(pickup.Status.from_message(answer).message_count for answer in answers)


async def _ask(party: Party, message: Message) -> Message:
    """As the strictest of them wants it."""
    envelope = await party.seal(replace(message, return_route="all"))
    reply = await party.post(envelope, **{"Content-Type": "application/didcomm-encrypted+json"})
    return (await party.open(reply.body)).message


# What is said


def _print(keeps: Mapping[str, str], runs: Mapping[str, Sequence[Run]]) -> None:
    ours = _median(runs[OURS])
    print(f"\n{'':20}{'keeps mail in':24}{'forwards/s':>10}{'CPU ms':>8}   didmesh is")
    for name, where in keeps.items():
        run = _median(runs[name])
        line = f"{name:20}{where:24}{run.per_second:10.0f}{run.cpu_ms:8.2f}"
        if name != OURS:
            line += (
                f"   {ours.per_second / run.per_second:.1f} times as fast,"
                f" with {ours.cpu_ms / run.cpu_ms:.2f} of the CPU"
            )
        print(line)


def _median(runs: Sequence[Run]) -> Run:
    return Run(
        statistics.median(run.per_second for run in runs),
        statistics.median(run.cpu_ms for run in runs),
    )


if __name__ == "__main__":
    main()
