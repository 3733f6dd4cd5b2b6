import contextlib
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from identity import did_peer
from identity.codec import b64url_decode, b64url_encode, base58_encode
from identity.document import DidDocument, Endpoint
from identity.errors import IdentityError, InvalidDid, InvalidDocument, UnknownDid
from identity.keys import Curve, PrivateKey
from tests.support import vectors

E = PrivateKey.generate(Curve.X25519).public
V = PrivateKey.generate(Curve.ED25519).public
KEYS = f".E{E.to_multikey()}.V{V.to_multikey()}"
URI = "https://mediator.example/didcomm"
ROUTING_KEY = "did:example:mediator#key-1"
ENDPOINT = Endpoint(URI, ("didcomm/v2",), (ROUTING_KEY,))


def test_a_did_peer_2_lists_keys_in_order_and_then_services() -> None:
    did = did_peer.create_2([E], [V], [did_peer.didcomm_service(URI, [ROUTING_KEY])])
    assert did.startswith(f"did:peer:2{KEYS}.S")
    document = did_peer.resolve(did)
    assert document.method(f"{did}#key-1").key == E
    assert document.method(f"{did}#key-2").key == V
    assert document.key_agreement == (f"{did}#key-1",)
    assert document.authentication == (f"{did}#key-2",)
    assert [s.endpoints for s in document.didcomm_services()] == [(ENDPOINT,)]


def test_each_service_is_a_segment_of_its_own_in_abbreviated_words() -> None:
    long = {
        "type": "DIDCommMessaging",
        "serviceEndpoint": {"uri": URI, "accept": ["didcomm/v2"], "routingKeys": []},
    }
    did = did_peer.create_2([E], [V], [long, did_peer.didcomm_service("wss://mediator.example/ws")])
    _, _, _, first, second = did.split(".")
    assert json.loads(b64url_decode(first[1:])) == did_peer.didcomm_service(URI)
    assert b"wss://" in b64url_decode(second[1:])
    ids = [service.id for service in did_peer.resolve(did).services]
    assert ids == [f"{did}#service", f"{did}#service-1"]


def test_key_order_survives_when_verification_comes_first() -> None:
    did = f"did:peer:2.V{V.to_multikey()}.E{E.to_multikey()}"
    assert did_peer.resolve(did).key_agreement == (f"{did}#key-2",)


def test_all_five_purposes_are_read() -> None:
    did = "did:peer:2" + "".join(f".{purpose}{V.to_multikey()}" for purpose in "VADI")
    document = did_peer.resolve(did + f".E{E.to_multikey()}")
    assert len(document.assertion_method) == len(document.capability_delegation) == 1
    assert len(document.capability_invocation) == len(document.authentication) == 1
    assert document.key_agreement[0].endswith("#key-5")


# What was ever written for one service with one endpoint, and what is in it all the same.
SHAPES: dict[str, Any] = {
    "current": {"t": "dm", "s": {"uri": URI, "a": ["didcomm/v2"], "r": [ROUTING_KEY]}},
    "not abbreviated": {
        "type": "DIDCommMessaging",
        "serviceEndpoint": {
            "uri": URI,
            "accept": ["didcomm/v2"],
            "routingKeys": [ROUTING_KEY],
        },
    },
    "abbreviated outside only": {
        "t": "dm",
        "s": {"uri": URI, "accept": ["didcomm/v2"], "routingKeys": [ROUTING_KEY]},
    },
    "endpoint a string": {"t": "dm", "s": URI, "a": ["didcomm/v2"], "r": [ROUTING_KEY]},
    "endpoint a list": {"t": "dm", "s": [{"uri": URI, "a": ["didcomm/v2"], "r": [ROUTING_KEY]}]},
    "services a list": [{"t": "dm", "s": {"uri": URI, "a": ["didcomm/v2"], "r": [ROUTING_KEY]}}],
    "with an id": {
        "id": "#didcommmessaging-0",
        "t": "dm",
        "s": {"uri": URI, "a": ["didcomm/v2"], "r": [ROUTING_KEY]},
    },
}


@pytest.mark.parametrize("padding", ["", "="])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_old_shape_of_a_service_is_read(shape: str, padding: str) -> None:
    segment = b64url_encode(json.dumps(SHAPES[shape]).encode())
    if padding:
        segment += "=" * (-len(segment) % 4)
    document = did_peer.resolve(f"did:peer:2{KEYS}.S{segment}")
    assert [service.endpoints for service in document.didcomm_services()] == [(ENDPOINT,)]


