"""Attack messages at the one entrance: each is built as the attacker would, and refused."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from identity import did_key, did_peer
from identity.document import DidDocument
from identity.keys import Curve, PrivateKey
from messaging import errors, jwe, jws, packing
from messaging.content_encryption import Encryption
from messaging.encoding import MAX_BYTES, b64decode, b64encode
from messaging.message import Message
from messaging.replay import KEEP, ReplayGuard
from messaging.rotation import sign_prior
from tests.support.parties import NOW, RESOLVER, make_party

ALICE, BOB, MALLORY = make_party(), make_party(), make_party()
BODY = {"text": "pay 10"}

Attack = Callable[[], Awaitable[bytes] | bytes]
ATTACKS: dict[str, tuple[Attack, type[errors.MessagingError]]] = {}


def attack(error: type[errors.MessagingError]) -> Callable[[Attack], Attack]:
    def register(build: Attack) -> Attack:
        ATTACKS[build.__name__] = build, error
        return build

    return register


async def test_the_honest_messages_beside_the_attacks_are_accepted() -> None:
    for options in ({}, {"sign_by": ALICE.did}, {"protect_sender": True}):
        opened = await unpack(await honest(**options))
        assert (opened.sender, opened.message.body) == (ALICE.did, BODY)
    prior = sign_prior(MALLORY.signing_kid, MALLORY.authentication, ALICE.did, NOW)
    opened = await unpack(await honest(Message("test", BODY, from_prior=prior)))
    assert opened.prior is not None
    assert (opened.prior.old, opened.prior.new) == (MALLORY.did, ALICE.did)


# -- who it is from


@attack(errors.UnprovenSender)
def authcrypt_by_mallory_that_says_from_alice() -> bytes:
    return authcrypt(message(frm=ALICE.did), MALLORY.kid, MALLORY.encryption)


@attack(errors.UnprovenSender)
def authcrypt_without_from() -> bytes:
    return authcrypt(message(frm=None), ALICE.kid, ALICE.encryption)


@attack(errors.DecryptionFailed)
def authcrypt_with_the_skid_of_another() -> bytes:
    return authcrypt(message(frm=ALICE.did), ALICE.kid, MALLORY.encryption)


@attack(errors.UnprovenSender)
def skid_that_is_an_authentication_key_only() -> bytes:
    sender = make_party(signing=Curve.P256)
    recipient = make_party(curve=Curve.P256)
    SECRETS.update(recipient.secrets)
    content = Message("test", BODY, frm=sender.did, to=(recipient.did,)).serialize()
    recipients = [(recipient.kid, recipient.encryption.public)]
    return jwe.encrypt_authenticated(content, recipients, sender.signing_kid, sender.authentication)


@attack(errors.UnprovenSender)
def skid_that_the_document_does_not_list() -> bytes:
    return authcrypt(message(), f"{ALICE.did}#key-9", ALICE.encryption)


@attack(errors.UnprovenSender)
def skid_of_no_did() -> bytes:
    return authcrypt(message(), "#key-1", ALICE.encryption)


@attack(errors.DecryptionFailed)
def skid_on_another_curve() -> bytes:
    sender = make_party(curve=Curve.P256)
    content = message(frm=sender.did)
    envelope = authcrypt(content, ALICE.kid, ALICE.encryption)
    names = {"skid": sender.kid, "apu": b64encode(sender.kid.encode()).decode()}
    return reprotect(envelope, **names)


@attack(errors.UnprovenSender)
def signed_by_mallory_that_says_from_alice() -> bytes:
    return jws.sign(message(frm=ALICE.did), MALLORY.authentication, MALLORY.signing_kid)


@attack(errors.UnprovenSender)
def signed_with_a_key_of_another() -> bytes:
    return jws.sign(message(), MALLORY.authentication, ALICE.signing_kid)


@attack(errors.UnprovenSender)
def signed_with_a_key_for_agreement_only() -> bytes:
    signer = make_party(curve=Curve.P256)
    return jws.sign(message(frm=signer.did), signer.encryption, signer.kid)


@attack(errors.UnprovenSender)
def foreign_signature_inside_authcrypt() -> bytes:
    signed = jws.sign(message(frm=ALICE.did), ALICE.authentication, ALICE.signing_kid)
    return authcrypt(signed, MALLORY.kid, MALLORY.encryption)


@attack(errors.UnprovenSender)
def own_signature_inside_the_authcrypt_of_another() -> bytes:
    signed = jws.sign(message(frm=MALLORY.did), ALICE.authentication, ALICE.signing_kid)
    return authcrypt(signed, MALLORY.kid, MALLORY.encryption)


@attack(errors.UnprovenSender)
def a_second_signature_by_somebody_else() -> bytes:
    first = orjson.loads(jws.sign(message(), ALICE.authentication, ALICE.signing_kid))
    second = orjson.loads(jws.sign(message(), MALLORY.authentication, MALLORY.signing_kid))
    first["signatures"] += second["signatures"]
    return orjson.dumps(first)


@attack(errors.UnprovenSender)
async def from_prior_signed_by_mallory_for_alice() -> bytes:
    claims = {"iss": ALICE.did, "sub": MALLORY.did, "iat": NOW}
    token = jws.sign_compact(orjson.dumps(claims), MALLORY.authentication, MALLORY.signing_kid)
    return mallory_rotates(token)


@attack(errors.UnprovenSender)
def from_prior_with_the_kid_of_alice_and_the_key_of_mallory() -> bytes:
    return mallory_rotates(sign_prior(ALICE.signing_kid, MALLORY.authentication, MALLORY.did, NOW))


@attack(errors.UnprovenSender)
def from_prior_of_alice_for_another_replayed_by_mallory() -> bytes:
    return mallory_rotates(sign_prior(ALICE.signing_kid, ALICE.authentication, BOB.did, NOW))


@attack(errors.UnprovenSender)
def from_prior_in_a_message_without_proven_sender() -> bytes:
    token = sign_prior(ALICE.signing_kid, ALICE.authentication, MALLORY.did, NOW)
    return anoncrypt(message(frm=MALLORY.did, from_prior=token))


@attack(errors.MalformedMessage)
def from_prior_that_is_no_token() -> bytes:
    return mallory_rotates("a.b")


@attack(errors.MalformedMessage)
def from_prior_that_speaks_for_nobody() -> bytes:
    claims = orjson.dumps({"sub": MALLORY.did, "iat": NOW})
    key, kid = MALLORY.authentication, MALLORY.signing_kid
    return mallory_rotates(jws.sign_compact(claims, key, kid))


# -- who it is for


@attack(errors.NotAddressedToUs)
def to_names_somebody_else() -> bytes:
    return authcrypt(message(to=(MALLORY.did,)), ALICE.kid, ALICE.encryption)


@attack(errors.NotAddressedToUs)
def anonymous_with_to_somebody_else() -> bytes:
    return anoncrypt(message(frm=None, to=(MALLORY.did,)))


@attack(errors.NotAddressedToUs)
def signed_for_mallory_and_sealed_again_for_bob() -> bytes:
    content = message(to=(MALLORY.did,))
    return anoncrypt(jws.sign(content, ALICE.authentication, ALICE.signing_kid))


@attack(errors.NotAddressedToUs)
def signed_for_nobody_and_sealed_for_bob() -> bytes:
    return anoncrypt(jws.sign(message(to=()), ALICE.authentication, ALICE.signing_kid))


@attack(errors.NotAddressedToUs)
def sealed_for_another_key() -> bytes:
    recipients = [(MALLORY.kid, MALLORY.encryption.public)]
    return jwe.encrypt_anonymously(message(frm=None), recipients)


@attack(errors.DecryptionFailed)
def sealed_with_another_key_under_our_kid() -> bytes:
    return jwe.encrypt_anonymously(message(frm=None), [(BOB.kid, MALLORY.encryption.public)])


@attack(errors.DecryptionFailed)
def our_signing_key_named_as_recipient() -> bytes:
    recipients = [(BOB.signing_kid, BOB.encryption.public)]
    return jwe.encrypt_anonymously(message(frm=None), recipients)


# -- altered on the way


@attack(errors.DecryptionFailed)
async def stripped_tag() -> bytes:
    return edit(await honest(), tag="")


@attack(errors.MalformedMessage)
async def no_tag() -> bytes:
    return edit(await honest(), tag=None)


@attack(errors.DecryptionFailed)
async def shortened_tag() -> bytes:
    tag = b64decode(orjson.loads(await honest())["tag"])[:16]
    return edit(await honest(), tag=b64encode(tag).decode())


@attack(errors.DecryptionFailed)
async def one_bit_of_the_ciphertext_flipped() -> bytes:
    return flip_a_bit(await honest())


@attack(errors.DecryptionFailed)
def tag_moved_into_the_ciphertext() -> bytes:
    value = orjson.loads(anoncrypt(message(frm=None)))
    sealed = b64decode(value["ciphertext"]) + b64decode(value["tag"])
    return orjson.dumps(value | {"ciphertext": b64encode(sealed).decode(), "tag": ""})


@attack(errors.DecryptionFailed)
async def swapped_epk() -> bytes:
    epk = PrivateKey.generate(Curve.X25519).public.to_jwk()
    return reprotect(await honest(), epk=epk)


@attack(errors.DecryptionFailed)
async def swapped_content() -> bytes:
    other = orjson.loads(await honest())
    return edit(await honest(), ciphertext=other["ciphertext"], iv=other["iv"], tag=other["tag"])


@attack(errors.DecryptionFailed)
async def epk_of_small_order() -> bytes:
    return reprotect(await honest(), epk={"kty": "OKP", "crv": "X25519", "x": "A" * 43})


@attack(errors.DecryptionFailed)
async def epk_on_another_curve() -> bytes:
    return reprotect(await honest(), epk=PrivateKey.generate(Curve.P256).public.to_jwk())


@attack(errors.DecryptionFailed)
def epk_off_its_curve() -> bytes:
    recipient = make_party(curve=Curve.P256)
    SECRETS.update(recipient.secrets)
    recipients = [(recipient.kid, recipient.encryption.public)]
    envelope = jwe.encrypt_anonymously(message(), recipients)
    epk = {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43}
    return reprotect(envelope, epk=epk)


@attack(errors.MalformedMessage)
async def epk_outside_the_protected_header() -> bytes:
    value = orjson.loads(await honest())
    header = orjson.loads(b64decode(value["protected"]))
    value["recipients"][0]["header"]["epk"] = header.pop("epk")
    value["protected"] = b64encode(orjson.dumps(header)).decode()
    return orjson.dumps(value)


@attack(errors.MalformedMessage)
async def recipient_removed_from_the_list() -> bytes:
    recipients = [(BOB.kid, BOB.encryption.public), (MALLORY.kid, MALLORY.encryption.public)]
    value = orjson.loads(jwe.encrypt_anonymously(message(frm=None), recipients))
    del value["recipients"][1]
    return orjson.dumps(value)


@attack(errors.MalformedMessage)
async def no_apv() -> bytes:
    return reprotect(await honest(), apv=None)


@attack(errors.MalformedMessage)
async def apu_of_another_than_skid() -> bytes:
    return reprotect(await honest(), apu=b64encode(MALLORY.kid.encode()).decode())


@attack(errors.MalformedMessage)
async def no_sender_kid_and_an_apu_that_is_no_text() -> bytes:
    return reprotect(await honest(), skid=None, apu=b64encode(b"\xff").decode())


@attack(errors.UnprovenSender)
def altered_payload_of_a_signed_message() -> bytes:
    signed = jws.sign(message(), ALICE.authentication, ALICE.signing_kid)
    content = Message("test", {"text": "pay 99"}, frm=ALICE.did, to=(BOB.did,)).serialize()
    return edit(signed, payload=b64encode(content).decode())


# -- algorithms


@attack(errors.MalformedMessage)
async def compressed_content() -> bytes:
    return reprotect(await honest(), zip="DEF")


@attack(errors.MalformedMessage)
async def critical_header_that_nobody_knows() -> bytes:
    return reprotect(await honest(), crit=["exp"])


@attack(errors.MalformedMessage)
async def shared_unprotected_header() -> bytes:
    return edit(await honest(), unprotected={"zip": "DEF"})


@attack(errors.UnsupportedAlgorithm)
async def key_agreement_none() -> bytes:
    return reprotect(await honest(), alg="none")


@attack(errors.UnsupportedAlgorithm)
async def direct_key_agreement() -> bytes:
    return reprotect(await honest(), alg="ECDH-ES")


@attack(errors.UnsupportedAlgorithm)
async def authcrypt_with_a_content_encryption_of_anoncrypt() -> bytes:
    return reprotect(await honest(), enc="A256GCM")


@attack(errors.MalformedMessage)
async def algorithm_that_is_no_text() -> bytes:
    return reprotect(await honest(), alg=["ECDH-ES+A256KW"])


@attack(errors.UnsupportedAlgorithm)
def signature_by_nobody() -> bytes:
    return resign(alg="none")


@attack(errors.UnsupportedAlgorithm)
def signature_with_the_public_key_as_secret() -> bytes:
    return resign(alg="HS256")


@attack(errors.UnprovenSender)
def signature_algorithm_of_another_curve() -> bytes:
    protected = b64encode(orjson.dumps({"typ": jws.TYP, "alg": "ES256K"}))
    payload = b64encode(message())
    signature = b64encode(ALICE.authentication.sign(protected + b"." + payload)).decode()
    header = {"kid": ALICE.signing_kid}
    entry = {"protected": protected.decode(), "signature": signature, "header": header}
    return orjson.dumps({"payload": payload.decode(), "signatures": [entry]})


@attack(errors.MalformedMessage)
def general_and_flattened_signature_in_one() -> bytes:
    value = orjson.loads(jws.sign(message(), ALICE.authentication, ALICE.signing_kid))
    return orjson.dumps(value | value["signatures"][0])


@attack(errors.MalformedMessage)
def signature_with_a_critical_header() -> bytes:
    return resign(crit=["b64"], b64=False)


# -- size and structure


@attack(errors.NotAddressedToUs)
def a_hundred_recipients_and_not_us() -> bytes:
    return many_recipients(jwe.MAX_RECIPIENTS)


@attack(errors.MalformedMessage)
def thousands_of_recipients() -> bytes:
    return many_recipients(5000)


@attack(errors.MalformedMessage)
def the_same_recipient_twice() -> bytes:
    value = orjson.loads(anoncrypt(message(frm=None)))
    return orjson.dumps(value | {"recipients": value["recipients"] * 2})


@attack(errors.MalformedMessage)
def no_recipient() -> bytes:
    return many_recipients(0)


@attack(errors.MalformedMessage)
def an_endless_kid() -> bytes:
    recipients = [("did:peer:2." + "A" * 5000, BOB.encryption.public)]
    return jwe.encrypt_anonymously(message(frm=None), recipients)


@attack(errors.MalformedMessage)
async def a_protected_header_without_end() -> bytes:
    return reprotect(await honest(), more="x" * jwe.MAX_PROTECTED)


@attack(errors.MalformedMessage)
def thousands_of_signatures() -> bytes:
    value = orjson.loads(jws.sign(message(), ALICE.authentication, ALICE.signing_kid))
    value["signatures"] *= 5000
    return orjson.dumps(value)


@attack(errors.MalformedMessage)
def deep_json() -> bytes:
    return b'{"protected":' + b"[" * 500 + b"]" * 500 + b"}"


@attack(errors.MalformedMessage)
def bottomless_json() -> bytes:
    return b'{"a":' * 200_000


@attack(errors.MalformedMessage)
def deep_json_inside() -> bytes:
    return anoncrypt(b'{"type":"t","id":"i","body":' + b'{"a":' * 40 + b"1" + b"}" * 41)


@attack(errors.MalformedMessage)
async def one_byte_too_many() -> bytes:
    return (await honest()).ljust(MAX_BYTES + 1)


@attack(errors.MalformedMessage)
def a_message_without_envelope() -> bytes:
    return message()


@attack(errors.MalformedMessage)
def authcrypt_inside_authcrypt() -> bytes:
    inner = authcrypt(message(), ALICE.kid, ALICE.encryption)
    return authcrypt(inner, ALICE.kid, ALICE.encryption)


@attack(errors.MalformedMessage)
def anoncrypt_inside_authcrypt() -> bytes:
    return authcrypt(anoncrypt(message()), ALICE.kid, ALICE.encryption)


@attack(errors.MalformedMessage)
def encrypted_inside_signed() -> bytes:
    return jws.sign(anoncrypt(message()), ALICE.authentication, ALICE.signing_kid)


@attack(errors.MalformedMessage)
def two_hundred_attachments() -> bytes:
    attachments = [{"data": {"json": {}}}] * 200
    content = {"type": "t", "id": "i", "body": {}, "attachments": attachments}
    return anoncrypt(orjson.dumps(content))


# -- time


@attack(errors.Expired)
def expired() -> bytes:
    return authcrypt(message(expires_time=NOW - 121), ALICE.kid, ALICE.encryption)


@attack(errors.Expired)
def from_the_future() -> bytes:
    return authcrypt(message(created_time=NOW + 121), ALICE.kid, ALICE.encryption)


@attack(errors.Expired)
def kept_for_a_month() -> bytes:
    return authcrypt(message(created_time=NOW - 30 * 86400), ALICE.kid, ALICE.encryption)


@pytest.mark.parametrize("name", ATTACKS)
async def test_unpack_refuses(name: str) -> None:
    build, error = ATTACKS[name]
    envelope = build()
    if not isinstance(envelope, bytes):
        envelope = await envelope
    with pytest.raises(error) as raised:
        await unpack(envelope)
    assert type(raised.value) is error


# -- and what a table cannot say


async def test_clocks_may_differ_by_two_minutes() -> None:
    for times in ({"expires_time": NOW - 119}, {"created_time": NOW + 119}):
        await unpack(authcrypt(message(**times), ALICE.kid, ALICE.encryption))


async def test_a_message_is_acted_on_once() -> None:
    guard, envelope = ReplayGuard(), await honest()
    await unpack(envelope, replay=guard)
    with pytest.raises(errors.Replayed):
        await unpack(envelope, replay=guard)
    with pytest.raises(errors.Replayed):  # another spelling of the same envelope
        await unpack(orjson.dumps(orjson.loads(envelope), option=orjson.OPT_INDENT_2), replay=guard)
    await unpack(await honest(), replay=guard)


async def test_a_signed_message_in_a_new_envelope_is_a_replay() -> None:
    guard = ReplayGuard()
    signed = jws.sign(message(), ALICE.authentication, ALICE.signing_kid)
    await unpack(anoncrypt(signed), replay=guard)
    with pytest.raises(errors.Replayed):
        await unpack(anoncrypt(signed), replay=guard)


async def test_a_refused_message_is_not_remembered() -> None:
    guard, envelope = ReplayGuard(), authcrypt(message(expires_time=NOW), *SENDER)
    with pytest.raises(errors.Expired):
        await unpack(envelope, replay=guard, now=NOW + 500)
    await unpack(envelope, replay=guard)


async def test_anonymous_messages_are_nobodys_replay() -> None:
    guard, envelope = ReplayGuard(), anoncrypt(message(frm=None))
    await unpack(envelope, replay=guard)
    assert (await unpack(envelope, replay=guard)).sender is None


def test_the_guard_forgets_what_is_too_old_to_be_accepted_and_never_grows_beyond_its_limit() -> (
    None
):
    guard = ReplayGuard(limit=2)
    guard.admit("did:a", b"1", 0)
    guard.admit("did:b", b"1", 0)
    with pytest.raises(errors.Replayed):
        guard.admit("did:b", b"1", KEEP)
    guard.admit("did:a", b"2", 1)  # the third: the first is forgotten
    guard.admit("did:a", b"1", 1)
    guard = ReplayGuard()
    guard.admit("did:a", b"1", 0)
    guard.admit("did:a", b"1", KEEP + 1)


async def test_no_character_of_an_envelope_can_be_changed_unnoticed() -> None:
    envelope = await honest()
    for position in range(len(envelope)):
        for replacement in (b"A", b"-", b"Q"):
            changed = envelope[:position] + replacement + envelope[position + 1 :]
            if changed != envelope:
                with pytest.raises(errors.MessagingError):
                    await unpack(changed)


@pytest.mark.parametrize("encryption", Encryption)
async def test_every_content_encryption_notices_a_flipped_bit(encryption: Encryption) -> None:
    keys = [(BOB.kid, BOB.encryption.public)]
    envelope = jwe.encrypt_anonymously(message(frm=None), keys, encryption)
    await unpack(envelope)
    with pytest.raises(errors.DecryptionFailed):
        await unpack(flip_a_bit(envelope))


async def test_the_sender_of_anoncrypt_is_nobody_whatever_it_says() -> None:
    opened = await unpack(anoncrypt(message(frm=ALICE.did)))
    assert (opened.sender, opened.signer) == (None, None)


async def test_the_sender_may_be_named_by_apu_alone() -> None:
    protected = jwe._protected
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jwe, "_protected", lambda *header: without_skid(protected(*header)))
        envelope = authcrypt(message(), *SENDER)
    assert "skid" not in orjson.loads(b64decode(orjson.loads(envelope)["protected"]))
    assert (await unpack(envelope)).sender == ALICE.did


async def test_an_anonymous_message_needs_no_to() -> None:
    opened = await unpack(anoncrypt(message(frm=None, to=())))
    assert opened.recipient == BOB.did


async def test_a_sender_that_cannot_be_resolved_now_is_told_from_one_that_never_can() -> None:
    short = did_peer.short_form(did_peer.create_4(unseen_document()))
    assert short is not None
    with pytest.raises(errors.UnresolvedSender):
        await unpack(authcrypt(message(frm=short), f"{short}#key-1", ALICE.encryption))
    unknown = "did:unheard:of"
    with pytest.raises(errors.UnprovenSender):
        await unpack(authcrypt(message(frm=unknown), f"{unknown}#key-1", ALICE.encryption))


async def test_no_curve_is_touched_before_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(*_: object) -> bytes:
        raise AssertionError("a key agreement happened")

    monkeypatch.setattr(jwe, "agree", touched)
    early = ("thousands_of_recipients", "compressed_content", "no_apv", "deep_json")
    for name in early:
        build, error = ATTACKS[name]
        envelope = build()
        with pytest.raises(error):
            await unpack(envelope if isinstance(envelope, bytes) else await envelope)
    with pytest.raises(AssertionError, match="a key agreement"):
        await unpack(await honest())


SENDER = (ALICE.kid, ALICE.encryption)
SECRETS = dict(BOB.secrets)


async def unpack(
    envelope: bytes, replay: ReplayGuard | None = None, now: int = NOW
) -> packing.Opened:
    return await packing.unpack(
        envelope, secrets=SECRETS, resolver=RESOLVER, now=now, replay=replay
    )


async def honest(content: Message | None = None, **options: Any) -> bytes:
    content = content if content is not None else Message("test", BODY, created_time=NOW)
    return await packing.pack(
        content,
        to=BOB.did,
        sender=ALICE.did,
        secrets=ALICE.secrets,
        resolver=RESOLVER,
        **options,
    )


def message(**headers: Any) -> bytes:
    content = Message("test", BODY, frm=ALICE.did, to=(BOB.did,), created_time=NOW)
    return replace(content, **headers).serialize()


def authcrypt(content: bytes, kid: str, key: PrivateKey) -> bytes:
    return jwe.encrypt_authenticated(content, [(BOB.kid, BOB.encryption.public)], kid, key)


def anoncrypt(content: bytes) -> bytes:
    return jwe.encrypt_anonymously(content, [(BOB.kid, BOB.encryption.public)])


def mallory_rotates(token: str) -> bytes:
    content = message(frm=MALLORY.did, from_prior=token)
    return authcrypt(content, MALLORY.kid, MALLORY.encryption)


def edit(envelope: bytes, **members: Any) -> bytes:
    return orjson.dumps(orjson.loads(envelope) | members)


def reprotect(envelope: bytes, **members: Any) -> bytes:
    """Another protected header; a member that is None is taken out."""
    value = orjson.loads(envelope)
    header = orjson.loads(b64decode(value["protected"])) | members
    header = {name: member for name, member in header.items() if member is not None}
    value["protected"] = b64encode(orjson.dumps(header)).decode()
    return orjson.dumps(value)


def resign(**members: Any) -> bytes:
    value = orjson.loads(jws.sign(message(), ALICE.authentication, ALICE.signing_kid))
    (entry,) = value["signatures"]
    header = orjson.loads(b64decode(entry["protected"])) | members
    entry["protected"] = b64encode(orjson.dumps(header)).decode()
    return orjson.dumps(value)


def flip_a_bit(envelope: bytes) -> bytes:
    ciphertext = bytearray(b64decode(orjson.loads(envelope)["ciphertext"]))
    ciphertext[20] ^= 1
    return edit(envelope, ciphertext=b64encode(bytes(ciphertext)).decode())


def without_skid(protected: bytes) -> bytes:
    header = orjson.loads(b64decode(protected.decode()))
    del header["skid"]
    return b64encode(orjson.dumps(header))


def many_recipients(count: int) -> bytes:
    value = orjson.loads(anoncrypt(message(frm=None)))
    (entry,) = value["recipients"]
    kids = [f"did:example:{number}#key-1" for number in range(count)]
    value["recipients"] = [{**entry, "header": {"kid": kid}} for kid in kids]
    apv = hashlib.sha256(".".join(sorted(kids)).encode()).digest()
    return reprotect(orjson.dumps(value), apv=b64encode(apv).decode())


def unseen_document() -> dict[str, Any]:
    document: DidDocument = did_key.resolve(did_key.create(make_party().encryption.public))
    key = document.verification_methods[0]
    assert key.key is not None
    method = {"id": "#key-1", "type": "Multikey", "publicKeyMultibase": key.key.to_multikey()}
    return {"verificationMethod": [method], "keyAgreement": ["#key-1"]}
