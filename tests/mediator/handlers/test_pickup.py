"""Message pickup 3.0 over HTTP: status, delivery, acknowledgement, and who may have them."""

import time
from pathlib import Path

import aiohttp
import pytest

from mediator.app import Mediator, running
from mediator.settings.config import Config, Limits
from messaging.message import Attachment, Message
from messaging.packing import pack
from messaging.protocols import message_pickup as pickup
from tests.support.mediator_client import Party


async def test_status_counts_what_waits(alice: Party) -> None:
    for number in range(3):
        await alice.forward(alice.did, {"n": number})
    status = await alice.status()
    assert (status.message_count, status.live_delivery) == (3, False)
    assert status.total_bytes == 3 * len('{"n":0}')
    assert status.oldest_received_time is not None
    assert abs(status.oldest_received_time - time.time()) < 10


async def test_a_status_for_one_recipient_echoes_it(alice: Party, stranger: Party) -> None:
    await alice.bind(stranger.did)
    await alice.forward(stranger.did, {"n": 1})
    for did, count in ((alice.did, 0), (stranger.did, 1)):
        status = await alice.status(did)
        assert (status.recipient_did, status.message_count) == (did, count)


async def test_a_delivery_answers_the_request_with_json_attachments(
    alice: Party, mediator: Mediator
) -> None:
    await alice.forward(alice.did, {"protected": "p", "n": 1})
    request = pickup.DeliveryRequest(10).to_message()
    delivery = await alice.ask(request)
    assert delivery.type == pickup.Delivery.TYPE
    assert (delivery.thid, delivery.frm) == (request.id, mediator.identity.did)
    [attachment] = delivery.attachments
    assert attachment.id
    assert attachment.json == {"protected": "p", "n": 1}


async def test_what_was_sealed_for_the_recipient_still_opens(alice: Party, bob: Party) -> None:
    letter = Message("https://example.org/letter", {"text": "grüße"}, frm=bob.did, to=(alice.did,))
    envelope = await pack(
        letter, to=alice.did, sender=bob.did, secrets=bob.secrets, resolver=bob.resolver
    )
    from messaging.packing import unpack
    from messaging.protocols.routing import Forward

    forward = Forward(alice.did, (Attachment(base64=_padded_base64(envelope)),)).to_message()
    assert (await bob.post(await bob.seal(forward, anonymous=True))).status == 200
    [attachment] = await alice.fetch()
    opened = await unpack(
        attachment.content(), secrets=alice.secrets, resolver=alice.resolver, now=int(time.time())
    )
    assert (opened.sender, opened.message.body) == (bob.did, {"text": "grüße"})


async def test_deliveries_come_in_order_and_within_the_limit(alice: Party) -> None:
    for number in range(5):
        await alice.forward(alice.did, {"n": number})
    first = await alice.fetch(2)
    assert [a.json["n"] for a in first] == [0, 1]
    await alice.acknowledge([a.id for a in first])
    assert [a.json["n"] for a in await alice.fetch()] == [2, 3, 4]


@pytest.mark.parametrize("limits", [Limits(delivery_messages=2)])
async def test_a_delivery_has_no_more_than_the_mediator_gives(alice: Party) -> None:
    await alice.forward(alice.did, {"n": 1}, {"n": 2}, {"n": 3})
    assert [a.json["n"] for a in await alice.fetch(3)] == [1, 2]


async def test_an_empty_queue_is_answered_with_a_status(alice: Party) -> None:
    answer = await alice.ask(pickup.DeliveryRequest(10, alice.did).to_message())
    status = pickup.Status.from_message(answer)
    assert (status.message_count, status.recipient_did) == (0, alice.did)


async def test_messages_stay_until_they_are_acknowledged(alice: Party) -> None:
    await alice.forward(alice.did, {"n": 1})
    [first], [second] = await alice.fetch(), await alice.fetch()
    assert first.id == second.id
    await alice.acknowledge([first.id])
    assert await alice.fetch() == []


async def test_acknowledging_twice_or_nonsense_is_no_error(alice: Party) -> None:
    await alice.forward(alice.did, {"n": 1})
    [message] = await alice.fetch()
    ids = ["nonsense", "", "-1", "1e3", "9" * 40, "²", message.id]
    await alice.acknowledge(ids)
    await alice.acknowledge(ids)
    assert (await alice.status()).message_count == 0


async def test_the_answer_to_an_acknowledgement_has_the_new_count(alice: Party) -> None:
    for number in range(2):
        await alice.forward(alice.did, {"n": number})
    [message] = await alice.fetch(1)
    answer = await alice.ask(pickup.MessagesReceived((str(message.id),)).to_message())
    assert pickup.Status.from_message(answer).message_count == 1


async def test_mail_of_all_dids_of_an_account_is_delivered_in_one_order(
    alice: Party, stranger: Party
) -> None:
    await alice.bind(stranger.did)
    for number, did in enumerate((alice.did, stranger.did, alice.did)):
        await alice.forward(did, {"n": number})
    assert [a.json["n"] for a in await alice.fetch()] == [0, 1, 2]
    assert [a.json["n"] for a in await alice.fetch(recipient=stranger.did)] == [1]