@pytest.mark.parametrize("shape", SHAPES)
def test_services_are_the_same_when_the_keys_are_left_unread(shape: str) -> None:
    did = f"did:peer:2{KEYS}.S{b64url_encode(json.dumps(SHAPES[shape]).encode())}.SW10"
    quick = did_peer.services_of_2(did)
    assert quick.services == did_peer.resolve(did).services
    assert quick.verification_methods == ()


def test_an_empty_list_of_services_is_read() -> None:
    assert did_peer.resolve(f"did:peer:2{KEYS}.SW10").services == ()


def test_two_services_in_one_list_get_two_ids() -> None:
    services = [SHAPES["current"], SHAPES["endpoint a string"]]
    did = f"did:peer:2{KEYS}.S{b64url_encode(json.dumps(services).encode())}"
    document = did_peer.resolve(did)
    assert [s.id for s in document.services] == [f"{did}#service", f"{did}#service-1"]


def test_a_type_that_only_contains_dm_is_left_alone() -> None:
    service = {"t": "admin", "s": URI}
    did = f"did:peer:2{KEYS}.S{b64url_encode(json.dumps(service).encode())}"
    assert did_peer.resolve(did).services[0].type == "admin"


def test_base64url_with_minus_and_underscore_is_read() -> None:
    segment = next(
        segment
        for pad in range(3)
        if "_" in (segment := b64url_encode(json.dumps({"t": "x" * pad, "s": URI + "?"}).encode()))
    )
    assert (
        did_peer.resolve(f"did:peer:2{KEYS}.S{segment}").services[0].endpoints[0].uri.endswith("?")
    )


@given(st.text(max_size=60), st.lists(st.text(max_size=20), max_size=3))
@example("wss://mediator.example/ws?token=abc~def", [])
@example("https://a.example/?~>?~>?~>ÿ", ["did:a:b?c~>#d"])
@example("\x7f\x7f\x7f\x7f?", ["\x7f\x7f"])
def test_whatever_the_url_what_we_write_has_neither_minus_nor_underscore(
    uri: str, routing_keys: list[str]
) -> None:
    did = did_peer.create_2([E], [V], [did_peer.didcomm_service(uri, routing_keys)])
    segment = did.rpartition(".S")[2]
    assert not set("-_=") & set(segment)
    endpoint = did_peer.resolve(did).services[0].endpoints[0]
    assert endpoint.uri == uri
    assert endpoint.routing_keys == tuple(routing_keys)


def test_a_did_that_nobody_would_read_is_not_written() -> None:
    with pytest.raises(InvalidDid, match="4096"):
        did_peer.create_2([E], [V], [did_peer.didcomm_service("https://" + "a" * 4000)])


@pytest.mark.parametrize("form", ["#key-1", "#6LS", "#6LS8", "#z6LS", "absolute 8"])
def test_legacy_key_ids_name_the_same_key(form: str) -> None:
    did = f"did:peer:2{KEYS}"
    multikey = E.to_multikey()
    kid = {
        "#key-1": "#key-1",
        "#6LS": f"#{multikey[1:]}",
        "#6LS8": f"#{multikey[1:9]}",
        "#z6LS": f"#{multikey}",
        "absolute 8": f"{did}#{multikey[1:9]}",
    }[form]
    method = did_peer.resolve(did).method(kid)
    assert method.key == E
    assert method.id == f"{did}#key-1"


def test_published_two_service_example() -> None:
    published = vectors.load("did-peer/spec-examples.json")
    block = next(
        b for b in published["json_blocks"] if str(b.get("id", "")).startswith("did:peer:2")
    )
    assert did_peer.resolve(block["id"]) == DidDocument.from_json(block, did=block["id"])
    assert did_peer.short_form(block["id"]) == block["alsoKnownAs"][0]


def test_published_two_service_example_is_written_byte_for_byte() -> None:
    published = vectors.load("did-peer/spec-examples.json")
    did = next(d for d in published["dids"] if d.startswith("did:peer:2.V"))
    v, e, *services = did.removeprefix("did:peer:2.").split(".")
    written = did_peer.create_2([], [], [json.loads(b64url_decode(s[1:])) for s in services])
    assert did == f"did:peer:2.{v}.{e}" + written.removeprefix("did:peer:2")


