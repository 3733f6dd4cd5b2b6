"""Routing 2.0 beyond one mediator: who mail is passed on to, when, and where it never goes."""

import asyncio
import contextlib
import json
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from identity import did_key
from identity.codec import b64url_encode
from identity.did_peer import create_2, create_4, short_form
from identity.keys import Curve, PrivateKey
from mediator.app import Mediator, running
from mediator.delivery.outbound import HOPS, MAX_HOPS
from mediator.entrance.listening import is_own
from mediator.settings.config import Config, Limits
from messaging.jwe import encrypt_anonymously
from messaging.message import Attachment, Message
from messaging.packing import pack, route, unpack
from messaging.protocols.report_problem import ProblemReport
from messaging.protocols.routing import Forward
from messaging.protocols.trust_ping import Ping
from resolvers.guarded import networks
from resolvers.registry import default_registry
from tests.support.mediator_client import Party, Reply
from tests.support.mediator_process import facts, folder, process, run_argv
from tests.support.metrics import carried

LOOPBACK = networks(["127.0.0.0/8", "::1/128"])


@pytest.fixture
async def mediator(tmp_path: Path, limits: Limits) -> AsyncIterator[Mediator]:
    async with running(_config(tmp_path / "m.db", limits=limits)) as mediator:
        yield mediator


@pytest.fixture
async def far(tmp_path: Path) -> AsyncIterator[Mediator]:
    """Another mediator."""
    async with running(_config(tmp_path / "far.db")) as far:
        yield far


@pytest.fixture
async def carol(far: Mediator) -> AsyncIterator[Party]:
    """Who has her mail at the other mediator."""
    async with aiohttp.ClientSession() as http:
        carol = Party(http, far.identity.did, far.identity.public_url)
        await carol.register()
        yield carol


# Passing on


async def test_a_forward_for_another_mediator_is_passed_on(
    alice: Party, far: Mediator, carol: Party
) -> None:
    inner = await carol.sealed_forward(carol.did, {"n": 1})
    reply = await alice.forward(far.identity.did, orjson.loads(inner))
    assert (reply.status, reply.body) == (200, b"")
    assert [a.json for a in await _arrived(carol, 1)] == [{"n": 1}]


@pytest.mark.parametrize("scheme", ["http", "ws"])
async def test_next_may_be_the_url_of_a_mediator(
    alice: Party, far: Mediator, carol: Party, scheme: str
) -> None:
    inner = await carol.sealed_forward(carol.did, {"n": 1})
    url = far.identity.public_url if scheme == "http" else far.identity.websocket_url
    assert (await alice.forward(url, orjson.loads(inner))).status == 200
    assert [a.json for a in await _arrived(carol, 1)] == [{"n": 1}]


async def test_mail_for_a_party_elsewhere_is_brought_to_its_mediator(
    alice: Party, carol: Party
) -> None:
    """Her document says where: wrapped once more, as a sender would have."""
    assert (await alice.forward(carol.did, {"n": 1})).status == 200
    assert [a.json for a in await _arrived(carol, 1)] == [{"n": 1}]


async def test_what_is_passed_on_keeps_its_order(alice: Party, carol: Party) -> None:
    for number in range(12):
        await alice.forward(carol.did, {"n": number})
    assert [a.json["n"] for a in await _arrived(carol, 12)] == list(range(12))


async def test_all_attachments_are_passed_on(alice: Party, carol: Party) -> None:
    await alice.forward(carol.did, {"n": 1}, {"n": 2}, {"n": 3})
    assert [a.json["n"] for a in await _arrived(carol, 3)] == [1, 2, 3]


