"""Twenty-five places in the specifications where mediators and their clients fall out.

TRAPS says for each which tests stand on it, here or with the code that it concerns; a name in it
that no test has is an error.
"""

import hashlib
import hmac
import json
import os
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from identity.codec import b64url_decode, b64url_encode
from mediator.app import Mediator
from messaging.message import Attachment, Message
from messaging.packing import sign, unpack
from messaging.protocols.report_problem import ProblemReport
from tests.support import foreign_words as wire
from tests.support import named_tests
from tests.support.foreign_words import COORDINATIONS, PICKUPS, Pickup
from tests.support.mediator_client import Party, Reply

TRAPS: dict[str, tuple[str, ...]] = {
    "1 key derivation of ECDH-1PU": (
        "mediator/test_conformance_traps.py::test_authcrypt_binds_the_tag_with_its_length",
        "interop/test_envelopes.py::test_they_open_what_we_seal",
        "interop/test_envelopes.py::test_we_open_what_they_seal",
        "interop/test_client_switches.py::test_draft_3_authcrypt",
    ),
    "2 unknown headers": (
        "mediator/test_conformance_traps.py::test_unknown_headers_do_no_harm",
        "mediator/test_conformance_traps.py::test_the_route_of_older_clients_is_seen",
    ),
    "3 return_route": (
        "mediator/test_entrance.py::test_an_answer_comes_back_the_same_way",
        "mediator/test_entrance.py::test_without_a_return_route_it_is_done_in_silence",
        "mediator/test_conformance_traps.py::test_a_route_said_once_on_a_socket_lasts",
        "mediator/test_outbound.py"
        "::test_an_absent_return_route_means_none_to_whoever_wants_the_specification",
        "mediator/test_conformance_iohk.py"
        "::test_p2_a_ping_is_answered_at_the_senders_address_and_not_in_the_body",
    ),
    "4 status of HTTP": (
        "mediator/test_conformance_traps.py::test_200_with_an_answer_and_200_with_nothing_at_all",
    ),
    "5 media types": (
        "mediator/test_entrance.py::test_any_content_type_is_let_in",
        "mediator/test_conformance_traps.py::test_the_typ_of_an_envelope_may_leave_out_application",
        "mediator/test_conformance_traps.py::test_what_is_not_encrypted_is_refused",
    ),
    "6 typ of the plaintext": (
        "messaging/test_message.py::test_typ_is_optional_and_body_may_be_missing",
        "messaging/test_message.py::test_a_message_is_written_in_the_words_of_the_specification",
    ),
    "7 forms of kid": (
        "mediator/test_conformance_traps.py::test_a_key_is_found_under_every_name_it_had",
        "identity/test_did_peer.py::test_legacy_key_ids_name_the_same_key",
        "identity/test_document.py::test_relative_ids_become_absolute_and_absolute_ones_stay",
        "interop/test_client_switches.py::test_legacy_key_ids",
    ),
    "8 services of did:peer:2": (
        "identity/test_did_peer.py::test_every_old_shape_of_a_service_is_read",
        "identity/test_did_peer.py::test_two_services_in_one_list_get_two_ids",
        "identity/test_document.py::test_every_form_of_endpoint_is_read",
        "mediator/test_routing.py"
        "::test_old_and_new_shapes_of_did_peer_2_are_found_as_they_were_bound",
    ),
    "9 routing_did": (
        "mediator/test_conformance_iohk.py::test_m0_mediation_is_granted_with_a_routing_did",
        "messaging/test_protocols.py::test_a_grant_with_a_single_routing_did_is_read",
        "mediator/test_conformance_iohk.py::test_m1_a_did_is_added",
    ),
    "10 recipient_did and recipient_key": (
        "mediator/test_conformance_traps.py::test_both_names_of_the_recipient_filter",
    ),
    "11 form of attachments": (
        "mediator/test_conformance_traps.py::test_mail_is_delivered_alike_however_it_was_attached",
        "mediator/test_forwarding.py::test_equal_envelopes_are_kept_once_however_attached",
    ),
    "12 ids of attachments": (
        "mediator/test_conformance_traps.py::test_ids_of_delivered_messages_are_the_mediators_own",
    ),
    "13 answer to messages-received": (
        "mediator/test_conformance_traps.py::test_received_with_and_without_a_thread",
        "mediator/test_pickup_4.py::test_an_acknowledgement_works_and_is_not_answered",
    ),
    "14 empty queue, units, names": (
        "mediator/test_conformance_iohk.py::test_k4_where_nothing_waits_there_is_nothing_to_open",
        "mediator/test_pickup_4.py::test_a_status_has_milliseconds_and_no_waiting_time",
        "mediator/test_pickup_4.py::test_a_delivery_has_at_most_the_count_asked_for",
    ),
    "15 live mode": (
        "mediator/test_live.py::test_what_comes_is_pushed_as_a_delivery_and_stays",
        "mediator/test_conformance_traps.py::test_live_mode_is_off_on_every_new_connection",
        "mediator/test_conformance_traps.py::test_live_mode_may_come_as_text",
    ),
    "16 live mode over HTTP": (
        "mediator/test_live.py::test_a_stranger_cannot_go_live",
        "mediator/test_pickup.py::test_live_delivery_over_http_is_refused",
        "mediator/test_pickup_4.py"
        "::test_live_delivery_over_http_is_refused_in_the_protocols_own_words",
    ),
    "17 problem codes": (
        "mediator/test_conformance_traps.py::test_a_report_names_the_thread_it_is_about",
        "mediator/test_conformance_traps.py::test_a_report_to_nobody_in_particular_is_signed",
        "mediator/test_entrance.py::test_a_problem_report_is_never_answered",
        "mediator/test_pickup_4.py::test_a_report_of_the_protocols_own_type_is_never_answered",
    ),
    "18 thid": (
        "mediator/test_conformance_traps.py::test_every_answer_is_in_the_thread_of_its_request",
        "mediator/test_conformance_traps.py::test_what_is_pushed_is_in_no_thread_of_anybodys",
    ),
    "19 next": (
        "mediator/test_forwarding.py::test_the_recipient_is_found_by_one_of_its_keys",
        "mediator/test_forwarding.py"
        "::test_a_long_did_is_found_by_its_short_form_and_the_other_way_round",
        "mediator/test_routing.py::test_a_recipient_is_found_by_its_key_as_did_key",
        "mediator/test_routing.py::test_by_a_key_mail_is_queued_once_for_the_account",
        "mediator/test_routing.py::test_a_key_leads_to_whoever_proved_a_did_that_has_it",
    ),
    "20 an endpoint that is a DID": (
        "messaging/test_routing.py"
        "::test_the_mediator_comes_before_the_routing_keys_and_after_its_own",
        "messaging/test_routing.py::test_a_mediator_behind_a_mediator_named_by_did_is_refused",
        "mediator/test_forwarding.py::test_the_mediator_forwards_nothing_to_itself",
        "mediator/test_routing.py"
        "::test_a_sender_wraps_for_nested_mediators_by_the_recipients_document",
        "mediator/test_routing.py"
        "::test_a_document_that_names_this_url_as_endpoint_is_mail_for_nobody",
        "mediator/test_routing.py::test_its_own_url_is_not_passed_on_to_however_it_is_spelled",
    ),
    "21 several keys": (
        "messaging/test_roundtrips.py::test_every_recipient_opens_the_same_envelope",
        "messaging/test_roundtrips.py::test_an_envelope_is_for_keys_of_one_curve_for_agreement",
        "interop/test_envelopes.py::test_several_keys_of_the_recipient_in_one_envelope",
    ),
    "22 ids of messages": (
        "mediator/test_conformance_traps.py::test_an_id_is_as_long_as_it_is",
        "mediator/test_conformance_traps.py::test_two_senders_may_use_one_id",
    ),
    "23 times": (
        "mediator/test_conformance_traps.py::test_times_in_every_form_that_occurs",
        "mediator/test_forwarding.py::test_mail_expires_when_the_forward_says_so",
        "mediator/test_conformance_traps.py"
        "::test_the_time_of_what_is_inside_is_none_of_the_mediators_business",
        "mediator/test_routing.py::test_mail_waits_for_its_expiry_and_no_longer",
    ),
    "24 please_ack": (
        "mediator/test_conformance_traps.py::test_no_forward_is_acknowledged_by_a_mediator",
        "mediator/test_routing.py::test_an_acknowledgement_asked_for_is_not_given",
    ),
    "25 out-of-band": (
        "mediator/test_conformance_traps.py::test_the_invitation_is_compact_and_safe_in_a_url",
    ),
}