def test_published_old_example_has_its_routing_keys() -> None:
    published = vectors.load("did-peer/spec-examples.json")
    did = next(d for d in published["dids"] if d.startswith("did:peer:2.E"))
    endpoint = did_peer.resolve(did).services[0].endpoints[0]
    assert endpoint == Endpoint(
        "https://example.com/endpoint",
        ("didcomm/v2", "didcomm/aip2;env=rfc587"),
        ("did:example:somemediator#somekey",),
    )


def test_published_did_peer_4_example_in_both_forms() -> None:
    published = vectors.load("did-peer/spec-examples.json")
    long = next(d for d in published["dids"] if d.startswith("did:peer:4") and ":z" in d[12:])
    short = did_peer.short_form(long)
    assert short in published["dids"]
    blocks = {b["id"]: b for b in published["json_blocks"] if "id" in b}
    assert did_peer.resolve(long) == DidDocument.from_json(blocks[long], did=long)
    assert did_peer.resolve_short(short, long) == DidDocument.from_json(blocks[short], did=short)


def test_published_did_peer_4_example_is_written_byte_for_byte() -> None:
    published = vectors.load("did-peer/spec-examples.json")
    long = next(d for d in published["dids"] if d.startswith("did:peer:4") and ":z" in d[12:])
    block = next(b for b in published["json_blocks"] if "#6LSqPZfn" in str(b) and "id" not in b)
    assert did_peer.create_4(block) == long


@pytest.mark.parametrize("number", range(6))
def test_published_did_peer_4_inputs_come_back(number: int) -> None:
    document = vectors.load(f"did-peer/did-peer-4-inputs/{number}.json")
    long = did_peer.create_4(document)
    resolved = did_peer.resolve(long)
    listed = [m for name in ("verificationMethod", "publicKey") for m in document.get(name, [])]
    listed += [m for name in ("authentication", "keyAgreement") for m in document.get(name, [])]
    ids = {f"{long}{m['id']}" for m in listed if isinstance(m, dict)}
    assert {method.id for method in resolved.verification_methods} == ids
    assert all(method.key for method in resolved.verification_methods)
    assert len(resolved.services) == len(document.get("service", []))


def test_an_input_document_with_an_id_is_not_written() -> None:
    with pytest.raises(InvalidDocument):
        did_peer.create_4({"id": "did:example:a"})


def test_did_peer_0_is_a_did_key() -> None:
    document = did_peer.resolve(f"did:peer:0{V.to_multikey()}")
    assert document.keys("authentication")[0].key == V


def test_short_forms_need_their_long_form() -> None:
    long = did_peer.create_2([E], [V], [])
    short = did_peer.short_form(long)
    assert short is not None
    with pytest.raises(UnknownDid):
        did_peer.resolve(short)
    document = did_peer.resolve_short(short, long)
    assert document.id == short
    assert document.also_known_as == (long,)
    assert document.method(f"{short}#key-1").key == E
    with pytest.raises(InvalidDid, match="another long form"):
        did_peer.resolve_short(short, did_peer.create_2([E], [], []))


def _did_2(segment: bytes) -> str:
    return f"did:peer:2{KEYS}.S{b64url_encode(segment)}"


def _did_4(data: bytes, prefix: bytes = b"\x80\x04") -> str:
    encoded = "z" + base58_encode(prefix + data)
    return f"did:peer:4{did_peer._hash(encoded)}:{encoded}"


