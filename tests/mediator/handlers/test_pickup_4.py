"""Message pickup 4.0, where it differs from 3.0: the same queue in other words."""

import time

import pytest

from messaging.message import Message
from messaging.protocols import message_pickup as pickup
from messaging.protocols.trust_ping import Ping, PingResponse
from tests.support.mediator_client import Party

V4 = "https://didcomm.org/message-pickup/4.0"


async def test_a_status_has_milliseconds_and_no_waiting_time(alice: Party) -> None:
    await alice.forward(alice.did, {"n": 1})
    request = Message(f"{V4}/status-request", {"recipient_did": alice.did})
    status = await alice.ask(request)
    assert (status.type, status.thid) == (f"{V4}/status", request.id)
    assert status.body["message_count"] == 1
    assert status.body["recipient_did"] == alice.did
    assert status.body["live_delivery"] is False
    assert status.body["total_bytes"] == len('{"n":1}')
    for name in ("newest_received_time", "oldest_received_time"):
        assert abs(status.body[name] - time.time() * 1000) < 10_000
    assert "longest_waited_seconds" not in status.body


async def test_a_delivery_has_at_most_the_count_asked_for(alice: Party) -> None:
    for number in range(3):
        await alice.forward(alice.did, {"n": number})
    for limit in (1, 3, 5):
        request = Message(f"{V4}/delivery-request", {"message_count_limit": limit})
        delivery = await alice.ask(request)
        assert (delivery.type, delivery.thid) == (f"{V4}/delivery", request.id)
        assert [a.json["n"] for a in delivery.attachments] == list(range(min(3, limit)))


async def test_where_nothing_waits_the_delivery_is_empty(alice: Party) -> None:
    request = Message(f"{V4}/delivery-request", {"message_count_limit": 1})
    delivery = await alice.ask(request)
    assert (delivery.type, delivery.thid, delivery.attachments) == (
        f"{V4}/delivery",
        request.id,
        (),
    )


async def test_an_acknowledgement_works_and_is_not_answered(alice: Party) -> None:
    await alice.forward(alice.did, {"n": 1})
    [message] = await alice.fetch()
    received = Message(f"{V4}/messages-received", {"message_id_list": [message.id]})
    reply = await alice.post(await alice.seal(received))
    assert (reply.status, reply.body) == (200, b"")
    assert await alice.fetch() == []


async def test_live_delivery_over_http_is_refused_in_the_protocols_own_words(alice: Party) -> None:
    request = Message(f"{V4}/live-delivery-change", {"live_delivery": True})
    report = await alice.ask(request)
    assert report.type == f"{V4}/problem-report"
    assert (report.pthid, report.thid) == (request.id, None)
    assert report.body["code"] == "e.m.live-mode-not-supported"


@pytest.mark.parametrize("version", pickup.Version)
async def test_switching_off_what_cannot_be_on_is_answered_with_the_status(
    alice: Party, version: pickup.Version
) -> None:
    change = pickup.LiveDeliveryChange(False).to_message(version)
    assert (await alice.ask(change)).type == f"{version}/status"


async def test_a_report_of_the_protocols_own_type_is_never_answered(alice: Party) -> None:
    report = Message(f"{V4}/problem-report", {"code": "e.m.live-mode-not-supported"}, pthid="x")
    reply = await alice.post(await alice.seal(report))
    assert (reply.status, reply.body) == (200, b"")


async def test_live_mail_comes_in_the_version_that_went_live(alice: Party) -> None:
    async with alice.socket(live=False) as new, alice.socket() as old:
        request = Message(f"{V4}/live-delivery-change", {"live_delivery": True})
        status = await new.ask(request)
        assert (status.type, status.thid) == (f"{V4}/status", request.id)
        assert status.body["live_delivery"] is True
        await alice.forward(alice.did, {"n": 1})
        pushed, older = await new.receive(), await old.receive()
        assert (pushed.type, older.type) == (f"{V4}/delivery", pickup.Delivery.TYPE)
        assert [a.id for a in pushed.attachments] == [a.id for a in older.attachments]


async def test_live_mail_that_is_not_acknowledged_is_there_to_be_fetched(alice: Party) -> None:
    """4.0: "the message MUST be added to the queue for later pickup"; here it never left."""
    async with alice.socket(live=False) as socket:
        await socket.ask(Message(f"{V4}/live-delivery-change", {"live_delivery": True}))
        for number in range(2):
            await alice.forward(alice.did, {"n": number})
        first = (await socket.receive()).attachments
        received = Message(f"{V4}/messages-received", {"message_id_list": [first[0].id]})
        await socket.connection.send_bytes(await alice.seal(received))
        if len(first) == 1:
            assert [a.json["n"] for a in (await socket.receive()).attachments] == [1]
        assert (await socket.ask(Ping().to_message())).type == PingResponse.TYPE
    assert [a.json["n"] for a in await alice.fetch()] == [1]


async def test_the_versions_share_one_queue(alice: Party) -> None:
    await alice.forward(alice.did, {"n": 1})
    [old] = await alice.fetch()
    delivery = await alice.ask(Message(f"{V4}/delivery-request", {"message_count_limit": 9}))
    assert [a.id for a in delivery.attachments] == [old.id]
    await alice.acknowledge([old.id])
    status = await alice.ask(Message(f"{V4}/status-request"))
    assert status.body["message_count"] == 0
