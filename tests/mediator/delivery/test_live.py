"""Live delivery over WebSockets: pushed as it comes, kept until acknowledged."""

import asyncio
import itertools
from typing import Any

import pytest

from mediator.delivery.live import Connection, LiveAccounts
from mediator.settings.config import Limits
from mediator.stores.interface import Queued, StoreUnavailable
from mediator.stores.sqlite import SqliteStore
from messaging.message import Message
from messaging.protocols import message_pickup as pickup
from messaging.protocols.report_problem import ProblemReport
from messaging.protocols.trust_ping import Ping, PingResponse
from tests.support.mediator_client import Party


async def test_switching_on_is_answered_with_the_count_of_what_waits(alice: Party) -> None:
    await alice.forward(alice.did, {"n": 1})
    async with alice.socket() as socket:
        assert socket.status is not None
        assert (socket.status.message_count, socket.status.live_delivery) == (1, True)


async def test_what_comes_is_pushed_as_a_delivery_and_stays(alice: Party) -> None:
    async with alice.socket() as socket:
        await alice.forward(alice.did, {"n": 1})
        [message] = await socket.delivered(1)
        assert message.json == {"n": 1}
        assert [a.id for a in await alice.fetch()] == [message.id]
        await socket.ask(pickup.MessagesReceived((str(message.id),)).to_message())
    assert await alice.fetch() == []


@pytest.mark.parametrize("limits", [Limits(delivery_messages=2)])
async def test_more_than_one_delivery_holds_is_pushed_in_several(alice: Party) -> None:
    async with alice.socket() as socket:
        await alice.forward(alice.did, {"n": 1}, {"n": 2}, {"n": 3})
        deliveries = [(await socket.receive()).attachments for _ in range(2)]
    assert [[a.json["n"] for a in attachments] for attachments in deliveries] == [[1, 2], [3]]


@pytest.mark.parametrize("limits", [Limits(envelope=128 * 1024)])
async def test_more_bytes_than_one_delivery_holds_are_pushed_in_several(alice: Party) -> None:
    async with alice.socket() as socket:
        await alice.forward(alice.did, *({"n": n, "x": "x" * 30_000} for n in (1, 2)))
        deliveries = [(await socket.receive()).attachments for _ in range(2)]
    assert [[a.json["n"] for a in attachments] for attachments in deliveries] == [[1], [2]]


async def test_what_waited_before_is_not_pushed_but_fetched(alice: Party) -> None:
    await alice.forward(alice.did, {"n": "before"})
    async with alice.socket() as socket:
        await alice.forward(alice.did, {"n": "after"})
        assert [a.json["n"] for a in await socket.delivered(1)] == ["after"]
        delivery = await socket.ask(pickup.DeliveryRequest(10).to_message())
        assert [a.json["n"] for a in delivery.attachments] == ["before", "after"]


async def test_each_message_is_counted_or_pushed_never_neither(alice: Party, bob: Party) -> None:
    """Mail keeps coming while live mode is switched on."""

    async def keep_sending() -> None:
        for number in range(20):
            await bob.forward(alice.did, {"n": number})

    sending = asyncio.create_task(keep_sending())
    await asyncio.sleep(0.01)
    async with alice.socket() as socket:
        await sending
        assert socket.status is not None
        counted = socket.status.message_count
        pushed = await socket.delivered(20 - counted)
        assert [a.json["n"] for a in pushed] == list(range(counted, 20))


async def test_without_asking_nothing_is_pushed(alice: Party) -> None:
    async with alice.socket(live=False) as socket:
        await alice.forward(alice.did, {"n": 1})
        answer = await socket.ask(pickup.StatusRequest().to_message())
        status = pickup.Status.from_message(answer)
        assert (status.message_count, status.live_delivery) == (1, False)


async def test_after_switching_off_nothing_is_pushed(alice: Party) -> None:
    async with alice.socket() as socket:
        answer = await socket.ask(pickup.LiveDeliveryChange(False).to_message())
        assert pickup.Status.from_message(answer).live_delivery is False
        await alice.forward(alice.did, {"n": 1})
        assert (await socket.ask(Ping().to_message())).type == PingResponse.TYPE


async def test_several_sockets_of_one_did_all_get_it(alice: Party) -> None:
    async with alice.socket() as one, alice.socket() as two:
        await alice.forward(alice.did, {"n": 1})
        [first], [second] = await one.delivered(1), await two.delivered(1)
        assert first.id == second.id