PING = "https://didcomm.org/trust-ping/2.0/ping"
PONG = "https://didcomm.org/trust-ping/2.0/ping-response"


def test_the_table_names_twenty_five_traps_and_no_test_that_is_not_there() -> None:
    assert [int(trap.split()[0]) for trap in TRAPS] == list(range(1, 26))
    assert named_tests.missing(test for tests in TRAPS.values() for test in tests) == []


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
    reply = await stranger.post(await _authcrypt_by_hand(stranger, plaintext, bound))
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
    names = {did: await _name(stranger, did, form) for did in (stranger.did, stranger.mediator)}
    plaintext = json.dumps(_ping(stranger)).encode()
    reply = await stranger.post(await _seal_under(stranger, plaintext, names))
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


async def _name(party: Party, did: str, form: str) -> str:
    """A did:peer:2 DID's key for agreement, named as libraries of several years did."""
    if form == "#key-1":
        return f"{did}#key-1"
    document = await party.resolver.resolve(did)
    [method] = document.keys("keyAgreement")
    assert method.key is not None
    multibase = method.key.to_multikey()
    return f"{did}#" + {"whole": multibase[1:], "#8": multibase[1:9], "#z": multibase}[form]


async def _seal_under(party: Party, plaintext: bytes, names: dict[str, str]) -> bytes:
    from messaging.jwe import encrypt_authenticated

    document = await party.resolver.resolve(party.mediator)
    [method] = document.keys("keyAgreement")
    assert method.key is not None
    secret = party.secrets[f"{party.did}#key-1"]
    recipients = [(names[party.mediator], method.key)]
    return encrypt_authenticated(plaintext, recipients, names[party.did], secret)


