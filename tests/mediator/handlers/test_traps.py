"""The traps of test_conformance_traps.py that concern what a mediator says and hears."""

import json
import os
import time
from typing import Any

import pytest

from identity.codec import b64url_decode
from mediator.app import Mediator
from messaging.message import Attachment, Message
from messaging.packing import sign, unpack
from messaging.protocols.report_problem import ProblemReport
from tests.support import foreign_words as wire
from tests.support import hand_sealed
from tests.support.foreign_words import COORDINATIONS, PICKUPS, Pickup
from tests.support.mediator_client import Party, Reply

PING = "https://didcomm.org/trust-ping/2.0/ping"
PONG = "https://didcomm.org/trust-ping/2.0/ping-response"


# 1


@pytest.mark.parametrize(
    ("bound", "answer"),
    [("length and tag", PONG), ("tag", "e.p.crypto"), ("nothing", "e.p.crypto")],
)
async def test_authcrypt_binds_the_tag_with_its_length(
    stranger: Party, bound: str, answer: str
) -> None:
    """By hand, after draft 4 of ECDH-1PU: two ends with one mistake understand each other."""
    plaintext = {"id": "p1", "type": PING, "body": {}, "from": stranger.did}
    plaintext["to"] = [stranger.mediator]
    reply = await stranger.post(await hand_sealed.authcrypt_by_hand(stranger, plaintext, bound))
    if answer == PONG:
        assert (await stranger.open(reply.body)).message.type == PONG
    else:
        assert (await _signed_report(stranger, reply)).body["code"] == answer


# 2


@pytest.mark.parametrize(
    "extra",
    [
        {"lang": "de", "accept-lang": ["de"], "comment": None},
        {"~transport": {"return_route": "all"}, "@type": 5},
        {"pack_options": {"expiry": 7}, "ack": [], "crypto": [[[]]]},
    ],
)
async def test_unknown_headers_do_no_harm(stranger: Party, extra: dict[str, Any]) -> None:
    reply = await stranger.post(await wire.seal_raw(stranger, {**_ping(stranger), **extra}))
    assert (await stranger.open(reply.body)).message.type == PONG


async def test_the_route_of_older_clients_is_seen(stranger: Party) -> None:
    ping = {**_ping(stranger), "custom_headers": [{"return_route": "none"}]}
    assert (await stranger.post(await wire.seal_raw(stranger, ping))).body == b""


# 3


async def test_a_route_said_once_on_a_socket_lasts(stranger: Party) -> None:
    async with stranger.socket(live=False) as socket:
        for route in ("all", None):
            ping = Message(PING, return_route=route)
            answer = await socket.ask(ping)
            assert (answer.type, answer.thid) == (PONG, ping.id)


# 4


async def test_200_with_an_answer_and_200_with_nothing_at_all(
    alice: Party, stranger: Party
) -> None:
    """202 is what the specification recommends, and what one client in use rejects."""
    answered = await stranger.post(await stranger.seal(wire.message(PING)))
    accepted = await wire.forward(stranger, alice.did, b'{"protected":"x"}')
    assert (answered.status, accepted.status) == (200, 200)
    assert answered.body
    assert accepted.body == b""


# 5


