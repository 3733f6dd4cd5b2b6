"""Killing a mediator under load, again and again, and counting what became of the mail.

Senders send to two recipients, who fetch and acknowledge; then kill -9, at any moment. A forward
counts as accepted when its 200 was read. What is delivered is noted before it is acknowledged, so
that an answer lost in a crash loses nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp

from messaging.errors import MalformedMessage
from tests.support.mediator_client import Party
from tests.support.mediator_process import facts, folder, process, run_argv

SENDERS = 6
PATIENCE = 50  # tries to register, at a mediator that may be a bad one


@dataclass
class Inbox:
    """One recipient: what senders were told is kept, by sender and in order, and what came."""

    party: Party
    accepted: list[list[int]] = field(default_factory=lambda: [[] for _ in range(SENDERS)])
    delivered: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Tally:
    accepted: int
    delivered: int  # different ones; some were accepted although the answer was lost
    lost: int
    strayed: int  # given to another
    disordered: int  # places where a later one of a sender came before an earlier one


async def crash_rounds(rounds: int, module: str = "mediator") -> Tally:
    numbers = itertools.count()
    with folder() as data:
        argv = [module, *run_argv(data / "m.db", _free_port())[1:]]
        inboxes = await _registered(argv)
        for _ in range(rounds):
            with process(argv) as started:
                facts(started)
                await _load_until_killed(inboxes, started, numbers)
        with process(argv) as started:
            facts(started)
            async with aiohttp.ClientSession() as http:
                for inbox in inboxes:
                    inbox.party.http = http
                    while await _take(inbox):
                        pass
    return _tally(inboxes)


def _tally(inboxes: Sequence[Inbox]) -> Tally:
    accepted = delivered = lost = strayed = disordered = 0
    for inbox in inboxes:
        others = {n for other in inboxes if other is not inbox for n in _all(other)}
        first = {n: place for place, n in reversed(list(enumerate(inbox.delivered)))}
        accepted += len(_all(inbox))
        delivered += len(first)
        lost += len(_all(inbox) - first.keys())
        strayed += len(others & first.keys())
        for of_one in inbox.accepted:
            places = [first[n] for n in of_one if n in first]
            disordered += sum(a > b for a, b in itertools.pairwise(places))
    return Tally(accepted, delivered, lost, strayed, disordered)


def _all(inbox: Inbox) -> set[int]:
    return set(itertools.chain(*inbox.accepted))


async def _registered(argv: Sequence[str]) -> list[Inbox]:
    with process(argv) as started:
        there = facts(started)
        async with aiohttp.ClientSession() as http:
            parties = [Party(http, there["did"], there["http"]) for _ in range(2)]
            for party in parties:
                await _register(party)
    return [Inbox(party) for party in parties]


async def _register(party: Party) -> None:
    """With patience: a mediator that answers before it commits is to be found out by the count."""
    for _ in range(PATIENCE):
        try:
            await party.register()
            return
        except (AssertionError, MalformedMessage):  # refused: it knows of no account yet
            await asyncio.sleep(0.05)
    raise AssertionError("a party cannot register")


async def _load_until_killed(
    inboxes: Sequence[Inbox], mediator: subprocess.Popen[bytes], numbers: itertools.count[int]
) -> None:
    async def send(sender: int) -> None:
        for inbox in itertools.cycle(inboxes):
            number = next(numbers)
            if (await inbox.party.forward(inbox.party.did, {"n": number})).status == 200:
                inbox.accepted[sender].append(number)

    async def fetch(inbox: Inbox) -> None:
        while True:
            await _take(inbox, 20)

    async def kill() -> None:
        await asyncio.sleep(random.uniform(0.2, 0.6))
        mediator.kill()

    async with aiohttp.ClientSession() as http:
        for inbox in inboxes:
            inbox.party.http = http
        work = [send(number) for number in range(SENDERS)] + [fetch(inbox) for inbox in inboxes]
        outcomes = await asyncio.gather(*work, kill(), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception) and not isinstance(outcome, aiohttp.ClientError):
            raise outcome


async def _take(inbox: Inbox, limit: int = 100) -> bool:
    messages = await inbox.party.fetch(limit)
    inbox.delivered.extend(message.json["n"] for message in messages)
    await inbox.party.acknowledge([message.id for message in messages])
    return bool(messages)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
