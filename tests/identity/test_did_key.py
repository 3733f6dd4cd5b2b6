import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from identity import did_key
from identity.codec import base58_encode
from identity.document import DidDocument
from identity.errors import InvalidDid
from identity.keys import Curve, PrivateKey, PublicKey
from tests.support import vectors


@pytest.mark.parametrize("curve", Curve)
def test_a_did_key_is_its_key(curve: Curve) -> None:
    key = PrivateKey.generate(curve).public
    document = did_key.resolve(did_key.create(key))
    assert document.verification_methods[0].key == key
    assert document.verification_methods[0].id == f"{document.id}#{key.to_multikey()}"


def test_an_x25519_key_only_agrees_and_an_ed25519_key_signs() -> None:
    agreeing = did_key.resolve(did_key.create(PrivateKey.generate(Curve.X25519).public))
    assert agreeing.key_agreement
    assert not agreeing.authentication
    signing = did_key.resolve(did_key.create(PrivateKey.generate(Curve.ED25519).public))
    assert [m.key.curve for m in signing.keys("authentication") if m.key] == [Curve.ED25519]
    assert [m.key.curve for m in signing.keys("keyAgreement") if m.key] == [Curve.X25519]


def test_published_documents_of_ed25519_keys() -> None:
    published = vectors.load("did-key/ed25519-x25519.json")
    assert published
    for did, vector in published.items():
        theirs = DidDocument.from_json(vector["didDocument"], did=did)
        _assert_same_keys(did_key.resolve(did), theirs)


def test_published_documents_of_x25519_keys() -> None:
    published = vectors.load("did-key/x25519.json")["didDocument"]
    assert published
    for did, vector in published.items():
        theirs = DidDocument.from_json(vector, did=did)
        _assert_same_keys(did_key.resolve(did), theirs)
        key = theirs.verification_methods[0].key
        assert key is not None
        assert did_key.create(key) == did


ATTACKS = {
    "no key": "did:key:z",
    "not base58btc": "did:key:uZm9v",
    "oversized base58": "did:key:z" + "6" * 4000,
    "longer than a DID": "did:key:z" + "6" * 100_000,
    "unknown multicodec": "did:key:z" + base58_encode(b"\x85\x24" + bytes(32)),
    "short key": "did:key:z" + base58_encode(b"\xed\x01" + b"\x07" * 31),
    "long key": "did:key:z" + base58_encode(b"\xed\x01" + b"\x07" * 33),
    "small order": "did:key:z" + base58_encode(b"\xec\x01" + bytes(32)),
    "off the curve": "did:key:z" + base58_encode(b"\x80\x24\x02" + b"\xff" * 32),
    "another method": "did:peer:0z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_did_key_of_no_key_is_refused(name: str) -> None:
    with pytest.raises(InvalidDid):
        did_key.resolve(ATTACKS[name])


@given(st.text(alphabet="z16MkLSb7") | st.text())
@example("z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp")
def test_no_did_key_makes_resolving_crash(text: str) -> None:
    with contextlib.suppress(InvalidDid):
        did_key.resolve(f"did:key:{text}")


def _assert_same_keys(ours: DidDocument, theirs: DidDocument) -> None:
    def keys(document: DidDocument, relationship: str) -> dict[str, PublicKey | None]:
        return {method.id: method.key for method in document.keys(relationship)}

    for relationship in ("authentication", "assertionMethod", "keyAgreement"):
        assert keys(ours, relationship) == keys(theirs, relationship)
