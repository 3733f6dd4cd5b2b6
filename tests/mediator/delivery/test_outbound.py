"""Answers that do not come back the way the request came, and mail on its way: how it is tried."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from identity.did_peer import create_2, didcomm_service
from identity.keys import Curve, PrivateKey
from mediator import cli
from mediator.addresses import OwnNames
from mediator.app import Mediator, running
from mediator.delivery.carrier import LOOK_UPS, Carrier
from mediator.delivery.live import LiveAccounts
from mediator.delivery.outbound import HOPS, Origin
from mediator.settings.config import Compat, Config, Limits
from mediator.stores.sqlite import SqliteStore
from messaging.message import Attachment, Message
from messaging.protocols import message_pickup as pickup
from messaging.protocols.report_problem import ProblemReport
from messaging.protocols.routing import Forward
from messaging.protocols.trust_ping import Ping, PingResponse
from resolvers.guarded import GuardedHttp, networks
from tests.support.mediator_client import Party
from tests.support.metrics import carried
from tests.support.resolvers import FixedResolver

LOOPBACK = networks(["127.0.0.0/8"])


@pytest.fixture
async def mediator(tmp_path: Path, limits: Limits) -> AsyncIterator[Mediator]:
    async with running(_config(tmp_path / "m.db", limits)) as mediator:
        yield mediator


# The way back


@pytest.mark.parametrize("scheme", ["http", "ws"])
async def test_without_a_return_route_the_answer_goes_to_the_senders_own_endpoint(
    party: Callable[[], Party], listener: Callable[..., Awaitable["Listener"]], scheme: str
) -> None:
    dave, door = await _reachable(party(), listener, scheme)
    ping = Ping().to_message(return_route="none")
    reply = await dave.post(await dave.seal(ping))
    assert (reply.status, reply.body) == (200, b"")
    answer = (await dave.open(await door.next())).message
    assert (answer.type, answer.thid, answer.to) == (PingResponse.TYPE, ping.id, (dave.did,))


@pytest.mark.parametrize("route", ["all", "thread", None])
async def test_an_answer_that_may_come_back_goes_nowhere_else(
    party: Callable[[], Party],
    listener: Callable[..., Awaitable["Listener"]],
    mediator: Mediator,
    route: str | None,
) -> None:
    dave, _ = await _reachable(party(), listener)
    assert (await dave.ask(Ping().to_message(return_route=route))).type == PingResponse.TYPE
    assert await mediator.carrier._store.next_parcel() is None


async def test_the_old_spelling_of_a_return_route_is_read(
    party: Callable[[], Party], listener: Callable[..., Awaitable["Listener"]]
) -> None:
    dave, door = await _reachable(party(), listener)
    for value, comes_back in (("all", True), ("none", False)):
        ping = Message(Ping.TYPE, extra={"custom_headers": [{"return_route": value}]})
        reply = await dave.post(await dave.seal(ping))
        assert bool(reply.body) == comes_back
    assert (await dave.open(await door.next())).message.type == PingResponse.TYPE


async def test_an_absent_return_route_means_none_to_whoever_wants_the_specification(
    tmp_path: Path, listener: Callable[..., Awaitable["Listener"]]
) -> None:
    strict = replace(
        _config(tmp_path / "s.db", Limits()), compat=Compat(assumed_return_route=False)
    )
    async with running(strict) as mediator, aiohttp.ClientSession() as http:
        party = Party(http, mediator.identity.did, mediator.identity.public_url)
        dave, door = await _reachable(party, listener)
        assert not (await dave.post(await dave.seal(Ping().to_message()))).body
        assert (await dave.open(await door.next())).message.type == PingResponse.TYPE


async def test_a_report_goes_there_too_and_the_status_says_that_there_is_one(
    party: Callable[[], Party], listener: Callable[..., Awaitable["Listener"]]
) -> None:
    dave, door = await _reachable(party(), listener)
    request = pickup.StatusRequest().to_message(return_route="none")
    reply = await dave.post(await dave.seal(request))
    assert (reply.status, reply.body) == (200, b"")
    report = (await dave.open(await door.next())).message
    assert (report.type, report.pthid) == (ProblemReport.TYPE, request.id)


async def test_over_a_socket_it_is_the_same(
    party: Callable[[], Party], listener: Callable[..., Awaitable["Listener"]]
) -> None:
    dave, door = await _reachable(party(), listener)
    async with dave.socket(live=False) as socket_:
        await socket_.connection.send_bytes(await dave.seal(Ping().to_message(return_route="none")))
        assert (await dave.open(await door.next())).message.type == PingResponse.TYPE
        assert (await socket_.ask(Ping().to_message())).type == PingResponse.TYPE


async def test_who_has_its_mail_here_finds_the_answer_in_its_inbox(alice: Party) -> None:
    await alice.post(await alice.seal(Ping().to_message(return_route="none")))
    [letter] = await alice.fetch()
    assert (await alice.open(orjson.dumps(letter.json))).message.type == PingResponse.TYPE


async def test_a_status_is_never_queued(alice: Party) -> None:
    for request in (pickup.StatusRequest(), pickup.DeliveryRequest(1)):
        await alice.post(await alice.seal(request.to_message(return_route="none")))
    assert (await alice.status()).message_count == 0


async def test_an_endpoint_in_a_private_network_gets_nothing(
    tmp_path: Path, listener: Callable[..., Awaitable["Listener"]]
) -> None:
    config = replace(_config(tmp_path / "g.db", Limits()), private_networks=())
    async with running(config) as mediator, aiohttp.ClientSession() as http:
        party = Party(http, mediator.identity.did, mediator.identity.public_url)
        dave, door = await _reachable(party, listener)
        await dave.post(await dave.seal(Ping().to_message(return_route="none")))
        await _until(lambda: carried(mediator, "dropped") == 1)
        assert door.received.empty()


async def test_an_endpoint_that_is_this_mediator_does_not_make_it_talk_to_itself(
    party: Callable[[], Party], mediator: Mediator
) -> None:
    dave = _at(party(), mediator.identity.public_url)
    await dave.post(await dave.seal(Ping().to_message(return_route="none")))
    assert await mediator.carrier._store.next_parcel() is None


# How it is tried


async def test_what_was_not_accepted_is_tried_again(
    alice: Party, listener: Callable[..., Awaitable["Listener"]]
) -> None:
    door = await listener()
    door.answers = [503, 200]
    await alice.forward(door.url, {"n": 1})
    assert [await door.next(), await door.next()] == [b'{"n":1}', b'{"n":1}']
    assert door.times[1] - door.times[0] > 0.7


async def test_what_will_never_be_accepted_is_not_tried_again(
    alice: Party, mediator: Mediator, listener: Callable[..., Awaitable["Listener"]]
) -> None:
    door = await listener()
    door.answers = [400, 200]
    await alice.forward(door.url, {"n": 1})
    await alice.forward(door.url, {"n": 2})
    assert [await door.next(), await door.next()] == [b'{"n":1}', b'{"n":2}']
    await _until(lambda: carried(mediator, "sent") == 1)
    assert await mediator.carrier._store.next_parcel() is None


async def test_one_that_is_not_wanted_now_does_not_hold_up_the_next(
    alice: Party, listener: Callable[..., Awaitable["Listener"]]
) -> None:
    """The inbox of one recipient there is full; others' are not."""
    door = await listener()
    door.answers = [429]
    await alice.forward(door.url, {"n": 1})
    await alice.forward(door.url, {"n": 2})
    letters = [await door.next() for _ in range(3)]
    assert letters == [b'{"n":1}', b'{"n":2}', b'{"n":1}']


