import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.codec import base58_encode
from identity.document import MAX_BYTES, DidDocument, Endpoint
from identity.errors import InvalidDocument, KeyNotFound
from identity.keys import Curve, PrivateKey

DID = "did:example:alice"
SIGNING = PrivateKey.generate(Curve.ED25519).public
AGREEING = PrivateKey.generate(Curve.X25519).public
P256 = PrivateKey.generate(Curve.P256).public


def test_a_document_survives_being_written_and_read() -> None:
    document = _document(
        verificationMethod=[_method("#a", SIGNING), _method("#b", AGREEING)],
        authentication=["#a"],
        keyAgreement=["#b"],
        service=[_service("https://a.example"), _service("wss://a.example")],
        alsoKnownAs=["did:example:other"],
    )
    assert DidDocument.from_json(document.to_json(), did=DID) == document
    assert DidDocument.parse(json.dumps(document.to_json()).encode(), DID) == document


def test_relative_ids_become_absolute_and_absolute_ones_stay() -> None:
    document = _document(
        verificationMethod=[_method("#a", SIGNING), _method(f"{DID}#b", SIGNING)],
        authentication=[f"{DID}#a", "#b"],
    )
    assert document.authentication == (f"{DID}#a", f"{DID}#b")
    assert document.method("#a") is document.method(f"{DID}#a")


def test_embedded_methods_are_listed_like_referenced_ones() -> None:
    document = _document(keyAgreement=[_method("#a", AGREEING)])
    assert document.keys("keyAgreement") == document.verification_methods
    assert document.method("#a").key == AGREEING
    assert document.authentication == ()


@pytest.mark.parametrize(
    ("type_", "material"),
    [
        ("Multikey", {"publicKeyMultibase": SIGNING.to_multikey()}),
        ("Ed25519VerificationKey2020", {"publicKeyMultibase": SIGNING.to_multikey()}),
        ("Ed25519VerificationKey2018", {"publicKeyBase58": base58_encode(SIGNING.raw)}),
        ("JsonWebKey", {"publicKeyJwk": SIGNING.to_jwk()}),
        ("JsonWebKey2020", {"publicKeyJwk": SIGNING.to_jwk()}),
    ],
)
def test_every_type_of_key_is_read(type_: str, material: dict[str, Any]) -> None:
    method = {"id": "#a", "type": type_, "controller": DID, **material}
    assert _document(verificationMethod=[method]).method("#a").key == SIGNING


@pytest.mark.parametrize(
    "material",
    [
        {"type": "RsaVerificationKey2018", "publicKeyPem": "…"},
        {"type": "JsonWebKey2020", "publicKeyJwk": {"kty": "RSA", "n": "AQ", "e": "AQAB"}},
        {"type": "Multikey", "publicKeyMultibase": "z" + base58_encode(b"\x85\x24" + bytes(9))},
        {"type": "Multikey", "publicKeyMultibase": "uZm9v"},
    ],
)
def test_a_key_that_we_do_not_know_stands_beside_those_we_do(material: dict[str, Any]) -> None:
    document = _document(
        verificationMethod=[{"id": "#x", "controller": DID, **material}, _method("#a", SIGNING)],
        authentication=["#x", "#a"],
    )
    assert [method.key for method in document.keys("authentication")] == [None, SIGNING]
    assert DidDocument.from_json(document.to_json(), did=DID) == document


def test_a_curve_that_cannot_stands_in_no_relationship() -> None:
    document = _document(
        verificationMethod=[_method("#s", SIGNING), _method("#x", AGREEING), _method("#p", P256)],
        authentication=["#s", "#x", "#p"],
        keyAgreement=["#s", "#x", "#p"],
    )
    assert document.authentication == (f"{DID}#s", f"{DID}#p")
    assert document.key_agreement == (f"{DID}#x", f"{DID}#p")


def test_keys_of_another_did_speak_for_nobody_here() -> None:
    document = _document(
        verificationMethod=[_method("did:example:bob#a", SIGNING), _method("#a", SIGNING)],
        authentication=["did:example:bob#a", "did:example:bob#b", "#a"],
        keyAgreement=[_method("did:example:bob#c", AGREEING)],
    )
    assert [m.id for m in document.verification_methods] == [f"{DID}#a"]
    assert document.authentication == (f"{DID}#a",)
    assert document.key_agreement == ()


def test_only_listed_keys_are_found() -> None:
    document = _document(verificationMethod=[_method("#a", SIGNING)])
    for kid in ("#b", f"{DID}#b", "did:example:bob#a", DID, "", "#", f"#{SIGNING.to_multikey()}"):
        with pytest.raises(KeyNotFound):
            document.method(kid)


ENDPOINT = {"uri": "https://a.example", "accept": ["didcomm/v2"], "routingKeys": ["did:b:c#d"]}


@pytest.mark.parametrize(
    "service",
    [
        {"serviceEndpoint": ENDPOINT},
        {"serviceEndpoint": [ENDPOINT]},
        {**ENDPOINT, "serviceEndpoint": "https://a.example"},
        {"serviceEndpoint": ENDPOINT, "type": ["DIDCommMessaging", "other"]},
    ],
)
def test_every_form_of_endpoint_is_read(service: dict[str, Any]) -> None:
    document = _document(service=[{"id": "#s", "type": "DIDCommMessaging", **service}])
    (read,) = document.didcomm_services()
    assert read.id == f"{DID}#s"
    assert read.endpoints == (Endpoint("https://a.example", ("didcomm/v2",), ("did:b:c#d",)),)


