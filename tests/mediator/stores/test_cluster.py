"""Several mediator processes over one PostgreSQL database, as behind a load balancer."""

import asyncio
import itertools
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager

import aiohttp
import pytest

from messaging.message import Attachment
from messaging.protocols.coordinate_mediation import Action, RecipientUpdate, Update
from tests.support.mediator_client import Party
from tests.support.mediator_process import facts, free_port, process, run_argv
from tests.support.postgres import Cluster

pytestmark = pytest.mark.slow

PUBLIC_URL = "http://mediator.example"  # of the load balancer
SENDERS = 4
# So many from one address as no test would otherwise be allowed.
ROOM = ["address-rate", "address-burst", "pair-rate", "pair-burst", "account-rate", "account-burst"]


async def test_all_processes_answer_to_one_did_even_if_they_start_at_once(
    postgres: Cluster,
) -> None:
    with mediators(postgres.database(), 3) as started:
        assert len({one.did for one in started}) == 1


async def test_what_one_accepts_another_pushes(postgres: Cluster) -> None:
    with mediators(postgres.database(), 2) as (here, there):
        async with party(here) as alice:
            await alice.register()
            alice.url = there.url
            async with alice.socket() as live:
                alice.url = here.url
                for number in range(5):
                    reply = await alice.forward(alice.did, {"n": number})
                    assert reply.status == 200
                    [message] = await live.delivered(1)
                    assert message.json == {"n": number}


async def test_a_change_that_one_acted_on_is_not_made_again_by_another(postgres: Cluster) -> None:
    with mediators(postgres.database(), 2) as (here, there):
        async with party(here) as alice:
            await alice.register()
            add = RecipientUpdate((Update("did:example:other", Action.ADD),)).to_message()
            envelope = await alice.seal(add)
            await alice.post(envelope)
            await alice.bind("did:example:other", "remove")
            alice.url = there.url
            again = (await alice.open((await alice.post(envelope)).body)).message
            assert again.body["code"] == "e.p.crypto.message.dejavu"
            assert await alice.bound() == (alice.did,)


async def test_a_killed_process_loses_nothing_and_its_clients_go_on_elsewhere_in_order(
    postgres: Cluster,
) -> None:
    with mediators(postgres.database(), 2) as (doomed, other):
        async with party(doomed) as alice, party(doomed) as sender:
            await alice.register()
            accepted: list[int] = []
            seen: list[int] = []
            stop = asyncio.Event()

            async def send(name: int) -> None:
                """Each number until it is accepted, wherever; then the next."""
                for number in itertools.count(name, SENDERS):
                    if stop.is_set():
                        return
                    for there in itertools.cycle((doomed, other)):
                        if await sent(sender, there, alice.did, number):
                            accepted.append(number)
                            break

            async def kill() -> None:
                await asyncio.sleep(1.0)
                doomed.process.kill()
                doomed.process.wait()
                await asyncio.sleep(1.0)
                stop.set()

            following = asyncio.create_task(follow(alice, (doomed, other), seen))
            async with asyncio.timeout(60):
                await asyncio.gather(kill(), *(send(name) for name in range(SENDERS)))
                while not set(accepted) <= set(seen):
                    await asyncio.sleep(0.05)
            following.cancel()
            assert len(accepted) > 20
            first_seen = list(dict.fromkeys(seen))
            for name in range(SENDERS):
                mine = [number for number in first_seen if number % SENDERS == name]
                assert mine == sorted(mine)


async def test_while_the_database_is_away_nothing_is_accepted_and_sockets_stay(
    postgres: Cluster,
) -> None:
    with mediators(postgres.database(), 1) as (one,):
        async with party(one) as alice:
            await alice.register()
            async with alice.socket() as live:
                await alice.forward(alice.did, {"n": 1})
                assert len(await live.delivered(1)) == 1
                postgres.stop(signal.SIGQUIT)
                try:
                    assert (await alice.forward(alice.did, {"n": 2})).status == 503
                finally:
                    postgres.start()
                assert (await alice.forward(alice.did, {"n": 3})).status == 200
                assert [m.json["n"] for m in await live.delivered(1)] == [3]
                assert [m.json["n"] for m in await alice.fetch()] == [1, 3]


class Started:
    def __init__(self, running: subprocess.Popen[bytes], port: int) -> None:
        self.process = running
        self.url = f"http://127.0.0.1:{port}"
        self.did: str = facts(running)["did"]


@contextmanager
def mediators(database: str, count: int) -> Iterator[list[Started]]:
    with ExitStack() as stack:
        ports = [free_port() for _ in range(count)]
        running = [stack.enter_context(process(argv(database, port))) for port in ports]
        yield [Started(one, port) for one, port in zip(running, ports, strict=True)]


def argv(database: str, port: int) -> list[str]:
    room = [word for name in ROOM for word in (f"--limits-{name}", "1000000")]
    return [*run_argv(database, port), "--public-url", PUBLIC_URL, *room]


@asynccontextmanager
async def party(at: Started) -> AsyncIterator[Party]:
    async with aiohttp.ClientSession() as http:
        yield Party(http, at.did, at.url)


async def sent(sender: Party, there: Started, to: str, number: int) -> bool:
    envelope = await sender.sealed_forward(to, {"n": number})
    sender.url = there.url  # of several that send through it, each says so just before it posts
    try:
        return (await sender.post(envelope)).status == 200
    except aiohttp.ClientError:
        return False


async def follow(alice: Party, places: tuple[Started, ...], seen: list[int]) -> None:
    """Live at one place, and when its socket dies at the next; what waited is fetched first."""

    async def take(messages: list[Attachment]) -> None:
        seen.extend(message.json["n"] for message in messages)
        await alice.acknowledge([message.id for message in messages])

    for there in itertools.cycle(places):
        alice.url = there.url
        try:
            async with alice.socket() as live:
                while messages := await alice.fetch():
                    await take(messages)
                while True:
                    await take(await live.delivered(1))
        except (aiohttp.ClientError, TypeError, TimeoutError):  # the last two: it was closed
            continue
