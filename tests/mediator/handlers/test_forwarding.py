"""Routing 2.0: accepted means committed, and what is refused is refused aloud."""

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from identity.did_peer import create_4
from mediator.app import Mediator
from mediator.settings.config import Limits
from messaging.message import Attachment, Message
from messaging.packing import unpack
from messaging.protocols.report_problem import ProblemReport
from messaging.protocols.routing import Forward
from tests.support.mediator_client import Party, Reply

ENCRYPTED, SIGNED = "application/didcomm-encrypted+json", "application/didcomm-signed+json"


async def test_a_forward_is_answered_200_and_nothing(alice: Party, stranger: Party) -> None:
    reply = await stranger.forward(alice.did, {"n": 1}, please_ack=("f1",), return_route="all")
    assert (reply.status, reply.body) == (200, b"")


async def test_an_authenticated_forward_is_answered_alike(alice: Party, stranger: Party) -> None:
    reply = await stranger.post(await stranger.sealed_forward(alice.did, {"n": 1}, known=True))
    assert (reply.status, reply.body) == (200, b"")
    assert len(await alice.fetch()) == 1


async def test_an_unknown_recipient_looks_like_a_known_one(alice: Party, stranger: Party) -> None:
    assert await alice.forward(stranger.did, {"n": 1}) == await alice.forward(alice.did, {"n": 1})
    await stranger.register()
    assert await stranger.fetch() == []


async def test_all_attachments_of_a_forward_are_kept_in_order(alice: Party) -> None:
    await alice.forward(alice.did, {"n": 1}, {"n": 2}, {"n": 3})
    assert [a.json["n"] for a in await alice.fetch()] == [1, 2, 3]


async def test_the_recipient_is_found_by_one_of_its_keys(alice: Party) -> None:
    await alice.forward(f"{alice.did}#key-1", {"n": 1})
    assert len(await alice.fetch()) == 1


async def test_a_long_did_is_found_by_its_short_form_and_the_other_way_round(alice: Party) -> None:
    long = create_4({"alsoKnownAs": ["did:example:alice"]})
    short = long.rpartition(":")[0]
    await alice.bind(long)
    await alice.forward(short, {"n": 1})
    await alice.forward(f"{long}#key-1", {"n": 2})
    assert [a.json["n"] for a in await alice.fetch(recipient=short)] == [1, 2]


async def test_equal_envelopes_are_kept_once_however_attached(alice: Party) -> None:
    text = json.dumps({"protected": "p", "n": 1}, indent=2)
    import base64

    for encoded in (
        base64.b64encode(text.encode()).decode(),
        base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    ):
        await _post_forward(alice, Attachment(base64=encoded))
    await alice.forward(alice.did, {"protected": "p", "n": 1})
    assert [a.json for a in await alice.fetch()] == [{"protected": "p", "n": 1}]


async def test_the_same_forward_twice_is_accepted_twice_and_kept_once(alice: Party) -> None:
    for known in (True, False):
        envelope = await alice.sealed_forward(alice.did, {"known": known}, known=known)
        assert [(await alice.post(envelope)).status for _ in range(3)] == [200] * 3
    assert [a.json for a in await alice.fetch()] == [{"known": True}, {"known": False}]


async def test_mail_expires_when_the_forward_says_so(alice: Party) -> None:
    await alice.forward(alice.did, {"n": 1}, expires_time=int(time.time()) - 1)
    await alice.forward(alice.did, {"n": 2}, expires_time=int(time.time()) + 1000)
    assert [a.json["n"] for a in await alice.fetch()] == [2]


@pytest.mark.parametrize("limits", [Limits(lifetime=500)])
@pytest.mark.parametrize(("wanted", "kept"), [(None, 500), (10**9, 500), (400, 400)])
async def test_mail_is_kept_as_long_as_wanted_but_no_longer_than_the_mediator_does(
    alice: Party, tmp_path: Path, wanted: int | None, kept: int
) -> None:
    until = {} if wanted is None else {"expires_time": int(time.time()) + wanted}
    assert (await alice.forward(alice.did, {"n": 1}, **until)).status == 200
    with closing(sqlite3.connect(tmp_path / "mediator.db")) as file:
        [(seconds,)] = file.execute("SELECT expires - received FROM queue")
    assert kept - 60 < seconds <= kept