def test_services_of_other_kinds_are_no_didcomm_services() -> None:
    document = _document(
        service=[
            {"id": "#l", "type": "LinkedDomains", "serviceEndpoint": {"origins": ["https://a"]}},
            _service("https://a.example"),
        ]
    )
    assert [service.type for service in document.services] == ["LinkedDomains", "DIDCommMessaging"]
    assert len(document.didcomm_services()) == 1


SMALL_ORDER = {"kty": "OKP", "crv": "X25519", "x": "A" * 43}
ATTACKS: dict[str, dict[str, Any]] = {
    "another id": {"id": "did:example:mallory"},
    "no id": {"id": None},
    "33 methods": {"verificationMethod": [{"id": f"#{n}", "type": "X"} for n in range(33)]},
    "33 methods in two lists": {
        "verificationMethod": [{"id": f"#{n}", "type": "X"} for n in range(17)],
        "authentication": [{"id": f"#e{n}", "type": "X"} for n in range(16)],
    },
    "9 services": {"service": [{"id": "#s", "type": "X", "serviceEndpoint": ""}] * 9},
    "two methods with one id": {
        "verificationMethod": [
            {"id": "#a", "type": "Multikey"},
            {"id": f"{DID}#a", "type": "Multikey"},
        ]
    },
    "dangling reference": {"authentication": ["#a"]},
    "reference a number": {"authentication": [1]},
    "method a number": {"verificationMethod": [1]},
    "method without type": {"verificationMethod": [{"id": "#a"}]},
    "method id without fragment": {"verificationMethod": [{"id": DID, "type": "X"}]},
    "method id no DID URL": {"verificationMethod": [{"id": "a", "type": "X"}]},
    "controller a number": {"verificationMethod": [{"id": "#a", "type": "X", "controller": 1}]},
    "small order": {
        "verificationMethod": [{"id": "#a", "type": "JsonWebKey", "publicKeyJwk": SMALL_ORDER}]
    },
    "curve that belies its type": {
        "verificationMethod": [
            {
                "id": "#a",
                "type": "X25519KeyAgreementKey2020",
                "publicKeyMultibase": SIGNING.to_multikey(),
            }
        ]
    },
    "oversized base58": {
        "verificationMethod": [
            {"id": "#a", "type": "Ed25519VerificationKey2018", "publicKeyBase58": "2" * 60_000}
        ]
    },
    "service a string": {"service": "https://a.example"},
    "service without id": {"service": [{"type": "X", "serviceEndpoint": ""}]},
    "33 endpoints": {"service": [{"id": "#s", "type": "X", "serviceEndpoint": [""] * 33}]},
    "33 routing keys": {
        "service": [
            {"id": "#s", "type": "X", "serviceEndpoint": {"uri": "", "routingKeys": [""] * 33}}
        ]
    },
    "endless endpoint": {"service": [{"id": "#s", "type": "X", "serviceEndpoint": "a" * 5000}]},
    "names no strings": {"alsoKnownAs": [1]},
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_document_that_breaks_the_rules_is_refused(name: str) -> None:
    with pytest.raises(InvalidDocument):
        _document(**ATTACKS[name])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b'{"id":"did:example:alice","id":"did:example:alice"}',
        b'{"id":"did:example:alice","x":' + b"[" * 16 + b"]" * 16 + b"}",
        b'{"id":"did:example:alice","x":' + b"[" * 9000,
        b'{"id":"did:example:alice"}' + b" " * MAX_BYTES,
        b'{"id":"did:example:alice","x":"\xff"}',
    ],
)
def test_bytes_that_are_no_document_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidDocument):
        DidDocument.parse(data, DID)


VALUES = st.recursive(
    st.none() | st.integers() | st.text() | st.sampled_from(["#a", DID, SIGNING.to_multikey()]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "type",
                    "controller",
                    "publicKeyMultibase",
                    "publicKeyJwk",
                    "publicKeyBase58",
                ]
            )
            | st.sampled_from(
                ["serviceEndpoint", "uri", "accept", "routingKeys", "kty", "crv", "x"]
            ),
            inner,
            max_size=5,
        )
    ),
)


@given(
    st.dictionaries(
        st.sampled_from(
            ["verificationMethod", "publicKey", "authentication", "keyAgreement", "service"]
        )
        | st.just("alsoKnownAs"),
        VALUES,
    )
)
def test_no_document_makes_reading_crash(members: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidDocument):
        document = _document(**members)
        assert DidDocument.from_json(document.to_json(), did=DID).id == DID


@given(st.binary())
def test_no_bytes_make_reading_crash(data: bytes) -> None:
    with contextlib.suppress(InvalidDocument):
        DidDocument.parse(data, DID)


def _document(**members: Any) -> DidDocument:
    return DidDocument.from_json({"id": DID, **members}, did=DID)


def _method(id: str, key: Any) -> dict[str, str]:
    return {
        "id": id,
        "type": "Multikey",
        "controller": DID,
        "publicKeyMultibase": key.to_multikey(),
    }


def _service(uri: str) -> dict[str, Any]:
    endpoint = {"uri": uri, "accept": ["didcomm/v2"], "routingKeys": []}
    return {"id": f"#{uri[:3]}", "type": "DIDCommMessaging", "serviceEndpoint": endpoint}