async def test_pushes_keep_the_order(alice: Party) -> None:
    async with alice.socket() as socket:
        for number in range(20):
            await alice.forward(alice.did, {"n": number})
        assert [a.json["n"] for a in await socket.delivered(20)] == list(range(20))


async def test_a_socket_gets_nothing_of_others(alice: Party, bob: Party) -> None:
    async with alice.socket() as socket:
        await alice.forward(bob.did, {"n": "bob's"})
        await alice.forward(alice.did, {"n": "alice's"})
        assert [a.json["n"] for a in await socket.delivered(1)] == ["alice's"]


async def test_a_socket_that_dies_takes_no_mail_with_it(alice: Party) -> None:
    async with alice.socket() as socket:
        transport = socket.connection.get_extra_info("socket")
        assert transport is not None
        socket.connection._response.connection.transport.abort()  # type: ignore[union-attr]
        await alice.forward(alice.did, {"n": 1})
    assert [a.json for a in await alice.fetch()] == [{"n": 1}]
    async with alice.socket() as socket:
        assert socket.status is not None
        assert socket.status.message_count == 1


async def test_mail_for_a_did_of_the_account_is_pushed_to_the_account(
    alice: Party, stranger: Party
) -> None:
    await alice.bind(stranger.did)
    async with alice.socket() as socket:
        await alice.forward(stranger.did, {"n": 1})
        assert len(await socket.delivered(1)) == 1


async def test_a_forward_over_a_socket_is_accepted_in_silence(alice: Party, bob: Party) -> None:
    async with bob.socket() as inbox, alice.socket(live=False) as socket:
        await socket.connection.send_bytes(await alice.sealed_forward(bob.did, {"n": 1}))
        assert len(await inbox.delivered(1)) == 1
        assert (await socket.ask(Ping().to_message())).type == PingResponse.TYPE


async def test_text_and_binary_frames_are_read_and_text_is_sent(alice: Party) -> None:
    async with alice.socket(live=False) as socket:
        envelope = await alice.seal(Ping().to_message())
        await socket.connection.send_str(envelope.decode())
        assert (await socket.receive()).type == PingResponse.TYPE


async def test_a_socket_survives_rubbish_and_refusals(alice: Party) -> None:
    async with alice.socket(live=False) as socket:
        await socket.connection.send_str("rubbish")
        await socket.connection.receive_str(timeout=5)
        answer = await socket.ask(Message("https://example.org/unknown/1.0/x"))
        assert answer.type == ProblemReport.TYPE
        assert (await socket.ask(Ping().to_message())).type == PingResponse.TYPE


async def test_a_stranger_cannot_go_live(stranger: Party) -> None:
    async with stranger.socket(live=False) as socket:
        answer = await socket.ask(pickup.LiveDeliveryChange(True).to_message())
        assert ProblemReport.from_message(answer).code == "e.p.req.not_enroll"


async def test_a_socket_that_closed_is_woken_and_counted_no_more() -> None:
    live = LiveAccounts(1)
    woken: list[str] = []

    async def send(_: bytes) -> None:
        raise AssertionError

    async with asyncio.TaskGroup() as tasks:
        for name in ("first", "second"):

            async def deliver(position: int, name: str = name) -> int:
                woken.append(name)
                return position

            connection = Connection(live, send, tasks)
            connection.subscribe("did:example:alice", deliver)
            connection.answered()
            if name == "first":
                connection.close()
        live.wake("did:example:alice")
        await asyncio.sleep(0.01)
        connection.close()
    assert woken == ["second"]


async def test_what_was_pushed_just_before_the_store_was_lost_is_not_pushed_again(
    alice: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mediator.delivery.live.RETRY", 0.01)
    fetch, calls = SqliteStore.fetch, itertools.count()

    async def lost_once(store: SqliteStore, *words: Any, **named: Any) -> list[Queued]:
        if next(calls) == 1:
            raise StoreUnavailable
        return await fetch(store, *words, **named)

    async with alice.socket() as socket:
        monkeypatch.setattr(SqliteStore, "fetch", lost_once)
        await alice.forward(alice.did, {"n": 1})
        assert [a.json["n"] for a in await socket.delivered(1)] == [1]
        await alice.forward(alice.did, {"n": 2})
        assert [a.json["n"] for a in await socket.delivered(1)] == [2]
        assert next(calls) > 2
