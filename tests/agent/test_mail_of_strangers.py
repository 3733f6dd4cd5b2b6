"""What somebody nobody knows can make an agent do by writing to it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from agent.first_profile import make_profile
from agent.mail import strangers
from agent.mail.invitation import NoInvitation, find_mediator
from agent.mail.mailbox import Mailbox
from agent.mail.strangers import Glances, PutOff
from agent.mail.transport import Transport
from identity import did_peer
from identity.document import DidDocument
from identity.keys import Curve, PrivateKey
from identity.keystore import Profile
from messaging.message import Message
from messaging.packing import Outgoing, pack
from messaging.protocols import trust_ping
from resolvers.local import LocalResolver
from resolvers.resolver import ErrorType, ResolutionError
from tests.support.stub_mediator import StubMediator

HELLO = "https://example.org/chat/1.0/hello"


class TarPit(LocalResolver):
    """Hosts that take every question and never answer, as far as they are asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def resolve(self, did: str) -> DidDocument:
        if did.startswith("did:web:"):
            self.asked.append(did)
            await asyncio.sleep(10)
            raise ResolutionError(did, ErrorType.INTERNAL_ERROR, "no answer")
        return await super().resolve(did)


async def from_web(did: str, to: str) -> bytes:
    """An envelope whose sender's document lies at a host of the sender's choice."""
    key, sender = PrivateKey.generate(Curve.X25519), make_profile(None)
    stranger = Profile(did, {f"{did}#key": key})
    shown = await LocalResolver().resolve(sender.did)
    method = replace(shown.verification_methods[0], id=f"{did}#key", key=key.public)
    document = DidDocument(did, (method,), key_agreement=(f"{did}#key",))

    class Known(LocalResolver):
        async def resolve(self, asked: str) -> DidDocument:
            return document if asked == did else await super().resolve(asked)

    return await pack(Message(HELLO), to=to, sender=did, secrets=stranger.secrets, resolver=Known())


async def test_mail_whose_senders_hosts_never_answer_holds_up_nobodys() -> None:
    resolver = TarPit()
    async with StubMediator().running() as at_alice:
        alice, bob = make_profile(at_alice.did), make_profile(at_alice.did)
        for number in range(20):
            await at_alice.put(await from_web(f"did:web:pit.example:{number}", alice.did))
        message = Message(HELLO, {"text": "honest"})
        await at_alice.put(
            await pack(
                message, to=alice.did, sender=bob.did, secrets=bob.secrets, resolver=resolver
            )
        )
        async with Mailbox(alice, resolver) as mailbox, asyncio.timeout(5):
            async for received in mailbox.received():
                assert received.opened.sender == bob.did
                break
    assert len(resolver.asked) <= strangers.LOOKUPS


async def test_whom_we_write_to_is_waited_for() -> None:
    class Slow(TarPit):
        async def resolve(self, did: str) -> DidDocument:
            await asyncio.sleep(2 * strangers.GLANCE_SECONDS)
            return DidDocument(did)

    glances = Glances(Slow())
    with pytest.raises(ResolutionError, match="being looked up"):
        await glances.resolve("did:web:example.org")
    glances.trust("did:web:example.org")
    assert (await glances.resolve("did:web:example.org")).id == "did:web:example.org"
    glances.close()


def test_a_sender_who_cannot_be_looked_up_is_tried_more_and_more_rarely() -> None:
    now = 0.0
    put_off = PutOff(lambda: now)
    waits = []
    for _ in range(10):
        waits.append(put_off.put_off("q1"))
        assert put_off.waits("q1")
        assert not put_off.waits("q2")
        now += waits[-1]
        assert not put_off.waits("q1")
    assert waits == sorted(waits)
    assert waits[0] == strangers.FIRST_WAIT
    assert waits[-1] == strangers.LONGEST_WAIT


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[tuple[str, list[bytes]]]:
    """A service inside our network, and what was sent to it."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1000))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/admin", heard


async def test_answers_go_inside_our_network_only_if_our_mediator_is_there() -> None:
    async with listening() as (uri, heard):
        ways = [Outgoing(uri, b"{}")]
        for mediator in ("https://192.0.2.1", "http://10.1.2.3:8080", "http://8.8.8.8"):
            await strangers.answer_stranger(ways, mediator)
        assert heard == []
        await strangers.answer_stranger(ways, "http://127.0.0.1:8080")
        assert len(heard) == 1


async def test_one_answer_goes_to_few_places() -> None:
    async with listening() as (uri, heard):
        gone = uri.replace("/admin", "/")
        refused = [Outgoing(gone.replace("127.0.0.1", f"127.0.0.{n}"), b"{}") for n in range(2, 9)]
        await strangers.answer_stranger([*refused, Outgoing(uri, b"{}")], "http://127.0.0.1")
        assert heard == []


async def test_a_strangers_ping_reaches_no_service_beside_us(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As seen from an agent whose own mediator is on the open internet."""
    monkeypatch.setattr(strangers, "_INSIDE", ())
    async with listening() as (uri, heard), StubMediator().running() as at_alice:
        alice = make_profile(at_alice.did)
        keys = PrivateKey.generate(Curve.X25519), PrivateKey.generate(Curve.ED25519)
        services = [did_peer.didcomm_service(uri)]
        did = did_peer.create_2([keys[0].public], [keys[1].public], services)
        mallory = Profile(did, {f"{did}#key-1": keys[0], f"{did}#key-2": keys[1]})
        ping = trust_ping.Ping(response_requested=True).to_message()
        await at_alice.put(
            await pack(
                ping, to=alice.did, sender=did, secrets=mallory.secrets, resolver=LocalResolver()
            )
        )
        async with Mailbox(alice, LocalResolver()):
            deadline = time.monotonic() + 5
            while at_alice.queue and time.monotonic() < deadline:
                await asyncio.sleep(0.02)
        assert not at_alice.queue
        assert heard == []


async def test_an_invitation_nested_without_end_is_no_invitation() -> None:
    deep = b"[" * 60_000

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(deep) + deep)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, Transport() as http:
        with pytest.raises(NoInvitation, match="not JSON"):
            await find_mediator(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", http)