async def test_a_sender_wraps_for_nested_mediators_by_the_recipients_document(
    mediator: Mediator, far: Mediator, carol: Party
) -> None:
    """Sender -> our mediator -> her mediator -> her: the sender's own wrapping works with it."""
    outer, inner = mediator.identity.did, far.identity.did
    encryption = PrivateKey.generate(Curve.X25519)
    service = {"t": "dm", "s": {"uri": outer, "a": ["didcomm/v2"], "r": [inner]}}
    dave = create_2([encryption.public], [], [service])
    assert await carol.bind(dave) == "success"
    envelope = await pack(
        Ping().to_message(),
        to=dave,
        sender=carol.did,
        secrets=carol.secrets,
        resolver=carol.resolver,
    )
    [first, *_] = await route(envelope, to=dave, resolver=carol.resolver)
    async with carol.http.post(first.uri, data=first.envelope) as answer:
        assert answer.status == 200
    [letter] = await _arrived(carol, 1)
    opened = await unpack(
        orjson.dumps(letter.json),
        secrets={f"{dave}#key-1": encryption},
        resolver=carol.resolver,
        now=int(time.time()),
    )
    assert opened.message.type == Ping.TYPE


async def test_who_is_bound_here_has_its_mail_here_whatever_its_document_says(
    alice: Party, carol: Party
) -> None:
    assert await alice.bind(carol.did) == "success"
    await alice.forward(carol.did, {"n": 1})
    assert [a.json for a in await alice.fetch()] == [{"n": 1}]
    assert await carol.fetch() == []