@pytest.mark.parametrize("version", pickup.Version)
async def test_a_client_pages_past_what_it_leaves(alice: Party, version: pickup.Version) -> None:
    for number in range(5):
        await alice.forward(alice.did, {"n": number})
    seen: list[int] = []
    after: str | None = None
    while page := await _page(alice, version, after):
        assert len(page) <= 2
        seen += [a.json["n"] for a in page]
        after = page[-1].id
    assert seen == [0, 1, 2, 3, 4]
    assert (await alice.status()).message_count == 5


@pytest.mark.parametrize("version", pickup.Version)
async def test_a_page_begins_after_what_is_gone_as_well(
    alice: Party, version: pickup.Version
) -> None:
    for number in range(3):
        await alice.forward(alice.did, {"n": number})
    first = (await alice.fetch(1))[0].id
    await alice.acknowledge([first])
    assert [a.json["n"] for a in await _page(alice, version, first)] == [1, 2]


async def test_a_page_begins_at_an_id_of_the_mediator_only(alice: Party) -> None:
    for after in ("x", "-1", "1" * 30, "\u0661"):
        request = pickup.DeliveryRequest(1, after=after).to_message()
        assert await alice.problem(request) == "e.p.msg.malformed"


async def test_paging_shows_nothing_of_others(alice: Party, bob: Party) -> None:
    await bob.forward(bob.did, {"n": 1})
    assert await _page(alice, pickup.Version.V3, "0") == ()


@pytest.mark.parametrize("version", pickup.Version)
async def test_who_asks_for_no_message_gets_none(alice: Party, version: pickup.Version) -> None:
    await alice.forward(alice.did, {"n": 1})
    assert (await alice.ask(pickup.DeliveryRequest(0).to_message(version))).attachments == ()


async def test_the_older_name_of_the_filter_is_read(alice: Party, stranger: Party) -> None:
    await alice.bind(stranger.did)
    await alice.forward(stranger.did, {"n": 1})
    request = Message(pickup.StatusRequest.TYPE, {"recipient_key": alice.did})
    assert (await alice.ask(request)).body["message_count"] == 0


async def test_a_strangers_pickup_is_refused(alice: Party, stranger: Party) -> None:
    await alice.forward(alice.did, {"n": 1})
    for request in (
        pickup.StatusRequest(alice.did).to_message(),
        pickup.DeliveryRequest(10, alice.did).to_message(),
        pickup.MessagesReceived(("1",)).to_message(),
        pickup.LiveDeliveryChange(True).to_message(),
    ):
        assert await stranger.problem(request) == "e.p.req.not_enroll"
    assert len(await alice.fetch()) == 1


async def test_an_anonymous_pickup_is_refused(alice: Party) -> None:
    request = pickup.DeliveryRequest(10, alice.did).to_message()
    reply = await alice.post(await alice.seal(request, anonymous=True))
    assert (reply.status, reply.content_type) == (400, "application/didcomm-signed+json")


async def test_an_account_cannot_read_or_acknowledge_anothers_mail(
    alice: Party, bob: Party
) -> None:
    await alice.forward(alice.did, {"n": 1})
    [message] = await alice.fetch()
    assert await bob.fetch(recipient=alice.did) == []
    assert (await bob.status(alice.did)).message_count == 0
    await bob.acknowledge([message.id])
    assert [a.id for a in await alice.fetch()] == [message.id]


async def test_live_delivery_over_http_is_refused(alice: Party) -> None:
    problem = await alice.problem(pickup.LiveDeliveryChange(True).to_message())
    assert problem == "e.m.live-mode-not-supported"


async def test_a_delivery_has_no_more_than_fits_into_an_envelope(alice: Party) -> None:
    """What cannot be delivered is not accepted, and what is accepted can be delivered."""
    for number in range(3):
        letter = {"n": number, "ciphertext": "x" * 730_000}
        assert (await alice.forward(alice.did, letter)).status == 200
    for number in range(3):
        [message] = await alice.fetch()
        assert message.json["n"] == number
        await alice.acknowledge([message.id])


async def test_a_full_batch_of_the_most_bytes_still_fits(tmp_path: Path) -> None:
    config = Config(tmp_path / "m.db", "127.0.0.1", 0, stun_ports=(0,))
    size = config.limits.delivery_bytes // 100 - 30
    async with running(config) as mediator, aiohttp.ClientSession() as http:
        alice = Party(http, mediator.identity.did, mediator.identity.public_url)
        await alice.register()
        for first in range(0, 100, 20):
            letters = [{"n": first + n, "ciphertext": "x" * size} for n in range(20)]
            assert (await alice.forward(alice.did, *letters)).status == 200
        assert [a.json["n"] for a in await alice.fetch()] == list(range(100))


async def _page(alice: Party, version: pickup.Version, after: str | None) -> tuple[Attachment, ...]:
    request = pickup.DeliveryRequest(2, after=after).to_message(version)
    return (await alice.ask(request)).attachments


def _padded_base64(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()
