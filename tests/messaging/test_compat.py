"""Deviating envelopes: refused unless let in, and what lets them in lets nothing else in."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap
from hypothesis import given
from hypothesis import strategies as st

from identity.keys import Curve, PrivateKey, PublicKey
from messaging import errors, jwe, packing
from messaging.compat import STRICT, Leniency
from messaging.content_encryption import Encryption, Sealed, _cbc_tag
from messaging.encoding import b64decode, b64encode
from messaging.jwe import Dialect
from messaging.key_agreement import Agreement, derive
from messaging.message import Message
from messaging.replay import ReplayGuard
from tests.support.deviating import (
    draft_3,
    epk_beside_kid,
    open_draft_3,
    without_apv,
    written,
)
from tests.support.parties import NOW, RESOLVER, Party, make_party

ALICE, BOB, CAROL, MALLORY = (make_party() for _ in range(4))
BODY = {"text": "pay 10"}
LENIENT = Leniency(**{switch.name: True for switch in fields(Leniency)})
DRAFT_3 = Dialect(Encryption.A256GCM, binds_tag=False)

Build = Callable[[], bytes]
DEVIATIONS: dict[str, Build] = {}
ATTACKS: dict[str, tuple[Build, type[errors.MessagingError]]] = {}


def deviation(switch: str) -> Callable[[Build], Build]:
    def register(build: Build) -> Build:
        DEVIATIONS[switch] = build
        return build

    return register


def attack(error: type[errors.MessagingError]) -> Callable[[Build], Build]:
    def register(build: Build) -> Build:
        ATTACKS[build.__name__] = build, error
        return build

    return register


# -- what is let in


@deviation("draft_3_authcrypt")
def as_veramo_authcrypts(
    content: bytes | None = None, kid: str = ALICE.kid, key: PrivateKey = ALICE.encryption
) -> bytes:
    return draft_3(content or message(), keys([BOB]), (kid, key))


@deviation("missing_apv")
def as_veramo_anoncrypts() -> bytes:
    return without_apv(message(frm=None), keys([BOB]))


@deviation("recipient_epk")
def as_didcomm_messaging_anoncrypts() -> bytes:
    return epk_beside_kid(message(frm=None), keys([BOB]))


@pytest.mark.parametrize("switch", DEVIATIONS)
async def test_a_deviation_is_refused_unless_its_switch_is_on(switch: str) -> None:
    envelope = DEVIATIONS[switch]()
    others = {name: True for name in DEVIATIONS if name != switch}
    for leniency in (STRICT, Leniency(**others)):
        with pytest.raises((errors.MalformedMessage, errors.UnsupportedAlgorithm)):
            await unpack(envelope, leniency)
    opened = await unpack(envelope, Leniency(**{switch: True}))
    assert opened.message.body == BODY
    assert opened.sender == (ALICE.did if switch == "draft_3_authcrypt" else None)


async def test_nobody_is_lenient_by_accident() -> None:
    for build in DEVIATIONS.values():
        with pytest.raises((errors.MalformedMessage, errors.UnsupportedAlgorithm)):
            await packing.unpack(build(), secrets=BOB.secrets, resolver=RESOLVER, now=NOW)


@pytest.mark.parametrize("encryption", Encryption)
async def test_draft_3_is_answered_in_draft_3_with_the_same_content_encryption(
    encryption: Encryption,
) -> None:
    question = draft_3(message(), keys([BOB]), (ALICE.kid, ALICE.encryption), encryption)
    opened = await unpack(question, LENIENT)
    assert opened.dialect == Dialect(encryption, binds_tag=False)
    answer = await packing.pack(
        Message("test", BODY),
        to=ALICE.did,
        sender=BOB.did,
        secrets=BOB.secrets,
        resolver=RESOLVER,
        dialect=opened.dialect,
    )
    header = protected(answer)
    assert header["enc"] == encryption
    assert b64decode(header["apu"]) == BOB.kid.encode()  # bound all the same: they are let in
    plain = open_draft_3(answer, ALICE.kid, ALICE.encryption, BOB.encryption.public)
    assert Message.parse(plain).body == BODY
    with pytest.raises((errors.DecryptionFailed, errors.UnsupportedAlgorithm)):
        await packing.unpack(answer, secrets=ALICE.secrets, resolver=RESOLVER, now=NOW)


async def test_who_speaks_didcomm_is_answered_in_didcomm() -> None:
    opened = await unpack(honest(), LENIENT)
    assert opened.dialect == jwe.DIDCOMM


@pytest.mark.parametrize("form", ["6LSabcde", "6LS…", "z6LS…"])
@pytest.mark.parametrize("whose", ["theirs", "ours", "both"])
async def test_who_uses_old_key_ids_is_answered_under_them(whose: str, form: str) -> None:
    theirs = alias(ALICE, form) if whose != "ours" else ALICE.kid
    ours = alias(BOB, form) if whose != "theirs" else BOB.kid
    envelope = jwe.encrypt_authenticated(
        message(), [(ours, BOB.encryption.public)], theirs, ALICE.encryption
    )
    assert (await unpack(envelope, STRICT)).dialect == jwe.DIDCOMM
    opened = await unpack(envelope, LENIENT)
    answer = await packing.pack(
        Message("test", BODY),
        to=ALICE.did,
        sender=BOB.did,
        secrets=BOB.secrets,
        resolver=RESOLVER,
        dialect=opened.dialect,
    )
    assert protected(answer)["skid"] == ours
    [entry] = orjson.loads(answer)["recipients"]
    assert entry["header"]["kid"] == theirs
    read = await packing.unpack(answer, secrets=ALICE.secrets, resolver=RESOLVER, now=NOW)
    assert (read.sender, read.message.body) == (BOB.did, BODY)


async def test_old_names_answer_nobody_but_who_asked() -> None:
    envelope = jwe.encrypt_authenticated(
        message(), [(alias(BOB), BOB.encryption.public)], alias(ALICE), ALICE.encryption
    )
    dialect = (await unpack(envelope, LENIENT)).dialect
    for sender, to in ((BOB, MALLORY), (CAROL, ALICE)):
        with pytest.raises(errors.Unreachable):
            await packing.pack(
                Message("test", BODY),
                to=to.did,
                sender=sender.did,
                secrets=sender.secrets,
                resolver=RESOLVER,
                dialect=dialect,
            )


@pytest.mark.parametrize("anonymous", [True, False])
def test_recipients_are_listed_in_the_order_of_apv(anonymous: bool) -> None:
    parties = sorted((BOB, CAROL), key=lambda party: party.did, reverse=True)
    envelope = (
        anoncrypt(b"{}", parties)
        if anonymous
        else jwe.encrypt_authenticated(b"{}", keys(parties), ALICE.kid, ALICE.encryption)
    )
    kids = [entry["header"]["kid"] for entry in orjson.loads(envelope)["recipients"]]
    digest = hashlib.sha256(".".join(kids).encode()).digest()
    assert b64decode(protected(envelope)["apv"]) == digest


# -- attacks on a reader who lets everything in


@pytest.mark.parametrize("name", ATTACKS)
async def test_attack(name: str) -> None:
    build, error = ATTACKS[name]
    with pytest.raises(errors.MessagingError) as caught:
        await unpack(build(), LENIENT)
    assert type(caught.value) is error


@attack(errors.UnprovenSender)
def draft_3_by_mallory_that_says_from_alice() -> bytes:
    return as_veramo_authcrypts(message(), MALLORY.kid, MALLORY.encryption)


@attack(errors.DecryptionFailed)
def draft_3_by_mallory_under_the_skid_of_alice() -> bytes:
    return as_veramo_authcrypts(message(), ALICE.kid, MALLORY.encryption)


@attack(errors.DecryptionFailed)
def draft_3_of_mallory_with_the_skid_changed_to_alice() -> bytes:
    sealed = as_veramo_authcrypts(message(), MALLORY.kid, MALLORY.encryption)
    return reprotect(sealed, skid=ALICE.kid)


@attack(errors.DecryptionFailed)
def draft_3_anonymously_with_a_skid_added() -> bytes:
    sealed = without_apv(message(), keys([BOB]))
    return reprotect(sealed, alg=str(Agreement.AUTHENTICATED), skid=ALICE.kid)


@attack(errors.DecryptionFailed)
def didcomm_passed_off_as_draft_3() -> bytes:
    return reprotect(honest(), apu=None, apv=None)


@attack(errors.DecryptionFailed)
def draft_3_passed_off_as_didcomm() -> bytes:
    sealed = draft_3(
        message(), keys([BOB]), (ALICE.kid, ALICE.encryption), Encryption.A256CBC_HS512
    )
    apu, apv = ALICE.kid.encode(), hashlib.sha256(BOB.kid.encode()).digest()
    return reprotect(sealed, apu=b64encode(apu).decode(), apv=b64encode(apv).decode())


@attack(errors.UnsupportedAlgorithm)
def half_a_draft_3_that_has_apu() -> bytes:
    return reprotect(as_veramo_authcrypts(), apu=b64encode(ALICE.kid.encode()).decode())


@attack(errors.UnsupportedAlgorithm)
def half_a_draft_3_that_has_apv() -> bytes:
    return reprotect(as_veramo_authcrypts(), apv="AAAA")


@attack(errors.MalformedMessage)
def draft_3_of_nobody() -> bytes:
    return reprotect(as_veramo_authcrypts(), skid=None)


@attack(errors.MalformedMessage)
def draft_3_for_two() -> bytes:
    return draft_3(message(), keys([BOB, CAROL]), (ALICE.kid, ALICE.encryption))


@attack(errors.DecryptionFailed)
def content_that_another_recipient_of_a_didcomm_envelope_wrote() -> bytes:
    return rewritten_by_carol(didcomm_for_two())


@attack(errors.DecryptionFailed)
def such_content_passed_off_as_draft_3() -> bytes:
    return rewritten_by_carol(didcomm_for_two(), apu=None, apv=None)


@attack(errors.MalformedMessage)
def authcrypt_of_didcomm_without_apv() -> bytes:
    return reprotect(honest(), apv=None)


@attack(errors.MalformedMessage)
def authcrypt_with_epk_beside_the_kid() -> bytes:
    value = orjson.loads(honest())
    value["recipients"][0]["header"]["epk"] = protected(honest())["epk"]
    return reprotect(orjson.dumps(value), epk=None)


@attack(errors.MalformedMessage)
def anoncrypt_with_a_wrong_apv() -> bytes:
    return reprotect(anoncrypt(message(frm=None), [BOB]), apv="AAAA")


@attack(errors.DecryptionFailed)
def anoncrypt_whose_apv_was_taken_out() -> bytes:
    return reprotect(anoncrypt(message(frm=None), [BOB]), apv=None)


@attack(errors.DecryptionFailed)
def anoncrypt_with_another_epk_beside_the_kid() -> bytes:
    epk = PrivateKey.generate(Curve.X25519).public.to_jwk()
    return beside_kid(as_didcomm_messaging_anoncrypts(), epk)


@attack(errors.DecryptionFailed)
def anoncrypt_with_an_epk_of_small_order_beside_the_kid() -> bytes:
    epk = {"kty": "OKP", "crv": "X25519", "x": "A" * 43}
    return beside_kid(as_didcomm_messaging_anoncrypts(), epk)


@attack(errors.DecryptionFailed)
def anoncrypt_with_an_epk_on_another_curve_beside_the_kid() -> bytes:
    epk = PrivateKey.generate(Curve.P256).public.to_jwk()
    return beside_kid(as_didcomm_messaging_anoncrypts(), epk)


@attack(errors.MalformedMessage)
def anoncrypt_with_an_epk_that_is_no_key_beside_the_kid() -> bytes:
    return beside_kid(as_didcomm_messaging_anoncrypts(), "key")


@attack(errors.MalformedMessage)
def anoncrypt_with_an_epk_for_one_of_two() -> bytes:
    value = orjson.loads(epk_beside_kid(message(frm=None), keys([BOB, CAROL])))
    del value["recipients"][1]["header"]["epk"]
    return orjson.dumps(value)


@attack(errors.MalformedMessage)
def anoncrypt_without_any_epk() -> bytes:
    return reprotect(anoncrypt(message(frm=None), [BOB]), epk=None)


@attack(errors.MalformedMessage)
def anoncrypt_without_apv_in_authcrypt() -> bytes:
    return as_veramo_authcrypts(as_veramo_anoncrypts())


@given(data=st.data())
async def test_no_altered_envelope_does_more_than_be_refused(data: st.DataObject) -> None:
    build = data.draw(st.sampled_from(list(DEVIATIONS.values())))
    value = orjson.loads(build())
    header = protected(build())
    [entry] = value["recipients"]
    for where in (value, header, entry, entry["header"]):
        if data.draw(st.booleans()):
            where[data.draw(st.sampled_from(MEMBERS))] = data.draw(ANYTHING)
    if isinstance(value.get("protected"), str):
        value["protected"] = b64encode(orjson.dumps(header)).decode()
    with contextlib.suppress(errors.MessagingError):
        await unpack(orjson.dumps(value), LENIENT)


MEMBERS = (
    *("protected", "recipients", "header", "kid", "epk", "encrypted_key", "alg", "enc"),
    *("apu", "apv", "skid", "iv", "tag", "ciphertext", "typ"),
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=3)
    ),
    max_leaves=5,
)


async def test_an_epk_beside_the_kid_does_not_replace_the_protected_one() -> None:
    epk = PrivateKey.generate(Curve.X25519).public.to_jwk()
    envelope = beside_kid(anoncrypt(message(frm=None), [BOB]), epk)
    assert (await unpack(envelope, LENIENT)).message.body == BODY


async def test_draft_3_is_acted_on_once_however_it_is_written_again() -> None:
    guard, envelope = ReplayGuard(), as_veramo_authcrypts()
    await unpack(envelope, LENIENT, guard)
    value = orjson.loads(envelope)
    value["recipients"][0]["header"]["more"] = 1
    for again in (envelope, orjson.dumps(value), orjson.dumps(dict(reversed(value.items())))):
        with pytest.raises(errors.Replayed):
            await unpack(again, LENIENT, guard)


async def test_only_who_seals_draft_3_for_several_can_be_imitated_by_one_of_them() -> None:
    """What cannot be prevented; docs/decisions/compatibility.md says whom it concerns."""
    sealed = draft_3(message(), keys([BOB, CAROL]), (ALICE.kid, ALICE.encryption))
    opened = await unpack(rewritten_by_carol(sealed), LENIENT)
    assert (opened.sender, opened.message.body) == (ALICE.did, {"text": "pay 99"})


# -- sealing as the deviating clients do, and as attackers do


async def unpack(
    envelope: bytes, leniency: Leniency, guard: ReplayGuard | None = None
) -> packing.Opened:
    return await packing.unpack(
        envelope,
        secrets=BOB.secrets,
        resolver=RESOLVER,
        now=NOW,
        replay=guard,
        leniency=leniency,
    )


def message(frm: str | None = ALICE.did, body: dict[str, Any] = BODY) -> bytes:
    return Message("test", body, frm=frm, to=(BOB.did,), created_time=NOW).serialize()


def honest() -> bytes:
    recipients = [(BOB.kid, BOB.encryption.public)]
    return jwe.encrypt_authenticated(message(), recipients, ALICE.kid, ALICE.encryption)


def didcomm_for_two() -> bytes:
    return jwe.encrypt_authenticated(message(), keys([BOB, CAROL]), ALICE.kid, ALICE.encryption)


def anoncrypt(content: bytes, parties: list[Party]) -> bytes:
    return jwe.encrypt_anonymously(content, keys(parties))


def keys(parties: list[Party]) -> list[tuple[str, Any]]:
    return [(party.kid, party.encryption.public) for party in parties]


def alias(party: Party, form: str = "6LSabcde") -> str:
    text = party.encryption.public.to_multikey()
    fragments = {"6LSabcde": text[1:9], "6LS…": text[1:], "z6LS…": text}
    return f"{party.did}#{fragments[form]}"


def rewritten_by_carol(envelope: bytes, **members: Any) -> bytes:
    """Another content, for Bob alone, under the content key that Carol was given."""
    value, header = orjson.loads(envelope), protected(envelope)
    binds_tag = "apu" in header
    secret = CAROL.encryption.exchange(PublicKey.from_jwk(header["epk"]))
    secret += CAROL.encryption.exchange(ALICE.encryption.public)
    apu, apv = (b64decode(header.get(name, "")) for name in ("apu", "apv"))
    tag = b64decode(value["tag"]) if binds_tag else b""
    wrapping = derive(Agreement.AUTHENTICATED, secret, apu, apv, tag)
    entries = {entry["header"]["kid"]: entry for entry in value["recipients"]}
    bob, carol = entries[BOB.kid], entries[CAROL.kid]
    content_key = aes_key_unwrap(wrapping, b64decode(carol["encrypted_key"]))
    changed = reprotect(envelope, **members)
    # The apv that binds stands for both; where none does, Bob's entry alone will do.
    kept = value["recipients"] if binds_tag and not members else [bob]
    encoded = orjson.loads(changed)["protected"].encode()
    sealed = seal_under(content_key, Encryption(header["enc"]), encoded)
    return written(encoded, kept, sealed)


def seal_under(content_key: bytes, encryption: Encryption, encoded: bytes) -> Sealed:
    content = message(body={"text": "pay 99"})
    if encryption is Encryption.A256GCM:
        iv = bytes(12)
        sealed = AESGCM(content_key).encrypt(iv, content, encoded)
        return Sealed(iv, sealed[:-16], sealed[-16:])
    iv, padding = bytes(16), 16 - len(content) % 16
    encryptor = Cipher(algorithms.AES(content_key[32:]), modes.CBC(iv)).encryptor()
    ciphertext = encryptor.update(content + bytes([padding]) * padding) + encryptor.finalize()
    return Sealed(iv, ciphertext, _cbc_tag(content_key, iv, ciphertext, encoded))


def beside_kid(envelope: bytes, epk: Any) -> bytes:
    value = orjson.loads(envelope)
    value["recipients"][0]["header"]["epk"] = epk
    return orjson.dumps(value)


def protected(envelope: bytes) -> dict[str, Any]:
    header: dict[str, Any] = orjson.loads(b64decode(orjson.loads(envelope)["protected"]))
    return header


def reprotect(envelope: bytes, **members: Any) -> bytes:
    """Another protected header; a member that is None is taken out."""
    value = orjson.loads(envelope)
    header = protected(envelope) | members
    header = {name: member for name, member in header.items() if member is not None}
    value["protected"] = b64encode(orjson.dumps(header)).decode()
    return orjson.dumps(value)
