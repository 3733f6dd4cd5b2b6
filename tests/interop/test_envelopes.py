"""Every kind of envelope, both ways, with implementations that share no code with ours."""

from typing import Any

import pytest

from identity import did_peer
from identity.keys import Curve, PrivateKey
from messaging import jwe, packing
from messaging.content_encryption import Encryption
from messaging.message import Attachment, Message
from messaging.protocols.routing import Forward
from messaging.rotation import PriorDid, sign_prior
from tests.support.parties import AGREEMENT, NOW, RESOLVER, SIGNING, Party, make_party
from tests.support.peers.process import Peer, PeerError

pytestmark = pytest.mark.interop

LAYERS = {
    "authcrypt": {"sender": True},
    "anoncrypt": {},
    "anoncrypt(authcrypt)": {"sender": True, "protect_sender": True},
    "authcrypt(signed)": {"sender": True, "sign_by": True},
    "anoncrypt(signed)": {"sign_by": True},
    "anoncrypt(authcrypt(signed))": {"sender": True, "sign_by": True, "protect_sender": True},
}


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("curve", AGREEMENT)
async def test_they_open_what_we_seal(peer, peer_name, curve: Curve, layers: str) -> None:
    skip_unless_known(peer_name, curve)
    alice, bob = introduced(peer, curve)
    envelope = await seal(alice, bob, layers)
    opened = peer.ask("unpack", envelope=envelope.decode())
    assert opened["message"]["body"] == BODY
    assert opened["message"]["from"] == alice.did
    assert opened["authenticated"] == ("authcrypt" in layers or "signed" in layers)
    assert opened["sender_kid"] == (alice.kid if "authcrypt" in layers else None)
    assert opened["signer_kid"] == (alice.signing_kid if "signed" in layers else None)


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("curve", AGREEMENT)
async def test_we_open_what_they_seal(peer, peer_name, curve: Curve, layers: str) -> None:
    skip_unless_known(peer_name, curve)
    alice, bob = introduced(peer, curve)
    options: dict[str, Any] = dict(LAYERS[layers])
    for name in {"sender", "sign_by"} & options.keys():
        options[name] = alice.did
    envelope = peer.ask("pack", message=plain(alice, bob), to=bob.did, **options)
    opened = await unpack(envelope, bob)
    assert opened.message.body == BODY
    assert opened.recipient == bob.did
    assert opened.sender == (alice.did if options.keys() & {"sender", "sign_by"} else None)
    assert opened.signer == (alice.did if "signed" in layers else None)


@pytest.mark.parametrize("encryption", Encryption)
@pytest.mark.parametrize("curve", AGREEMENT)
async def test_anoncrypt_in_every_content_encryption(
    peer, peer_name, curve: Curve, encryption: Encryption
) -> None:
    skip_unless_known(peer_name, curve)
    _, bob = introduced(peer, curve)
    theirs = peer.ask("pack", message=plain(None, bob), to=bob.did, encryption=encryption.value)
    assert (await unpack(theirs, bob)).message.body == BODY
    plaintext = Message("test", BODY, to=(bob.did,)).serialize()
    ours = jwe.encrypt_anonymously(plaintext, [(bob.kid, bob.encryption.public)], encryption)
    assert peer.ask("unpack", envelope=ours.decode())["message"]["body"] == BODY


@pytest.mark.parametrize("curve", SIGNING)
async def test_signed_messages(peer, curve: Curve) -> None:
    alice, bob = introduced(peer, signing=curve)
    theirs = peer.ask("sign", message=plain(alice, bob), sign_by=alice.did)
    assert (await unpack(theirs, bob)).signer == alice.did
    message = Message("test", BODY, to=(bob.did,))
    ours = await packing.sign(message, by=alice.did, secrets=alice.secrets, resolver=RESOLVER)
    assert peer.ask("unpack", envelope=ours.decode())["signer_kid"] == alice.signing_kid


async def test_strict_readers_take_all_of_our_es256k_signatures(peer) -> None:
    alice, bob = introduced(peer, signing=Curve.SECP256K1)
    for _ in range(50):
        message = Message("test", BODY, to=(bob.did,))
        ours = await packing.sign(message, by=alice.did, secrets=alice.secrets, resolver=RESOLVER)
        assert peer.ask("unpack", envelope=ours.decode())["signed"]


async def test_several_keys_of_the_recipient_in_one_envelope(peer) -> None:
    alice, first = introduced(peer)
    second = PrivateKey.generate(Curve.X25519)
    did = did_peer.create_2(
        [first.encryption.public, second.public], [first.authentication.public], []
    )
    bob = Party(did, first.encryption, first.authentication)
    document = bob.foreign_document()
    method = {"type": "JsonWebKey2020", "controller": did, "publicKeyJwk": second.public.to_jwk()}
    methods = document["verificationMethod"]
    methods[1]["id"] = f"{did}#key-3"
    methods.append({"id": f"{did}#key-2", **method})
    document |= {"keyAgreement": [bob.kid, f"{did}#key-2"], "authentication": [f"{did}#key-3"]}
    secret = {"kid": f"{did}#key-2", "jwk": second.to_jwk()}
    documents = [alice.foreign_document(), document]
    peer.ask("know", documents=documents, secrets=[*alice.foreign_secrets(), secret])
    envelope = await seal(alice, bob, "authcrypt")
    assert peer.ask("unpack", envelope=envelope.decode())["message"]["body"] == BODY
    theirs = peer.ask("pack", message=plain(alice, bob), to=did, sender=alice.did)
    for kid, key in ((bob.kid, bob.encryption), (f"{did}#key-2", second)):
        opened = await packing.unpack(
            theirs.encode(), secrets={kid: key}, resolver=RESOLVER, now=NOW
        )
        assert opened.recipient_kid == kid