@pytest.mark.parametrize("limits", [Limits(envelope=128 * 1024)])
async def test_an_envelope_is_kept_up_to_the_size_that_fits_into_a_delivery(alice: Party) -> None:
    most = 48 * 1024
    room = most - len('{"x":""}')
    assert (await alice.forward(alice.did, {"x": "x" * room})).status == 200
    reply = await _post_forward(alice, Attachment(json={"x": "x" * (room + 1)}))
    report = await _report(alice, reply)
    assert (reply.status, report.body["code"]) == (413, "e.p.me.res.storage.message-too-big")
    assert [len(a.json["x"]) for a in await alice.fetch()] == [room]


async def test_a_full_inbox_refuses_with_a_report(alice: Party, stranger: Party) -> None:
    for number in range(20):
        assert (await stranger.forward(alice.did, {"n": number})).status == 200
    forward = Forward(alice.did, (Attachment(json={"n": 20}),)).to_message()
    reply = await stranger.post(await stranger.seal(forward, anonymous=True))
    assert (reply.status, reply.content_type) == (429, SIGNED)
    report = await _report(stranger, reply)
    assert report.body["code"] == "e.p.me.res.storage.queue-full"
    assert report.pthid == forward.id
    assert len(await alice.fetch()) == 20


async def test_a_known_sender_has_a_share_of_an_inbox(alice: Party, bob: Party) -> None:
    for number in range(3):
        forward = await bob.sealed_forward(alice.did, {"n": number}, known=True)
        assert (await bob.post(forward)).status == 200
    reply = await bob.post(await bob.sealed_forward(alice.did, {"n": 3}, known=True))
    assert (reply.status, reply.content_type) == (429, ENCRYPTED)
    report = (await bob.open(reply.body)).message
    assert report.body["code"] == "e.p.me.res.storage.sender-limit"
    assert (await alice.forward(alice.did, {"n": 4})).status == 200


async def test_several_attachments_are_kept_all_or_none(alice: Party) -> None:
    for number in range(19):
        await alice.forward(alice.did, {"n": number})
    assert (await alice.forward(alice.did, {"n": 19}, {"n": 20})).status == 429
    assert (await alice.status()).message_count == 19


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"in": value}
    return value


@pytest.mark.parametrize(
    ("attachments", "status"),
    [
        pytest.param((), 400, id="none"),
        pytest.param((Attachment(json={}),) * 21, 400, id="more than 20"),
        pytest.param((Attachment(links=("https://example.org/x",), hash="x"),), 400, id="links"),
        pytest.param((Attachment(base64="%%%"),), 400, id="not base64"),
        pytest.param((Attachment(base64="bm90IEpTT04"),), 400, id="not JSON"),
        pytest.param((Attachment(json=[1]),), 400, id="no object"),
        pytest.param((Attachment(json="text"),), 400, id="a text"),
        pytest.param((Attachment(json=nested(17)),), 400, id="nested too deep"),
        pytest.param((Attachment(json={"x": "y" * 780_000}),), 400, id="undeliverable"),
    ],
)
async def test_what_no_recipient_could_open_is_refused(
    alice: Party, attachments: tuple[Attachment, ...], status: int
) -> None:
    reply = await _post_forward(alice, *attachments)
    assert reply.status in {status, 413}
    assert await alice.fetch() == []


@pytest.mark.parametrize("next_", [None, "", 7, "nonsense", "did:", "did:peer:", ["did:key:x"]])
async def test_next_is_a_did(alice: Party, next_: object) -> None:
    message = Message(Forward.TYPE, {"next": next_}, attachments=(Attachment(json={}),))
    reply = await alice.post(await alice.seal(message, anonymous=True))
    assert reply.status == 400


async def test_the_mediator_forwards_nothing_to_itself(alice: Party, mediator: Mediator) -> None:
    for next_ in (mediator.identity.did, f"{mediator.identity.did}#key-1"):
        assert (await alice.forward(next_, {"n": 1})).status == 400


async def test_mail_for_a_nested_mediator_is_not_passed_on(
    alice: Party, party: Callable[[], Party]
) -> None:
    """Nobody bound that DID, so it is mail for nobody; and nobody learns that."""
    reply = await alice.forward(party().did, {"n": 1})
    assert (reply.status, reply.body) == (200, b"")


async def _post_forward(party: Party, *attachments: Attachment) -> Reply:
    message = Message(Forward.TYPE, {"next": party.did}, attachments=attachments)
    return await party.post(await party.seal(message, anonymous=True))


async def _report(party: Party, reply: Reply) -> Message:
    opened = await unpack(
        reply.body, secrets=party.secrets, resolver=party.resolver, now=int(time.time())
    )
    assert opened.signer == party.mediator
    assert opened.message.type == ProblemReport.TYPE
    return opened.message