async def _authcrypt_by_hand(party: Party, plaintext: dict[str, Any], bound: str) -> bytes:
    """ECDH-1PU+A256KW with A256CBC-HS512, of primitives alone."""
    skid, kid = f"{party.did}#key-1", f"{party.mediator}#key-1"
    document = await party.resolver.resolve(party.mediator)
    method = document.method(kid)
    assert method.key is not None
    theirs = method.key.native
    ours = party.secrets[skid].native
    ephemeral = X25519PrivateKey.generate()
    apu = skid.encode()
    apv = hashlib.sha256(kid.encode()).digest()
    protected = {
        "typ": "application/didcomm-encrypted+json",
        "alg": "ECDH-1PU+A256KW",
        "enc": "A256CBC-HS512",
        "skid": skid,
        "apu": b64url_encode(apu),
        "apv": b64url_encode(apv),
        "epk": {
            "kty": "OKP",
            "crv": "X25519",
            "x": b64url_encode(ephemeral.public_key().public_bytes_raw()),
        },
    }
    header = b64url_encode(json.dumps(protected).encode())
    content_key, iv = os.urandom(64), os.urandom(16)
    padder = padding.PKCS7(128).padder()
    padded = padder.update(json.dumps(plaintext).encode()) + padder.finalize()
    encryptor = Cipher(algorithms.AES(content_key[32:]), modes.CBC(iv)).encryptor()
    ciphertext = encryptor.update(padded) + encryptor.finalize()
    aad = header.encode()
    authenticated = aad + iv + ciphertext + (len(aad) * 8).to_bytes(8, "big")
    tag = hmac.digest(content_key[:32], authenticated, "sha512")[:32]
    secret = ephemeral.exchange(theirs) + ours.exchange(theirs)  # type: ignore[arg-type,call-arg,union-attr]
    info = b"".join(_sized(part) for part in (b"ECDH-1PU+A256KW", apu, apv))
    info += (256).to_bytes(4, "big")
    info += {"length and tag": _sized(tag), "tag": tag, "nothing": b""}[bound]
    wrapping = hashlib.sha256((1).to_bytes(4, "big") + secret + info).digest()
    wrapped = b64url_encode(aes_key_wrap(wrapping, content_key))
    return json.dumps(
        {
            "protected": header,
            "recipients": [{"header": {"kid": kid}, "encrypted_key": wrapped}],
            "iv": b64url_encode(iv),
            "ciphertext": b64url_encode(ciphertext),
            "tag": b64url_encode(tag),
        }
    ).encode()


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