async def test_the_mediator_unwraps_their_forward(peer) -> None:
    mediator, bob = introduced(peer)
    inner = peer.ask("pack", message=plain(None, bob), to=bob.did)
    wrapped = peer.ask("forward", envelope=inner, to=bob.did, routing_keys=[mediator.kid])
    forward = Forward.from_message((await unpack(wrapped, mediator)).message)
    assert forward.next == bob.did
    assert (await unpack(forward.envelopes()[0].decode(), bob)).message.body == BODY


async def test_they_unwrap_our_forward(peer) -> None:
    mediator = make_party(uri="https://mediator.example/")
    bob = make_party(uri=mediator.did)
    know(peer, mediator)
    envelope = await seal(bob, bob, "anoncrypt")
    (outgoing,) = await packing.route(envelope, to=bob.did, resolver=RESOLVER)
    opened = peer.ask("unpack", envelope=outgoing.envelope.decode())
    assert opened["message"]["body"]["next"] == bob.did
    (attachment,) = opened["message"]["attachments"]
    content = Attachment.from_json(attachment).content().decode()
    know(peer, bob)
    assert peer.ask("unpack", envelope=content)["message"]["body"] == BODY


async def test_rotation_to_a_new_did(peer) -> None:
    alice, bob = introduced(peer)
    old = make_party()
    know(peer, alice, bob, old)
    theirs = plain(alice, bob) | {"prior": {"iss": old.did, "sub": alice.did, "iat": NOW}}
    envelope = peer.ask("pack", message=theirs, to=bob.did, sender=alice.did)
    assert (await unpack(envelope, bob)).prior == PriorDid(old.did, alice.did, NOW)
    token = sign_prior(old.signing_kid, old.authentication, alice.did, NOW)
    ours = await packing.pack(
        Message("test", BODY, from_prior=token),
        to=bob.did,
        sender=alice.did,
        secrets=alice.secrets,
        resolver=RESOLVER,
    )
    assert peer.ask("unpack", envelope=ours.decode())["message"]["body"] == BODY


async def test_they_refuse_what_we_tampered_with(peer) -> None:
    alice, bob = introduced(peer)
    envelope = await seal(alice, bob, "authcrypt")
    with pytest.raises(PeerError):
        peer.ask("unpack", envelope=envelope.decode()[:-6] + 'AAAA"}')


async def test_a_did_made_by_peerdid_is_a_party_like_any_other(sicpa) -> None:
    keys = make_party()
    did = sicpa.ask(
        "create_peer_did",
        encryption=keys.encryption.public.to_multikey(),
        authentication=keys.authentication.public.to_multikey(),
        service={"type": "DIDCommMessaging", "serviceEndpoint": "https://bob.example/"},
    )
    document = await RESOLVER.resolve(did)
    assert document.keys("keyAgreement")[0].key == keys.encryption.public
    # It calls its keys by the first characters of their text: one key, several names.
    alias = f"{did}#{keys.encryption.public.to_multikey()[1:9]}"
    envelope = jwe.encrypt_anonymously(
        Message("test", BODY, to=(did,)).serialize(), [(alias, keys.encryption.public)]
    )
    bob = Party(did, keys.encryption, keys.authentication)
    assert (await unpack(envelope.decode(), bob)).recipient_kid == f"{did}#key-1"


async def test_peerdid_finds_the_keys_in_a_did_of_ours(sicpa) -> None:
    party = make_party()
    document = sicpa.ask("resolve", did=party.did)
    texts = {method["publicKeyMultibase"] for method in document["verificationMethod"]}
    assert texts == {key.public.to_multikey() for key in party.secrets.values()}


BODY = {"text": "grüße", "number": 7, "list": [1, {"deep": None}]}


def introduced(
    peer: Peer, curve: Curve = Curve.X25519, signing: Curve = Curve.ED25519
) -> tuple[Party, Party]:
    """Two parties whose documents and secrets the peer has too."""
    parties = make_party(curve, signing), make_party(curve, signing)
    know(peer, *parties)
    return parties


def know(peer: Peer, *parties: Party) -> None:
    documents = [party.foreign_document() for party in parties]
    secrets = [entry for party in parties for entry in party.foreign_secrets()]
    peer.ask("know", documents=documents, secrets=secrets)


def plain(sender: Party | None, recipient: Party) -> dict[str, Any]:
    value = Message("test", BODY, to=(recipient.did,), created_time=NOW).to_json()
    return {**value, "to": list(value["to"])} | ({"from": sender.did} if sender else {})


async def seal(sender: Party, recipient: Party, layers: str) -> bytes:
    options = LAYERS[layers]
    return await packing.pack(
        Message("test", BODY, frm=sender.did, created_time=NOW),
        to=recipient.did,
        sender=sender.did if "sender" in options else None,
        secrets=sender.secrets,
        resolver=RESOLVER,
        sign_by=sender.did if "sign_by" in options else None,
        protect_sender="protect_sender" in options,
    )


async def unpack(envelope: str, recipient: Party) -> packing.Opened:
    return await packing.unpack(
        envelope.encode(), secrets=recipient.secrets, resolver=RESOLVER, now=NOW
    )


def skip_unless_known(peer_name: str, curve: Curve) -> None:
    if peer_name == "node" and curve in (Curve.P384, Curve.P521):
        pytest.skip(f"didcomm-node 0.4.1 does not know {curve}")
