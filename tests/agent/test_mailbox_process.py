"""Mailboxes at a real mediator, which is a process and can be killed."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import urlsplit

import pytest

from agent.first_profile import make_profile
from agent.mail.account import Account
from agent.mail.mailbox import BATCH, Mailbox
from agent.mail.transport import Transport
from identity.keystore import Profile
from messaging.message import Message
from resolvers.registry import default_registry
from tests.support import mediator_process

RESOLVER = default_registry()
COUNT = 30
HELLO = "https://example.org/chat/1.0/hello"


async def test_live_mail_goes_from_one_party_to_the_other() -> None:
    with (
        mediator_process.folder() as folder,
        mediator_process.process(mediator_process.run_argv(folder / "m.db")) as started,
    ):
        facts = mediator_process.facts(started)
        alice, bob = make_profile(facts["did"]), make_profile(facts["did"])
        async with Mailbox(alice, RESOLVER) as sender, Mailbox(bob, RESOLVER) as reader:
            await sender.register()
            await reader.register()
            receiving = asyncio.create_task(receive(reader, COUNT))
            for number in range(COUNT):
                await sender.send(Message(HELLO, {"number": number}), bob.did)
            assert await receiving == list(range(COUNT))
            assert 0 < await sender.ping(bob.did, 10) < 10
            servers = await sender.account.stun_servers()
            assert [server.host for server in servers] == ["127.0.0.1", "127.0.0.1"]
            await emptied(bob)


async def test_more_unread_mail_than_a_delivery_holds_hides_nothing_behind_it() -> None:
    with (
        mediator_process.folder() as folder,
        mediator_process.process(mediator_process.run_argv(folder / "m.db")) as started,
    ):
        did = mediator_process.facts(started)["did"]
        bob = await registered(did)
        async with Mailbox(make_profile(did), RESOLVER) as sender:
            for number in range(BATCH + 3):
                await sender.send(Message(HELLO, {"number": number}), bob.did)
        async with Mailbox(bob, RESOLVER) as reader:
            assert await receive(reader, 1, unread=BATCH + 2) == [BATCH + 2]


@pytest.mark.slow
async def test_nothing_is_lost_or_doubled_when_the_mediator_is_killed_and_comes_back() -> None:
    with mediator_process.folder() as folder:
        data = folder / "m.db"
        with mediator_process.process(mediator_process.run_argv(data)) as started:
            facts = mediator_process.facts(started)
            port = urlsplit(facts["http"]).port
            assert port is not None
            alice, bob = await registered(facts["did"]), await registered(facts["did"])
            sending = asyncio.create_task(send(alice, bob.did))
            receiving = asyncio.create_task(receive_all(bob))
            await asyncio.sleep(0.4)
            started.kill()
            started.wait()
        await asyncio.sleep(0.5)
        with mediator_process.process(mediator_process.run_argv(data, port)) as again:
            mediator_process.facts(again)
            await sending
            assert sorted(await receiving) == list(range(COUNT))


async def registered(mediator: str) -> Profile:
    profile = make_profile(mediator)
    async with Mailbox(profile, RESOLVER) as mailbox:
        await mailbox.register()
    return profile


async def send(profile: Profile, to: str) -> None:
    async with Mailbox(profile, RESOLVER) as mailbox:
        for number in range(COUNT):
            await mailbox.send(Message(HELLO, {"number": number}), to, int(time.time()) + 600)
            await asyncio.sleep(0.02)


async def receive_all(profile: Profile) -> list[int]:
    """Everything, and then a little longer for what should not come."""
    async with Mailbox(profile, RESOLVER) as mailbox:
        numbers = await receive(mailbox, COUNT)
        ended = asyncio.create_task(receive(mailbox, 1))
        await asyncio.wait({ended}, timeout=1)
        assert not ended.done()
        ended.cancel()
        return numbers


async def receive(mailbox: Mailbox, count: int, *, unread: int = 0) -> list[int]:
    """Numbers of the messages behind those that are left `unread`."""
    numbers = []
    stream = mailbox.received()
    async with asyncio.timeout(60):
        for _ in range(unread):
            await anext(stream)
        while len(numbers) < count:
            received = await anext(stream)
            await received.acknowledge()
            numbers.append(received.opened.message.body["number"])
    await stream.aclose()
    return numbers


async def emptied(profile: Profile) -> None:
    async with Transport() as transport, asyncio.timeout(10):
        account = Account(profile, RESOLVER, transport)
        while (await account.queue()).messages:
            await asyncio.sleep(0.05)