async def test_a_mediator_that_is_away_gets_it_when_it_is_back(
    alice: Party, tmp_path: Path
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        async with running(_config(tmp_path / "away.db")) as away:
            carol = Party(http, away.identity.did, away.identity.public_url)
            await carol.register()
        for number in range(3):
            assert (await alice.forward(carol.did, {"n": number})).status == 200
        await asyncio.sleep(0.5)
        url, port = away.identity.public_url, away.listens[1]
        await stack.enter_async_context(running(_config(tmp_path / "away.db", port, url)))
        assert [a.json["n"] for a in await _arrived(carol, 3)] == [0, 1, 2]


async def test_mail_waits_for_its_expiry_and_no_longer(
    mediator: Mediator, alice: Party, carol: Party
) -> None:
    await alice.forward(carol.did, {"n": 1}, expires_time=int(time.time()) - 1)
    await alice.forward(carol.did, {"n": 2})
    assert [a.json["n"] for a in await _arrived(carol, 1)] == [2]


# Where it never goes


SPELLINGS = {
    "as it is": lambda url: url,
    "with a path": lambda url: f"{url}/",
    "with another path": lambda url: f"{url}/ws?x=y",
    "in capitals": lambda url: url.replace("http", "HTTP"),
    "as a WebSocket": lambda url: url.replace("http", "ws") + "/ws",
    "percent-encoded": lambda url: url.replace("127", "%31%32%37"),
    "with blanks": lambda url: f" {url} ",
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
async def test_its_own_url_is_not_passed_on_to_however_it_is_spelled(
    alice: Party, mediator: Mediator, spelling: Callable[[str], str]
) -> None:
    reply = await alice.forward(spelling(mediator.identity.public_url), {"n": 1})
    assert (reply.status, await _code(alice, reply)) == (400, "e.p.msg.bad-next")


@pytest.mark.parametrize(
    ("public", "spelled"),
    [
        ("http://mediator.example", "http://mediator.example:80/x"),
        ("http://mediator.example:80", "HTTP://MEDIATOR.EXAMPLE"),
        ("https://mediator.example/a", "https://mediator.example:443/b"),
        ("https://mediator.example", "wss://mediator.example./ws"),
        ("https://Mediator.Example:8443", "https://mediator.example:8443"),
        ("http://[::1]:8080", "http://[0:0:0:0:0:0:0:1]:8080/"),
    ],
)
async def test_one_door_has_many_names(tmp_path: Path, public: str, spelled: str) -> None:
    config = _config(tmp_path / "p.db", public_url=public)
    async with running(config) as mediator, aiohttp.ClientSession() as http:
        alice = Party(http, mediator.identity.did, f"http://127.0.0.1:{mediator.listens[1]}")
        assert (await alice.forward(spelled, {"n": 1})).status == 400


async def test_its_own_dids_are_not_passed_on_to_in_any_form(
    tmp_path: Path, mediator: Mediator, alice: Party
) -> None:
    did = mediator.identity.did
    for spelled in (did, f"{did}#key-1", f"{did}?service=x", short_form(did)):
        assert (await alice.forward(str(spelled), {"n": 1})).status == 400, spelled


async def test_its_own_did_web_is_not_passed_on_to(tmp_path: Path) -> None:
    config = _config(tmp_path / "w.db", public_url="https://mediator.example:8443/a")
    async with running(config) as mediator, aiohttp.ClientSession() as http:
        alice = Party(http, mediator.identity.did, f"http://127.0.0.1:{mediator.listens[1]}")
        web = str(mediator.identity.web_did)
        assert web == "did:web:mediator.example%3A8443:a"
        for spelled in (web, f"{web}#key-1", web.replace("%3A", "%3a"), web.replace("med", "MED")):
            assert (await alice.forward(spelled, {"n": 1})).status == 400, spelled


async def test_by_another_name_for_this_host_it_does_not_reach_itself_either(
    alice: Party, mediator: Mediator
) -> None:
    """A name that we do not know as ours: it is found out where the connection begins."""
    inner = orjson.loads(await alice.sealed_forward(alice.did, {"n": 1}))
    reply = await alice.forward(f"http://localhost:{mediator.listens[1]}/", inner)
    assert reply.status == 200
    await _until(lambda: carried(mediator, "dropped") == 1)
    assert carried(mediator, "sent") == 0
    assert await alice.fetch() == []


def test_who_listens_everywhere_is_found_under_every_address_of_its_host() -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        port = listener.getsockname()[1]
        own = is_own(listener)
        assert own(ip_address("127.0.0.1"), port)
        assert own(ip_address("127.1.2.3"), port)
        assert not own(ip_address("9.9.9.9"), port)
        assert not own(ip_address("127.0.0.1"), port + 1)


async def test_a_document_that_names_this_url_as_endpoint_is_mail_for_nobody(
    alice: Party, mediator: Mediator
) -> None:
    key = PrivateKey.generate(Curve.X25519).public
    services = [{"t": "dm", "s": {"uri": mediator.identity.public_url, "a": ["didcomm/v2"]}}]
    assert (await alice.forward(create_2([key], [], services), {"n": 1})).status == 200
    assert await _parcels(mediator) is None


async def test_a_document_that_names_this_mediator_is_mail_for_nobody(
    stranger: Party, mediator: Mediator
) -> None:
    assert (await stranger.forward(stranger.did, {"n": 1})).status == 200
    assert await _parcels(mediator) is None


async def test_where_mail_leads_is_asked_of_known_and_unknown_recipients_alike(
    alice: Party, stranger: Party, mediator: Mediator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the time that an answer takes would tell them apart."""
    asked: list[str] = []

    async def leads_elsewhere(did: str) -> bool:
        asked.append(did)
        return False

    monkeypatch.setattr(mediator.carrier, "leads_elsewhere", leads_elsewhere)
    for did in (alice.did, stranger.did):
        await alice.forward(did, {"n": 1})
    assert asked == [alice.did, stranger.did]


async def test_a_private_address_is_not_gone_to(
    tmp_path: Path, far: Mediator, carol: Party
) -> None:
    """Without the setting that allows it, a stranger cannot make us knock at our neighbours'."""
    config = Config(tmp_path / "g.db", "127.0.0.1", 0, stun_ports=(0,), metrics=None)
    async with running(config) as mediator, aiohttp.ClientSession() as http:
        alice = Party(http, mediator.identity.did, mediator.identity.public_url)
        url = far.identity.public_url
        reply = await alice.forward(url, {"n": 1})
        assert (reply.status, await _code(alice, reply)) == (400, "e.p.msg.bad-next")
        by_name = url.replace("127.0.0.1", "localhost")  # what a name means is seen later
        inner = orjson.loads(await carol.sealed_forward(carol.did, {"n": 1}))
        assert (await alice.forward(by_name, inner)).status == 200
        await _until(lambda: carried(mediator, "dropped") == 1)
        assert await carol.fetch() == []


async def test_after_enough_hops_it_goes_no_further(alice: Party, carol: Party) -> None:
    forward = await alice.sealed_forward(carol.did, {"n": 1})
    assert (await alice.post(forward, **{HOPS: str(MAX_HOPS - 1)})).status == 200
    reply = await alice.post(forward, **{HOPS: str(MAX_HOPS)})
    assert (reply.status, await _code(alice, reply)) == (400, "e.p.msg.too-many-hops")
    for nonsense in ("-1", "ten", "1e9", "9" * 50):
        assert (await alice.post(forward, **{HOPS: nonsense})).status == 400
    own = await alice.sealed_forward(alice.did, {"n": 1})
    assert (await alice.post(own, **{HOPS: str(MAX_HOPS)})).status == 200  # it is there already


async def test_two_mediators_that_name_each_other_end(
    mediator: Mediator, far: Mediator, alice: Party, carol: Party
) -> None:
    """As often as the sender wrapped it, and each hop is counted."""
    envelope: dict[str, Any] = orjson.loads(await carol.sealed_forward(carol.did, {"n": 1}))
    for _ in range(2):
        for hop, to in ((mediator, far), (far, mediator)):
            forward = Forward(to.identity.did, (Attachment(json=envelope),)).to_message()
            sealed = await pack(
                forward,
                to=hop.identity.did,
                sender=None,
                secrets={},
                resolver=carol.resolver,
            )
            envelope = orjson.loads(sealed)
    # far -> mediator -> far -> mediator -> far: sent to far first.
    assert (await carol.post(orjson.dumps(envelope))).status == 200
    assert [a.json for a in await _arrived(carol, 1)] == [{"n": 1}]


# What is refused


async def test_links_are_refused_with_their_own_code(alice: Party) -> None:
    link = Attachment(links=("https://example.org/x",), hash="x")
    message = Message(Forward.TYPE, {"next": alice.did}, attachments=(link,))
    reply = await alice.post(await alice.seal(message, anonymous=True))
    assert (reply.status, await _code(alice, reply)) == (400, "e.p.msg.links")


@pytest.mark.parametrize(
    "next_",
    [
        "http://",
        "ws://:80",
        "http://a:99999/",
        "ftp://a/",
        "https://[::1",
        "http:///x",
        "http://a\0b/",
    ],
)
async def test_next_that_leads_nowhere_is_refused(alice: Party, next_: str) -> None:
    reply = await alice.forward(next_, {"n": 1})
    assert (reply.status, await _code(alice, reply)) == (400, "e.p.msg.bad-next")


async def test_a_mediator_that_is_away_cannot_fill_the_queue(alice: Party, tmp_path: Path) -> None:
    async with running(_config(tmp_path / "away.db")) as away:
        pass
    for number in range(20):
        assert (await alice.forward(away.identity.did, {"n": number})).status == 200
    reply = await alice.forward(away.identity.did, {"n": 20})
    code = await _code(alice, reply)
    assert (reply.status, code) == (429, "e.p.me.res.storage.outgoing-full")


async def test_an_acknowledgement_asked_for_is_not_given(alice: Party, carol: Party) -> None:
    for to in (alice.did, carol.did):
        reply = await alice.forward(to, {"n": 1}, please_ack=("",), return_route="all")
        assert (reply.status, reply.body) == (200, b"")


# Delay


async def test_mail_is_held_for_as_long_as_the_forward_says(alice: Party) -> None:
    began = time.monotonic()
    assert (await _forward_later(alice, 600)).status == 200
    assert await alice.fetch() == []
    assert len(await _arrived(alice, 1)) == 1
    assert 0.55 < time.monotonic() - began < 5


async def test_a_negative_delay_is_a_random_time_up_to_that(
    alice: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr("secrets.randbelow", lambda n: asked.append(n) or 0)
    assert (await _forward_later(alice, -5000)).status == 200
    assert asked == [5001]
    assert len(await alice.fetch()) == 1


async def test_a_delay_applies_to_what_is_passed_on_too(alice: Party, carol: Party) -> None:
    began = time.monotonic()
    forward = Forward(carol.did, (Attachment(json={"n": 1}),), 500).to_message()
    assert (await alice.post(await alice.seal(forward, anonymous=True))).status == 200
    await _arrived(carol, 1)
    assert time.monotonic() - began > 0.45


@pytest.mark.parametrize("delay", [24 * 3600 * 1000 + 1, -(24 * 3600 * 1000) - 1, 10**15])
async def test_nobody_may_ask_for_a_longer_delay(alice: Party, delay: int) -> None:
    reply = await _forward_later(alice, delay)
    assert (reply.status, await _code(alice, reply)) == (400, "e.p.msg.delay-too-long")


@pytest.mark.parametrize("delay", [24 * 3600 * 1000, -24 * 3600 * 1000])
async def test_a_day_is_not_too_long(alice: Party, delay: int) -> None:
    assert (await _forward_later(alice, delay)).status == 200


async def test_a_delay_for_nobody_looks_like_one_for_somebody(
    alice: Party, stranger: Party
) -> None:
    here, nowhere = await _forward_later(alice, 9), await _forward_later(alice, 9, stranger.did)
    assert here == nowhere


# Spellings of a recipient


async def test_a_recipient_is_found_by_its_key_as_did_key(alice: Party) -> None:
    """The last hop knows a key; whose it is, the mediator learned when it was bound."""
    key = did_key.create(alice.secrets[f"{alice.did}#key-1"].public)
    for number, spelled in enumerate((key, f"{key}#{key.removeprefix('did:key:')}")):
        await alice.forward(spelled, {"n": number})
    assert [a.json["n"] for a in await alice.fetch()] == [0, 1]


async def test_by_a_key_mail_is_queued_once_for_the_account(alice: Party) -> None:
    key = alice.secrets[f"{alice.did}#key-1"].public
    other = create_2([key], [], [])
    assert await alice.bind(other) == "success"
    await alice.forward(did_key.create(key), {"n": 1})
    assert len(await alice.fetch()) == 1


async def test_a_key_leads_to_whoever_proved_a_did_that_has_it(alice: Party, bob: Party) -> None:
    """A squatter may write our key into a DID of its own."""
    key = PrivateKey.generate(Curve.X25519).public
    squatted = create_2([key], [], [])
    assert await bob.bind(squatted) == "success"
    alice_key = did_key.create(alice.secrets[f"{alice.did}#key-1"].public)
    assert await bob.bind(create_2([alice.secrets[f"{alice.did}#key-1"].public], [], []))
    await bob.forward(alice_key, {"n": 1})
    assert len(await alice.fetch()) == 1
    assert await bob.fetch() == []


async def test_old_and_new_shapes_of_did_peer_2_are_found_as_they_were_bound(alice: Party) -> None:
    encryption = PrivateKey.generate(Curve.X25519).public.to_multikey()
    for number, service in enumerate(
        (
            {"t": "dm", "s": "https://a.example", "r": [], "a": ["didcomm/v2"]},
            {"t": "dm", "s": {"uri": "https://a.example", "r": [], "a": ["didcomm/v2"]}},
            [],
        )
    ):
        did = f"did:peer:2.E{encryption}.S{b64url_encode(orjson.dumps(service))}"
        assert await alice.bind(did) == "success"
        await alice.forward(f"{did}#6LSomething", {"n": number})
        await alice.bind(did, "remove") if number == 2 else None
        if number < 2:
            assert [a.json["n"] for a in await alice.fetch(recipient=did)] == [number]


async def test_a_long_did_peer_4_elsewhere_is_passed_on_by_its_long_form(
    alice: Party, far: Mediator, carol: Party
) -> None:
    """The short form would say nothing of where its mail goes."""
    multikey = PrivateKey.generate(Curve.X25519).public.to_multikey()
    long = create_4(
        {
            "verificationMethod": [
                {"id": "#key-1", "type": "Multikey", "publicKeyMultibase": multikey}
            ],
            "keyAgreement": ["#key-1"],
            "service": [
                {
                    "id": "#s",
                    "type": "DIDCommMessaging",
                    "serviceEndpoint": {"uri": far.identity.did, "accept": ["didcomm/v2"]},
                }
            ],
        }
    )
    assert await carol.bind(long) == "success"
    assert (await alice.forward(long, {"n": 1})).status == 200
    assert [a.json["n"] for a in await _arrived(carol, 1)] == [1]


# Two processes, and one that is killed


@pytest.mark.slow
async def test_two_processes_pass_mail_on_and_none_is_lost_when_one_is_killed() -> None:
    with folder() as data, chain(data) as (near, far):
        async with aiohttp.ClientSession() as http:
            carol = Party(http, far.did, far.url)
            await carol.register()
            sender = Party(http, near.did, near.url)
            for number in range(10):
                assert (await sender.forward(carol.did, {"n": number})).status == 200
            assert [a.json["n"] for a in await _arrived(carol, 10)] == list(range(10))
            far.kill()
            accepted = 10
            while accepted < 15:  # for a mediator that is away
                assert (await sender.forward(carol.did, {"n": accepted})).status == 200
                accepted += 1
            forward = Forward(carol.did, (Attachment(json={"n": 15}),), 500).to_message()
            assert (await sender.post(await sender.seal(forward, anonymous=True))).status == 200
            near.kill()
            far.start()
            near.start()
            letters = [a.json["n"] for a in await _arrived(carol, 16, timeout=60)]
            assert sorted(letters) == list(range(16))
            letters.remove(15)  # which was to wait: it has no place among the others
            assert letters == list(range(15))


@dataclass
class Node:
    """A mediator process that may be killed and started again."""

    argv: list[str]
    stack: contextlib.ExitStack
    did: str = ""
    url: str = ""

    def start(self) -> None:
        self.process = self.stack.enter_context(process(self.argv))
        there = facts(self.process)
        self.did, self.url = there["did"], there["http"]
        self.argv[self.argv.index("--listen") + 1] = self.url.removeprefix("http://")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def chain(data: Path) -> Iterator[tuple[Node, Node]]:
    with contextlib.ExitStack() as stack:
        nodes = [
            Node([*run_argv(data / name), "--private-network", "127.0.0.0/8"], stack)
            for name in ("near.db", "far.db")
        ]
        for node in nodes:
            node.start()
        yield nodes[0], nodes[1]


def _config(
    data: Path, port: int = 0, public_url: str | None = None, limits: Limits | None = None
) -> Config:
    return Config(
        data,
        "127.0.0.1",
        port,
        public_url=public_url,
        stun_ports=(0,),
        limits=limits or Limits(),
        private_networks=LOOPBACK,
        metrics=None,
    )


async def _forward_later(party: Party, delay: int, to: str | None = None) -> Reply:
    body = {"next": to or party.did, "delay_milli": delay}
    attachment = Attachment(json={"n": random.random()})
    message = Message(Forward.TYPE, body, attachments=(attachment,))
    return await party.post(await _raw(party, message))


async def _raw(party: Party, message: Message) -> bytes:
    """Sealed as it is: numbers that orjson does not write are for json."""
    document = await default_registry().resolve(party.mediator)
    keys = [(m.id, m.key) for m in document.keys("keyAgreement") if m.key is not None]
    raw = {
        "id": message.id,
        "type": message.type,
        "body": message.body,
        "attachments": [a.to_json() for a in message.attachments],
    }
    return encrypt_anonymously(json.dumps(raw).encode(), keys)


async def _arrived(party: Party, count: int, timeout: float = 15) -> list[Attachment]:
    async with asyncio.timeout(timeout):
        while True:
            letters = await party.fetch()
            if len(letters) >= count:
                return letters
            await asyncio.sleep(0.05)


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.02)


async def _parcels(mediator: Mediator) -> int | None:
    """When the next parcel is due, if there is any."""
    return await mediator.carrier._store.next_parcel()


async def _code(party: Party, reply: Reply) -> str:
    opened = await unpack(
        reply.body, secrets=party.secrets, resolver=party.resolver, now=int(time.time())
    )
    assert opened.message.type == ProblemReport.TYPE
    return ProblemReport.from_message(opened.message).code
