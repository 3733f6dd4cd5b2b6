"""What one side seals the other opens, and nothing that comes in makes the entrance fall over."""

import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from identity.errors import InvalidKey
from identity.keys import Curve, PrivateKey, PublicKey
from messaging import envelope, jwe, jws, packing
from messaging.content_encryption import Encryption
from messaging.errors import (
    DecryptionFailed,
    MalformedMessage,
    MessagingError,
    UnprovenSender,
    UnsupportedAlgorithm,
)
from messaging.message import Attachment, Message
from messaging.protocols.out_of_band import Invitation
from tests.support.parties import AGREEMENT, NOW, RESOLVER, SIGNING, Party, make_party

PARTIES = {
    (agreement, signing): (make_party(agreement, signing), make_party(agreement, signing))
    for agreement in AGREEMENT
    for signing in SIGNING
}

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text
values = st.recursive(
    scalars | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
attachments = st.builds(
    Attachment,
    id=st.none() | text,
    json=values.filter(lambda value: value is not None),
    media_type=st.none() | text,
)
messages = st.builds(
    Message,
    type=text.filter(bool),
    body=st.dictionaries(text, values, max_size=4),
    thid=st.none() | text,
    pthid=st.none() | text,
    created_time=st.none() | st.integers(NOW - 1000, NOW),
    expires_time=st.none() | st.integers(NOW, NOW + 1000),
    return_route=st.none() | st.sampled_from(["all", "none", "thread"]),
    please_ack=st.lists(text, max_size=2).map(tuple),
    attachments=st.lists(attachments, max_size=3).map(tuple),
    extra=st.dictionaries(text.map("x-{}".format), values, max_size=2),
)


@given(messages)
def test_a_message_is_the_same_after_its_bytes(message: Message) -> None:
    assert Message.parse(message.serialize()) == message


@settings(max_examples=300, deadline=None)
@given(
    messages,
    st.sampled_from(AGREEMENT),
    st.sampled_from(SIGNING),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_what_is_packed_is_unpacked(
    message: Message, agreement: Curve, signing: Curve, sealed: bool, signed: bool, hidden: bool
) -> None:
    alice, bob = PARTIES[agreement, signing]
    envelope = asyncio.run(
        packing.pack(
            message,
            to=bob.did,
            sender=alice.did if sealed else None,
            secrets=alice.secrets,
            resolver=RESOLVER,
            sign_by=alice.did if signed else None,
            protect_sender=hidden,
        )
    )
    opened = asyncio.run(unpack(envelope, bob))
    author = alice.did if sealed or signed else None
    assert opened.sender == author
    assert opened.signer == (alice.did if signed else None)
    assert (opened.recipient, opened.recipient_kid) == (bob.did, bob.kid)
    assert opened.message.frm == author
    assert opened.message.to == (bob.did,)
    assert (opened.message.body, opened.message.extra) == (message.body, message.extra)
    assert opened.message.attachments == message.attachments


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from(AGREEMENT), st.sampled_from(Encryption))
def test_every_content_encryption_on_every_curve(
    plaintext: bytes, curve: Curve, encryption: Encryption
) -> None:
    party = PARTIES[curve, Curve.ED25519][0]
    sealed = jwe.encrypt_anonymously(plaintext, [(party.kid, party.encryption.public)], encryption)
    layer = jwe.Jwe.from_json(orjson.loads(sealed))
    assert (layer.encryption, layer.sender_kid) == (encryption, None)
    assert layer.decrypt(party.kid, party.encryption, None) == plaintext


def test_every_recipient_opens_the_same_envelope() -> None:
    alice = PARTIES[Curve.P256, Curve.ED25519][0]
    recipients = [make_party(Curve.P256) for _ in range(5)]
    keys = [(party.kid, party.encryption.public) for party in recipients]
    layer = jwe.Jwe.from_json(
        orjson.loads(jwe.encrypt_authenticated(b"hello", keys, alice.kid, alice.encryption))
    )
    assert len(layer.recipients) == 5
    for party in recipients:
        opened = layer.decrypt(party.kid, party.encryption, alice.encryption.public)
        assert opened == b"hello"


@pytest.mark.parametrize("curves", [[Curve.ED25519], [Curve.SECP256K1], [Curve.X25519, Curve.P256]])
def test_an_envelope_is_for_keys_of_one_curve_for_agreement(curves: list[Curve]) -> None:
    keys = [(f"did:x:y#{curve}", PrivateKey.generate(curve).public) for curve in curves]
    with pytest.raises(InvalidKey):
        jwe.encrypt_anonymously(b"hello", keys)


def test_authcrypt_does_not_open_without_its_sender() -> None:
    alice, bob = PARTIES[Curve.X25519, Curve.ED25519]
    keys = [(bob.kid, bob.encryption.public)]
    sealed = jwe.encrypt_authenticated(b"hello", keys, alice.kid, alice.encryption)
    with pytest.raises(DecryptionFailed):
        jwe.Jwe.from_json(orjson.loads(sealed)).decrypt(bob.kid, bob.encryption, None)


def test_every_number_of_a_p521_envelope_has_its_full_length() -> None:
    recipient = PARTIES[Curve.P521, Curve.ED25519][0]
    for _ in range(100):
        keys = [(recipient.kid, recipient.encryption.public)]
        value = orjson.loads(jwe.encrypt_anonymously(b"hello", keys))
        layer = jwe.Jwe.from_json(value)
        assert [len(layer.epk[name]) for name in ("x", "y")] == [88, 88]
        assert layer.decrypt(recipient.kid, recipient.encryption, None) == b"hello"


def test_every_es256k_signature_has_a_low_s() -> None:
    key = PrivateKey.generate(Curve.SECP256K1)
    order = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
    for number in range(200):
        layer = jws.Jws.from_json(orjson.loads(jws.sign(b"%d" % number, key, "did:x:y#k")))
        (signature,) = layer.signatures
        assert len(signature.signature) == 64
        assert int.from_bytes(signature.signature[32:], "big") <= order // 2
        layer.verify(lambda _: key.public)


def test_a_flattened_signature_is_read_like_a_general_one() -> None:
    key = PrivateKey.generate(Curve.ED25519)
    value = orjson.loads(jws.sign(b"hello", key, "did:x:y#k"))
    (entry,) = value.pop("signatures")
    layer = jws.Jws.from_json(value | entry)
    layer.verify(lambda _: key.public)
    assert (layer.payload, layer.signatures[0].kid) == (b"hello", "did:x:y#k")


@pytest.mark.parametrize("curve", SIGNING)
def test_compact_signatures(curve: Curve) -> None:
    key, other = PrivateKey.generate(curve), PrivateKey.generate(curve)
    asked = []

    def find_key(kid: str) -> PublicKey:
        asked.append(kid)
        return key.public

    token = jws.sign_compact(b"statement", key, "did:x:y#k", typ="JWT")
    assert jws.verify_compact(token, find_key) == (b"statement", "did:x:y#k")
    assert asked == ["did:x:y#k"]
    with pytest.raises(UnprovenSender):
        jws.verify_compact(token, lambda _: other.public)
    head, payload, signature = token.split(".")
    with pytest.raises(UnprovenSender):
        jws.verify_compact(f"{head}.{payload}AAAA.{signature}", find_key)


def test_a_key_on_a_curve_without_algorithm_signs_nothing() -> None:
    with pytest.raises(UnsupportedAlgorithm):
        jws.sign(b"hello", PrivateKey.generate(Curve.P384), "did:x:y#k")


def test_a_compact_signature_without_end_is_refused() -> None:
    key = PrivateKey.generate(Curve.ED25519)
    with pytest.raises(MalformedMessage):
        jws.read_compact(jws.sign_compact(b"x" * jws.MAX_COMPACT, key, "did:x:y#k"))


@given(st.text(max_size=200))
@example("..")
@example("e30.e30.")
def test_no_text_crashes_the_reader_of_compact_signatures(token: str) -> None:
    with pytest.raises(MessagingError):
        jws.read_compact(token)


@given(st.binary(max_size=400) | values.map(orjson.dumps))
def test_no_bytes_crash_the_readers(data: bytes) -> None:
    for reader in (Message.parse, envelope.read):
        try:
            reader(data)
        except MessagingError:
            continue


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_no_mutation_crashes_unpack(data: st.DataObject) -> None:
    _, bob = PARTIES[Curve.X25519, Curve.ED25519]
    value = orjson.loads(data.draw(st.sampled_from(SAMPLES)))
    mutate(value, data)
    try:
        asyncio.run(unpack(orjson.dumps(value), bob))
    except MessagingError:
        return


@given(st.text(max_size=300) | st.binary(max_size=200).map(lambda b: f"https://x/?_oob={b.hex()}"))
def test_no_url_crashes_the_reader_of_invitations(url: str) -> None:
    with pytest.raises(MessagingError):
        Invitation.from_url(url)


def mutate(value: Any, data: st.DataObject) -> None:
    """Replace, remove or add one member somewhere, protected header included."""
    while True:
        if isinstance(value, list):
            value = dict(enumerate(value)) if not value else value[0]
            continue
        name = data.draw(st.sampled_from(sorted(value)))
        inner = value[name]
        if isinstance(inner, dict | list) and inner and data.draw(st.booleans()):
            value = inner
            continue
        if name == "protected" and data.draw(st.booleans()):
            header = orjson.loads(jws.b64decode(inner))
            mutate(header, data)
            value[name] = jws.b64encode(orjson.dumps(header)).decode()
        else:
            value[name] = data.draw(values | st.just(inner).map(lambda kept: [kept]))
        return


async def unpack(data: bytes, party: Party) -> packing.Opened:
    return await packing.unpack(data, secrets=party.secrets, resolver=RESOLVER, now=NOW)


def samples() -> list[bytes]:
    alice, bob = PARTIES[Curve.X25519, Curve.ED25519]
    content = Message("test", {"text": "hello"}, frm=alice.did, to=(bob.did,)).serialize()
    signed = jws.sign(content, alice.authentication, alice.signing_kid)
    keys = [(bob.kid, bob.encryption.public)]
    sealed = jwe.encrypt_authenticated(content, keys, alice.kid, alice.encryption)
    return [signed, sealed, *(jwe.encrypt_anonymously(inner, keys) for inner in (sealed, signed))]


SAMPLES = samples()
