import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity import did_jwk
from identity.codec import b64url_encode
from identity.document import DidDocument
from identity.errors import InvalidDid
from identity.keys import Curve, PrivateKey
from tests.support import vectors


@pytest.mark.parametrize("curve", Curve)
def test_a_did_jwk_is_its_key(curve: Curve) -> None:
    key = PrivateKey.generate(curve).public
    document = did_jwk.resolve(did_jwk.create(key))
    assert document.method("#0").key == key
    assert bool(document.authentication) == (curve is not Curve.X25519)
    assert bool(document.key_agreement) == (curve is not Curve.ED25519)


@pytest.mark.parametrize(
    ("use", "signs", "agrees"), [("sig", True, False), ("enc", False, True), (None, True, True)]
)
def test_use_says_what_the_key_is_for(use: str | None, signs: bool, agrees: bool) -> None:
    jwk: dict[str, str | None] = {**PrivateKey.generate(Curve.P256).public.to_jwk()}
    document = did_jwk.resolve(_did(jwk | ({"use": use} if use else {})))
    assert bool(document.authentication) == signs
    assert bool(document.key_agreement) == agrees


def test_a_key_of_an_unknown_kind_is_listed_without_its_material() -> None:
    document = did_jwk.resolve(_did({"kty": "RSA", "n": "AQ", "e": "AQAB"}))
    assert document.method("#0").key is None


def test_published_documents() -> None:
    published = vectors.load("did-jwk/resolve.json")["vectors"]
    assert published
    for vector in published:
        did = vector["input"]
        if vector["output"].get("didDocument") is None:
            with pytest.raises(InvalidDid):
                did_jwk.resolve(did)
        else:
            theirs = DidDocument.from_json(vector["output"]["didDocument"], did=did)
            assert did_jwk.resolve(did) == theirs


PRIVATE = PrivateKey.generate(Curve.ED25519)
ATTACKS = {
    "not JSON": "did:jwk:" + b64url_encode(b"{"),
    "no object": "did:jwk:" + b64url_encode(b"[]"),
    "not base64url": "did:jwk:a",
    "a private key": "did:jwk:" + b64url_encode(json.dumps(PRIVATE.to_jwk()).encode()),
    "duplicate keys": "did:jwk:" + b64url_encode(b'{"kty":"OKP","kty":"RSA"}'),
    "deep JSON": "did:jwk:" + b64url_encode(b'{"a":' + b"[" * 1000 + b"]" * 1000 + b"}"),
    "small order": "did:jwk:"
    + b64url_encode(b'{"kty":"OKP","crv":"X25519","x":"%s"}' % (b"A" * 43)),
    "too long": "did:jwk:" + "e" * 5000,
    "another method": "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_did_jwk_of_no_proper_key_is_refused(name: str) -> None:
    with pytest.raises(InvalidDid):
        did_jwk.resolve(ATTACKS[name])


@given(
    st.dictionaries(
        st.sampled_from(["kty", "crv", "x", "y", "use", "key_ops"]),
        st.text() | st.none() | st.lists(st.text()) | st.sampled_from(["OKP", "EC", *Curve]),
    )
)
def test_no_did_jwk_makes_resolving_crash(jwk: dict[str, object]) -> None:
    with contextlib.suppress(InvalidDid):
        did_jwk.resolve(_did(jwk))


def _did(jwk: object) -> str:
    return "did:jwk:" + b64url_encode(json.dumps(jwk).encode())