async def test_a_target_that_does_not_answer_holds_up_nobody_else(
    alice: Party, listener: Callable[..., Awaitable["Listener"]]
) -> None:
    silent, awake = await listener(), await listener()
    silent.delay = 60
    for number in range(5):
        await alice.forward(silent.url, {"n": number})
    await alice.forward(awake.url, {"n": 5})
    async with asyncio.timeout(2):
        assert await awake.next() == b'{"n":5}'


async def test_the_same_envelope_waits_once(
    alice: Party, mediator: Mediator, listener: Callable[..., Awaitable["Listener"]]
) -> None:
    door = await listener()
    door.answers = [503]
    for _ in range(3):
        await alice.forward(door.url, {"n": 1})
    await _until(lambda: carried(mediator, "sent") == 1)
    assert door.received.qsize() == 2  # refused once, taken once


async def test_an_envelope_that_is_passed_on_says_so(
    alice: Party, listener: Callable[..., Awaitable["Listener"]]
) -> None:
    door = await listener()
    envelope = await alice.sealed_forward(door.url, {"n": 1})
    await alice.post(envelope, **{HOPS: "3"})
    await door.next()
    assert door.headers[0][HOPS] == "4"
    assert door.headers[0]["Content-Type"] == "application/didcomm-encrypted+json"


