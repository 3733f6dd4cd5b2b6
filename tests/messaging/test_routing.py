"""Who gets which forward, and where it is brought."""

import pytest

from identity import did_key, did_peer
from identity.keys import Curve, PrivateKey
from messaging import packing
from messaging.encoding import MAX_BYTES
from messaging.errors import MalformedMessage, Unreachable
from messaging.message import Attachment, Message
from messaging.protocols.routing import MAX_ATTACHMENTS, MAX_FORWARDED, Forward
from resolvers.resolver import ResolutionError
from tests.support.parties import NOW, RESOLVER, Party, make_party

ENVELOPE = b'{"protected":"x"}'


async def test_an_address_without_routing_keys_gets_the_bare_envelope() -> None:
    bob = make_party(uri="https://bob.example/inbox")
    assert await ways(bob) == [packing.Outgoing("https://bob.example/inbox", ENVELOPE)]


async def test_a_mediator_named_by_did_gets_a_forward_at_its_own_address() -> None:
    mediator = make_party(uri="https://mediator.example/")
    bob = make_party(uri=mediator.did)
    (outgoing,) = await ways(bob)
    assert outgoing.uri == "https://mediator.example/"
    assert await forwards(outgoing, mediator) == [bob.did]


async def test_every_address_of_a_mediator_is_an_alternative_in_its_order() -> None:
    uris = ("https://mediator.example/", "wss://mediator.example/ws")
    keys = PrivateKey.generate(Curve.X25519), PrivateKey.generate(Curve.ED25519)
    services = [did_peer.didcomm_service(uri) for uri in uris]
    did = did_peer.create_2([keys[0].public], [keys[1].public], services)
    results = await ways(make_party(uri=did))
    assert [outgoing.uri for outgoing in results] == list(uris)
    assert results[0].envelope == results[1].envelope


@pytest.mark.parametrize("count", [1, 2, 5])
async def test_every_routing_key_gets_a_forward_in_the_order_listed(count: int) -> None:
    hops = [make_party() for _ in range(count)]
    bob = make_party(uri="https://first.example/", routing_keys=tuple(hop.kid for hop in hops))
    (outgoing,) = await ways(bob)
    names = [*(hop.kid for hop in hops[1:]), bob.did]
    assert await forwards(outgoing, *hops) == names


async def test_the_mediator_comes_before_the_routing_keys_and_after_its_own() -> None:
    gate, mediator_key, inner = make_party(), PrivateKey.generate(Curve.X25519), make_party()
    signing = PrivateKey.generate(Curve.ED25519)
    did = did_peer.create_2(
        [mediator_key.public],
        [signing.public],
        [did_peer.didcomm_service("https://gate.example/", (gate.did,))],
    )
    mediator = Party(did, mediator_key, signing)
    bob = make_party(uri=did, routing_keys=(inner.did,))
    (outgoing,) = await ways(bob)
    assert outgoing.uri == "https://gate.example/"
    names = [mediator.did, inner.did, bob.did]
    assert await forwards(outgoing, gate, mediator, inner) == names


async def test_a_routing_key_may_be_a_did_key() -> None:
    key = PrivateKey.generate(Curve.X25519)
    did = did_key.create(key.public)
    document = await RESOLVER.resolve(did)
    bob = make_party(uri="https://first.example/", routing_keys=(did,))
    (outgoing,) = await ways(bob)
    opened = await packing.unpack(
        outgoing.envelope, secrets={document.key_agreement[0]: key}, resolver=RESOLVER, now=NOW
    )
    assert Forward.from_message(opened.message).next == bob.did


async def test_a_mediator_behind_a_mediator_named_by_did_is_refused() -> None:
    first = make_party(uri="https://first.example/")
    second = make_party(uri=first.did)
    with pytest.raises(Unreachable):
        await ways(make_party(uri=second.did))


async def test_a_party_without_an_address_cannot_be_reached() -> None:
    with pytest.raises(Unreachable):
        await ways(make_party(uri="didcomm:transport/queue"))


async def test_a_service_for_another_profile_is_passed_over() -> None:
    keys = make_party()
    services = [
        {"t": "dm", "s": {"uri": "https://old.example/", "a": ["didcomm/aip2;env=rfc19"]}},
        {"t": "dm", "s": {"uri": "https://new.example/"}},
    ]
    did = did_peer.create_2([keys.encryption.public], [keys.authentication.public], services)
    results = await packing.route(ENVELOPE, to=did, resolver=RESOLVER)
    assert [outgoing.uri for outgoing in results] == ["https://new.example/"]