ATTACKS = {
    "no form": "did:peer:z6Mk",
    "unknown form": "did:peer:5z6Mk",
    "form 0, oversized base58": "did:peer:0z" + "6" * 4000,
    "form 0, longer than a DID": "did:peer:0z" + "6" * 64_000,
    "form 2, nothing": "did:peer:2",
    "form 2, only a dot": "did:peer:2.",
    "form 2, empty segment": f"did:peer:2{KEYS}..SW10",
    "form 2, no dot": f"did:peer:2{KEYS[1:]}",
    "form 2, unknown purpose": f"did:peer:2.X{V.to_multikey()}",
    "form 2, oversized key": "did:peer:2.Ez" + "6" * 3000,
    "form 2, key of small order": "did:peer:2.Ez" + base58_encode(b"\xec\x01" + bytes(32)),
    "form 2, key cut short": "did:peer:2.Ez6LSb",
    "form 2, key of an unknown kind": "did:peer:2.Ez" + base58_encode(b"\x85\x24" + bytes(32)),
    "form 2, key not in base58": "did:peer:2.EuZm9v",
    "form 2, key of wrong length": "did:peer:2.Ez" + base58_encode(b"\xec\x01" + bytes(31)),
    "form 2, point off the curve": "did:peer:2.Ez" + base58_encode(b"\x80\x24\x02" + b"\xff" * 32),
    "form 2, 33 keys": "did:peer:2" + f".V{V.to_multikey()}" * 33,
    "form 2, 9 services": f"did:peer:2{KEYS}" + ".SeyJ0IjoiZG0iLCJzIjoiIn0" * 9,
    "form 2, service a number": _did_2(b"1"),
    "form 2, service a list of lists": _did_2(b"[[[]]]"),
    "form 2, type a number": _did_2(b'{"t":1,"s":""}'),
    "form 2, no type": _did_2(b'{"s":""}'),
    "form 2, id a number": _did_2(b'{"id":1,"t":"dm","s":""}'),
    "form 2, accept a string": _did_2(b'{"t":"dm","s":{"uri":"","a":"didcomm/v2"}}'),
    "form 2, routing key a number": _did_2(b'{"t":"dm","s":{"uri":"","r":[1]}}'),
    "form 2, duplicate keys": _did_2(b'{"t":"dm","t":"dm","s":""}'),
    "form 2, deep JSON": _did_2(b'{"t":"dm","s":' + b"[" * 1200 + b"]" * 1200 + b"}"),
    "form 2, 1000 endpoints": _did_2(b'{"t":"dm","s":[' + b"1," * 1000 + b"1]}"),
    "form 2, not base64url": f"did:peer:2{KEYS}.Sa",
    "form 2, not JSON": _did_2(b"{"),
    "form 2, not UTF-8": _did_2(b'"\xff"'),
    "form 3, no hash": "did:peer:3z6Mk",
    "form 4, hash of another": did_peer.short_form(_did_4(b"{}"))
    + _did_4(b'{"service":[]}').removeprefix(did_peer.short_form(_did_4(b'{"service":[]}'))),
    "form 4, no document": _did_4(b"{}").rpartition(":")[0] + ":z",
    "form 4, not JSON": _did_4(b"{"),
    "form 4, not a JSON codec": _did_4(b"{}", prefix=b"\x55"),
    "form 4, a list": _did_4(b"[]"),
    "form 4, an id": _did_4(b'{"id":"did:example:a"}'),
    "form 4, duplicate keys": _did_4(b'{"service":[],"service":[]}'),
    "form 4, deep JSON": _did_4(b'{"a":' + b"[" * 1000 + b"]" * 1000 + b"}"),
    "form 4, dangling reference": _did_4(b'{"authentication":["#a"]}'),
    "form 4, alsoKnownAs a string": _did_4(b'{"alsoKnownAs":"did:a:b"}'),
    "form 4, huge": _did_4(b'{"a":"' + b"a" * 3500 + b'"}'),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_did_peer_that_breaks_the_rules_is_refused(name: str) -> None:
    with pytest.raises((InvalidDid, InvalidDocument)):
        did_peer.resolve(ATTACKS[name])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["dm", URI]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["t", "s", "r", "a", "uri", "id", "type", "accept", "x"]), inner
        )
    ),
)
DOCUMENT = st.dictionaries(
    st.sampled_from(["verificationMethod", "authentication", "keyAgreement", "service"]),
    st.lists(
        st.dictionaries(
            st.sampled_from(
                ["id", "type", "publicKeyMultibase", "publicKeyJwk", "publicKeyBase58", "uri"]
            ),
            JSON | st.sampled_from(["#a", "Multikey", V.to_multikey()]) | st.just(V.to_jwk()),
        )
        | JSON,
        max_size=3,
    )
    | JSON,
)


@given(JSON)
def test_no_service_makes_resolving_crash(service: object) -> None:
    with contextlib.suppress(IdentityError):
        did_peer.resolve(_did_2(json.dumps(service).encode()))


@given(DOCUMENT)
def test_no_document_makes_resolving_crash(document: dict[str, object]) -> None:
    with contextlib.suppress(IdentityError):
        did_peer.resolve(_did_4(json.dumps(document).encode()))


@given(st.binary(max_size=200), st.text())
@example(b"", "0")
@example(b"", "4:")
def test_no_text_makes_resolving_crash(data: bytes, text: str) -> None:
    for did in (_did_2(data), _did_4(data), f"did:peer:{text}", f"did:peer:2.{text}"):
        with contextlib.suppress(IdentityError):
            did_peer.resolve(did)