@pytest.mark.parametrize("typ", ["didcomm-encrypted+json", "application/didcomm+encrypted", "JWM"])
async def test_the_typ_of_an_envelope_may_leave_out_application(
    stranger: Party, typ: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("messaging.jwe.TYP", typ)
    envelope = await stranger.seal(wire.message(PING))
    monkeypatch.undo()
    assert json.loads(b64url_decode(json.loads(envelope)["protected"]))["typ"] == typ
    reply = await stranger.post(envelope)
    assert (await stranger.open(reply.body)).message.type == PONG


async def test_what_is_not_encrypted_is_refused(stranger: Party) -> None:
    """A mediator acts on nothing that others could have read or written on the way."""
    plain = Message(PING, frm=stranger.did, to=(stranger.mediator,))
    signed = await sign(
        plain, by=stranger.did, secrets=stranger.secrets, resolver=stranger.resolver
    )
    for data in (plain.serialize(), signed):
        reply = await stranger.post(data)
        assert (reply.status, reply.content_type) == (400, "application/didcomm-signed+json")


# 7


@pytest.mark.parametrize("form", ["#key-1", "whole", "#8", "#z"])
async def test_a_key_is_found_under_every_name_it_had(
    stranger: Party, mediator: Mediator, form: str
) -> None:
    """As a recipient's `kid` and as a sender's `skid`: the key counts, not what it is called."""
    names = {
        did: await hand_sealed.key_name(stranger, did, form)
        for did in (stranger.did, stranger.mediator)
    }
    plaintext = json.dumps(_ping(stranger)).encode()
    reply = await stranger.post(await hand_sealed.seal_under(stranger, plaintext, names))
    opened = await unpack(
        reply.body, secrets=stranger.secrets, resolver=stranger.resolver, now=int(time.time())
    )
    assert (opened.message.type, opened.sender) == (PONG, mediator.identity.did)


# 10


@pytest.mark.parametrize("words", PICKUPS, ids=str)
@pytest.mark.parametrize("name", ["recipient_did", "recipient_key"])
async def test_both_names_of_the_recipient_filter(
    alice: Party, stranger: Party, words: Pickup, name: str
) -> None:
    await alice.bind(stranger.did)
    await wire.forward(alice, stranger.did, b'{"protected":"x"}')
    status = await alice.ask(wire.message(f"{words.protocol}/status-request", {name: alice.did}))
    assert (status.body["recipient_did"], status.body["message_count"]) == (alice.did, 0)
    request = {words.limit: 5, name: stranger.did}
    delivery = await alice.ask(wire.message(f"{words.protocol}/delivery-request", request))
    assert delivery.body["recipient_did"] == stranger.did
    assert len(delivery.attachments) == 1


# 11, 12


@pytest.mark.parametrize("words", PICKUPS, ids=str)
async def test_mail_is_delivered_alike_however_it_was_attached(
    alice: Party, bob: Party, words: Pickup
) -> None:
    """As JSON, since some clients read nothing else."""
    for number, as_json in enumerate((True, False)):
        _, envelope = await wire.letter(bob, alice, str(number))
        await wire.forward(bob, alice.did, envelope, as_json=as_json)
    for attachment in (await wire.delivery(alice, words, 5)).attachments:
        assert attachment.base64 is None
        opened = await wire.opened(alice, attachment, int(time.time()))
        assert opened.sender == bob.did


async def test_ids_of_delivered_messages_are_the_mediators_own(alice: Party, bob: Party) -> None:
    """Every forward here calls its attachment "a"."""
    for number in range(3):
        _, envelope = await wire.letter(bob, alice, str(number))
        await wire.forward(bob, alice.did, envelope)
    ids = [a.id for a in await alice.fetch()]
    assert "a" not in ids
    assert len(set(ids)) == 3
    assert [a.id for a in await alice.fetch()] == ids


# 13


@pytest.mark.parametrize("thid", [None, "some-thread"])
async def test_received_with_and_without_a_thread(alice: Party, thid: str | None) -> None:
    await wire.forward(alice, alice.did, b'{"protected":"x"}')
    [message] = await alice.fetch()
    received = wire.message(
        "https://didcomm.org/messagepickup/3.0/messages-received",
        {"message_id_list": [message.id]},
        thid=thid,
    )
    status = await alice.ask(received)
    assert status.type == "https://didcomm.org/messagepickup/3.0/status"
    assert (status.thid, status.body["message_count"]) == (thid or received.id, 0)


# 15


@pytest.mark.parametrize("words", PICKUPS, ids=str)
async def test_live_mode_is_off_on_every_new_connection(alice: Party, words: Pickup) -> None:
    change = wire.message(f"{words.protocol}/live-delivery-change", {"live_delivery": True})
    async with alice.socket(live=False) as socket:
        assert (await socket.ask(change)).body["live_delivery"] is True
    async with alice.socket(live=False) as socket:
        status = await socket.ask(wire.message(f"{words.protocol}/status-request"))
        assert status.body["live_delivery"] is False


@pytest.mark.parametrize("words", PICKUPS, ids=str)
async def test_live_mode_may_come_as_text(alice: Party, words: Pickup) -> None:
    async with alice.socket(live=False) as socket:
        for text, live in (("true", True), ("false", False)):
            change = {"live_delivery": text}
            status = await socket.ask(
                wire.message(f"{words.protocol}/live-delivery-change", change)
            )
            assert status.body["live_delivery"] is live


# 17


async def test_a_report_names_the_thread_it_is_about(stranger: Party) -> None:
    for thid in (None, "some-thread"):
        request = wire.message("https://example.org/unknown/1.0/do", thid=thid)
        report = await stranger.ask(request)
        assert report.type == ProblemReport.TYPE
        assert (report.pthid, report.thid) == (thid or request.id, None)
        assert report.body["code"] == "e.p.msg.unsupported"
        assert report.body["comment"]


async def test_a_report_to_nobody_in_particular_is_signed(stranger: Party) -> None:
    request = wire.message("https://example.org/unknown/1.0/do")
    reply = await stranger.post(await stranger.seal(request, anonymous=True))
    report = await _signed_report(stranger, reply)
    assert (report.body["code"], report.pthid) == ("e.p.msg.unsupported", request.id)


# 18


async def test_every_answer_is_in_the_thread_of_its_request(alice: Party) -> None:
    await wire.forward(alice, alice.did, b'{"protected":"x"}')
    for type_, body in _requests().items():
        for thid in (None, "some-thread"):
            request = wire.message(type_, body, thid=thid)
            assert (await alice.ask(request)).thid == (thid or request.id), type_


@pytest.mark.parametrize("words", PICKUPS, ids=str)
async def test_what_is_pushed_is_in_no_thread_of_anybodys(alice: Party, words: Pickup) -> None:
    change = wire.message(f"{words.protocol}/live-delivery-change", {"live_delivery": True})
    async with alice.socket(live=False) as socket:
        await socket.ask(change)
        await wire.forward(alice, alice.did, b'{"protected":"x"}')
        assert (await socket.receive()).thid is None


# 22


@pytest.mark.parametrize("id_", ["1", "x" * 32, "f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "é" * 99])
async def test_an_id_is_as_long_as_it_is(stranger: Party, id_: str) -> None:
    ping = Message(PING, id=id_, return_route="all")
    assert (await stranger.ask(ping)).thid == id_


async def test_two_senders_may_use_one_id(alice: Party, bob: Party, stranger: Party) -> None:
    for sender in (bob, stranger):
        forward = Message(
            "https://didcomm.org/routing/2.0/forward",
            {"next": alice.did},
            id="same",
            attachments=(Attachment(id="same", json={"protected": sender.did}),),
        )
        assert (await sender.post(await sender.seal(forward))).status == 200
    assert len(await alice.fetch()) == 2


# 23


@pytest.mark.parametrize("unit", ["seconds", "milliseconds", "fractions", "ISO 8601"])
async def test_times_in_every_form_that_occurs(stranger: Party, unit: str) -> None:
    def written(seconds: float) -> object:
        iso = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
        forms = {"seconds": int(seconds), "milliseconds": int(seconds * 1000)}
        return {**forms, "fractions": seconds, "ISO 8601": iso}[unit]

    now = time.time()
    for expires, answer in ((now + 60, PONG), (now - 300, "e.p.msg.expired")):
        ping = {**_ping(stranger), "created_time": written(now), "expires_time": written(expires)}
        reply = await stranger.post(await wire.seal_raw(stranger, ping))
        if answer == PONG:
            assert (await stranger.open(reply.body)).message.type == PONG
        else:
            assert (await _signed_report(stranger, reply)).body["code"] == answer


async def test_the_time_of_what_is_inside_is_none_of_the_mediators_business(alice: Party) -> None:
    outdated = b'{"protected":"x","expires_time":1}'
    assert (await wire.forward(alice, alice.did, outdated)).status == 200
    assert len(await alice.fetch()) == 1


# 24


@pytest.mark.parametrize("anonymous", [True, False])
async def test_no_forward_is_acknowledged_by_a_mediator(
    alice: Party, stranger: Party, anonymous: bool
) -> None:
    forward = Message(
        "https://didcomm.org/routing/2.0/forward",
        {"next": alice.did},
        please_ack=("",),
        return_route="all",
        attachments=(Attachment(json={"protected": "x"}),),
    )
    reply = await stranger.post(await stranger.seal(forward, anonymous=anonymous))
    assert (reply.status, reply.body) == (200, b"")


# 25


async def test_the_invitation_is_compact_and_safe_in_a_url(mediator: Mediator) -> None:
    url = mediator.identity.describe()["invitation"]
    text = url.partition("_oob=")[2]
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    data = b64url_decode(text)
    invitation = json.loads(data)
    compact = json.dumps(invitation, separators=(",", ":"), ensure_ascii=False)
    assert data == compact.encode()
    assert invitation["type"] == "https://didcomm.org/out-of-band/2.0/invitation"
    assert invitation["from"] == mediator.identity.did
    assert invitation["body"] == {"accept": ["didcomm/v2"], "goal_code": "request-mediate"} | (
        {"goal": invitation["body"]["goal"]} if "goal" in invitation["body"] else {}
    )


# Helpers


def _ping(party: Party) -> dict[str, Any]:
    id_ = os.urandom(8).hex()
    return {"id": id_, "type": PING, "body": {}, "from": party.did, "to": [party.mediator]}


def _requests() -> dict[str, dict[str, Any]]:
    """One of each that is answered, in an order in which each makes sense."""
    requests: dict[str, dict[str, Any]] = {
        PING: {},
        "https://didcomm.org/discover-features/2.0/queries": {
            "queries": [{"feature-type": "protocol", "match": "*"}]
        },
        "https://didcomm.org/messagepickup/3.0/messages-received": {"message_id_list": []},
    }
    for coordination in COORDINATIONS:
        requests[f"{coordination.protocol}/mediate-request"] = {}
        requests[f"{coordination.protocol}/{coordination.update}"] = {"updates": []}
        requests[f"{coordination.protocol}/{coordination.query}"] = {}
    for pickup in PICKUPS:
        requests[f"{pickup.protocol}/status-request"] = {}
        requests[f"{pickup.protocol}/delivery-request"] = {pickup.limit: 1}
    return requests


async def _signed_report(party: Party, reply: Reply) -> Message:
    assert (reply.status, reply.content_type) == (400, "application/didcomm-signed+json")
    opened = await unpack(reply.body, secrets={}, resolver=party.resolver, now=int(time.time()))
    assert opened.signer == party.mediator
    return opened.message