async def test_a_recipient_that_does_not_resolve_is_the_resolvers_error() -> None:
    with pytest.raises(ResolutionError):
        await packing.route(ENVELOPE, to="did:unheard:of", resolver=RESOLVER)


async def test_forwards_expire_with_what_they_carry() -> None:
    mediator = make_party(uri="https://mediator.example/")
    bob = make_party(uri=mediator.did)
    (outgoing,) = await packing.route(
        ENVELOPE, to=bob.did, resolver=RESOLVER, expires_time=NOW + 60
    )
    assert (await unpack(outgoing.envelope, mediator)).message.expires_time == NOW + 60


async def test_forwards_are_anonymous() -> None:
    mediator = make_party(uri="https://mediator.example/")
    (outgoing,) = await ways(make_party(uri=mediator.did))
    opened = await unpack(outgoing.envelope, mediator)
    assert (opened.sender, opened.message.frm) == (None, None)


def test_whatever_is_passed_on_fits_into_a_delivery() -> None:
    forward = Forward("did:a:b", (Attachment(base64="A" * (4 * MAX_FORWARDED // 3 + 8)),))
    with pytest.raises(MalformedMessage):
        forward.envelopes()
    assert MAX_FORWARDED * 4 / 3 + 4096 < MAX_BYTES


@pytest.mark.parametrize("count", [0, MAX_ATTACHMENTS + 1])
def test_a_forward_has_something_to_pass_on_and_not_too_much(count: int) -> None:
    message = Forward("did:a:b", (Attachment(json={}),) * count).to_message()
    with pytest.raises(MalformedMessage):
        Forward.from_message(message)


async def test_recipient_and_sender_need_a_curve_in_common() -> None:
    alice, bob = make_party(Curve.P256), make_party(Curve.X25519)
    with pytest.raises(Unreachable):
        await packing.pack(
            Message("t"), to=bob.did, sender=alice.did, secrets=alice.secrets, resolver=RESOLVER
        )


async def test_the_first_curve_of_the_recipient_that_the_sender_has_is_taken() -> None:
    p256, x25519 = PrivateKey.generate(Curve.P256), PrivateKey.generate(Curve.X25519)
    signing = PrivateKey.generate(Curve.ED25519)
    did = did_peer.create_2([p256.public, x25519.public], [signing.public], [])
    secrets = {f"{did}#key-1": p256, f"{did}#key-2": x25519}
    alice = make_party(Curve.X25519)
    envelope = await packing.pack(
        Message("t"), to=did, sender=alice.did, secrets=alice.secrets, resolver=RESOLVER
    )
    opened = await packing.unpack(envelope, secrets=secrets, resolver=RESOLVER, now=NOW)
    assert opened.recipient_kid == f"{did}#key-2"


@pytest.mark.parametrize("message", [Message("t", frm="did:x:y"), Message("t", to=("did:x:y",))])
async def test_a_message_is_not_packed_for_others_than_its_header_says(message: Message) -> None:
    alice, bob = make_party(), make_party()
    with pytest.raises(MalformedMessage):
        await packing.pack(
            message, to=bob.did, sender=alice.did, secrets=alice.secrets, resolver=RESOLVER
        )


async def test_what_nobody_would_accept_is_not_packed() -> None:
    bob = make_party()
    with pytest.raises(MalformedMessage):
        await packing.pack(
            Message("t", {"text": "x" * MAX_BYTES}),
            to=bob.did,
            sender=None,
            secrets={},
            resolver=RESOLVER,
        )


async def ways(recipient: Party) -> list[packing.Outgoing]:
    return await packing.route(ENVELOPE, to=recipient.did, resolver=RESOLVER)


async def forwards(outgoing: packing.Outgoing, *hops: Party) -> list[str]:
    """Unwrap as each of `hops` in turn; to whom each of them is told to pass the rest on."""
    envelope, names = outgoing.envelope, []
    for hop in hops:
        forward = Forward.from_message((await unpack(envelope, hop)).message)
        names.append(forward.next)
        (envelope,) = forward.envelopes()
    assert envelope == ENVELOPE
    return names


async def unpack(envelope: bytes, party: Party) -> packing.Opened:
    return await packing.unpack(envelope, secrets=party.secrets, resolver=RESOLVER, now=NOW)