async def test_a_redirect_is_not_followed(
    alice: Party, mediator: Mediator, listener: Callable[..., Awaitable["Listener"]]
) -> None:
    door, elsewhere = await listener(), await listener()
    door.answers, door.location = [307], elsewhere.url
    await alice.forward(door.url, {"n": 1})
    await door.next()
    await _until(lambda: carried(mediator, "failed") == 1)
    assert elsewhere.received.empty()


# Given up


async def test_a_known_sender_is_told_that_its_mail_was_given_up(
    alice: Party, listener: Callable[..., Awaitable["Listener"]], mediator: Mediator
) -> None:
    door = await listener()
    door.answers = [410]
    forward = await _forward(alice, f"{door.url}/")
    [report] = await _told(alice)
    assert ProblemReport.from_message(report).code == "e.p.xfer.cant-use-endpoint"
    assert ProblemReport.from_message(report).text == (
        f"mail for {door.url}/ was given up: it answers 410"
    )
    assert (report.pthid, report.frm) == (forward.id, mediator.identity.did)
    await _until(lambda: carried(mediator, "dropped") == 1)


async def test_it_is_told_as_soon_as_the_time_of_its_mail_is_over(
    alice: Party,
    listener: Callable[..., Awaitable["Listener"]],
    mediator: Mediator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not at the next try, and not never because it was swept before."""
    monkeypatch.setattr("mediator.delivery.carrier.FIRST_WAIT", 600_000)
    door = await listener()
    door.answers = [503] * 9
    expires = int(time.time()) + 2
    await _forward(alice, f"{door.url}/", expires_time=expires)
    await _until(lambda: carried(mediator, "failed") == 1)
    assert await mediator.carrier._store.expire(expires + 1) == 0
    [report] = await _told(alice)
    assert report.body["args"] == [f"{door.url}/", "its time is over"]
    assert time.time() < expires + 10
    assert await mediator.carrier._store.next_parcel() is None


async def test_nobody_is_told_of_mail_that_nobody_is_known_to_have_sent(
    alice: Party, listener: Callable[..., Awaitable["Listener"]], mediator: Mediator
) -> None:
    door = await listener()
    door.answers = [410]
    await alice.forward(f"{door.url}/", {"n": 1})
    await _until(lambda: carried(mediator, "dropped") == 1)
    assert await mediator.carrier._store.next_parcel() is None
    assert await alice.fetch() == []


async def test_of_a_report_that_cannot_be_brought_nobody_is_told(
    party: Callable[[], Party],
    listener: Callable[..., Awaitable["Listener"]],
    mediator: Mediator,
) -> None:
    dave, home = await _reachable(party(), listener)
    home.answers, door = [410], await listener()
    door.answers = [410]
    await _forward(dave, f"{door.url}/")
    await _until(lambda: carried(mediator, "dropped") == 2)
    assert await mediator.carrier._store.next_parcel() is None


# Switched off


async def test_a_mediator_that_passes_nothing_on_refuses_urls_and_keeps_its_own_mail(
    tmp_path: Path, limits: Limits, listener: Callable[..., Awaitable["Listener"]]
) -> None:
    config = replace(_config(tmp_path / "m.db", limits), pass_on=False)
    door = await listener()
    async with running(config) as mediator, aiohttp.ClientSession() as http:
        alice = Party(http, mediator.identity.did, mediator.identity.public_url)
        await alice.register()
        envelope = await alice.sealed_forward(f"{door.url}/", {"n": 1}, known=True)
        reply = await alice.post(envelope)
        report = ProblemReport.from_message((await alice.open(reply.body)).message)
        assert (reply.status, report.code) == (400, "e.p.req.passes-nothing-on")
        dave = _at(Party(http, mediator.identity.did, mediator.identity.public_url), door.url)
        assert (await alice.forward(dave.did, {"n": 2})).status == 200  # as mail for nobody is
        assert (await alice.forward(alice.did, {"n": 3})).status == 200
        assert [message.json for message in await alice.fetch()] == [{"n": 3}]
        assert await mediator.carrier._store.next_parcel() is None
        assert door.received.empty()


async def test_status_says_whether_mail_is_passed_on(
    tmp_path: Path, limits: Limits, capsys: pytest.CaptureFixture[str]
) -> None:
    for passes_on in (True, False):
        config = replace(_config(tmp_path / "m.db", limits), pass_on=passes_on)
        async with running(config):
            arguments = ["status", "--json", "--data", str(tmp_path / "m.db")]
            assert await asyncio.to_thread(cli.run, arguments) == 0
        outgoing = orjson.loads(capsys.readouterr().out)["outgoing"]
        assert outgoing == {"messages": 0, "bytes": 0, "passes_on": passes_on}


async def test_hundreds_of_letters_to_many_targets_all_arrive_in_order(
    alice: Party, listener: Callable[..., Awaitable["Listener"]]
) -> None:
    """More than are in memory at once, and more than one target may have there."""
    doors = [await listener() for _ in range(3)]
    for number in range(20):
        for door in doors:
            await alice.forward(f"{door.url}/?{door.url}", {"n": number})
    for door in doors:
        async with asyncio.timeout(20):
            letters = [await door.next() for _ in range(20)]
        assert letters == [b'{"n":%d}' % number for number in range(20)]


async def test_a_did_that_is_nowhere_is_given_up_after_some_look_ups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mediator.delivery.carrier.FIRST_WAIT", 5)
    nowhere = FixedResolver()
    async with (
        SqliteStore(tmp_path / "c.db", Limits()) as store,
        GuardedHttp() as http,
        asyncio.TaskGroup() as tasks,
    ):
        outcomes: list[str] = []
        own = OwnNames.of([], [])
        carrier = Carrier(store, LiveAccounts(9), nowhere, http, own, time.time, outcomes.append)
        await carrier.post("did:web:gone.example", [b"{}"], expires=int(time.time()) + 99)
        work = tasks.create_task(carrier.run(_nobody_to_tell))
        await _until(lambda: "dropped" in outcomes)
        assert len(nowhere.asked) == LOOK_UPS
        assert await store.next_parcel() is None
        work.cancel()


async def _forward(sender: Party, to: str, **headers: Any) -> Message:
    """That says who sends it."""
    letter = Attachment(id=None, json={"n": 1})
    forward = Forward(to, (letter,)).to_message(**headers)
    assert (await sender.post(await sender.seal(forward))).status == 200
    return forward


async def _told(party: Party) -> list[Message]:
    """What the mediator left in its mailbox."""
    async with asyncio.timeout(20):
        while not (letters := await party.fetch()):
            await asyncio.sleep(0.05)
    return [(await party.open(letter.content())).message for letter in letters]


async def _nobody_to_tell(origin: Origin, target: str, why: str) -> None:
    raise AssertionError(why)


@dataclass
class Listener:
    """Somebody's endpoint, by HTTP or WebSocket."""

    url: str
    received: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    answers: list[int] = field(default_factory=list)  # statuses; then 200
    headers: list[Any] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    delay: float = 0
    location: str = ""

    async def next(self) -> bytes:
        async with asyncio.timeout(10):
            return await self.received.get()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(self.delay)
        self.headers.append(request.headers)
        self.times.append(time.monotonic())
        if request.method == "POST":
            await self.received.put(await request.read())
            status = self.answers.pop(0) if self.answers else 200
            return web.Response(status=status, headers={"Location": self.location})
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        async for frame in websocket:
            await self.received.put(frame.data.encode())
        return websocket


@pytest.fixture
async def listener() -> AsyncIterator[Callable[..., Awaitable[Listener]]]:
    async with contextlib.AsyncExitStack() as stack:

        async def start(scheme: str = "http") -> Listener:
            door = socket.create_server(("127.0.0.1", 0))
            listener = Listener(f"{scheme}://127.0.0.1:{door.getsockname()[1]}")
            runner = web.ServerRunner(web.Server(listener.handle), shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.SockSite(runner, door).start()
            return listener

        yield start


async def _reachable(
    party: Party, listener: Callable[..., Awaitable[Listener]], scheme: str = "http"
) -> tuple[Party, Listener]:
    door = await listener(scheme)
    return _at(party, door.url), door


def _at(party: Party, url: str) -> Party:
    """The party under a DID whose endpoint is the URL."""
    encryption, signing = PrivateKey.generate(Curve.X25519), PrivateKey.generate(Curve.ED25519)
    party.did = create_2([encryption.public], [signing.public], [didcomm_service(url)])
    party.secrets = {f"{party.did}#key-1": encryption, f"{party.did}#key-2": signing}
    return party


def _config(data: Path, limits: Limits) -> Config:
    return Config(
        data,
        "127.0.0.1",
        0,
        stun_ports=(0,),
        limits=limits,
        private_networks=LOOPBACK,
        metrics=None,
    )


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.02)
