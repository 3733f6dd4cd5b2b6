"""DID documents, reduced to what a party needs and checked once, where they come in.

A document is read in any form that methods write (embedded or referenced methods, relative or
absolute ids, every key type of the last years) and written in one: absolute ids, Multikey.
JSON-LD contexts are never fetched nor needed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from identity.codec import base58_decode, parse_json
from identity.did import split_url
from identity.errors import InvalidDid, InvalidDocument, InvalidKey, KeyNotFound, UnknownCurve
from identity.keys import MAX_MULTIKEY, Curve, PublicKey

MAX_BYTES = 64 * 1024
MAX_DEPTH = 16
MAX_METHODS = 32
MAX_SERVICES = 8
MAX_LIST = 32  # endpoints of a service, routing keys of an endpoint, other names of a subject
MAX_URI = 4096

CONTEXT = ("https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1")
DIDCOMM_SERVICE = "DIDCommMessaging"

# The names of DID Core beside ours.
_RELATIONSHIPS = {
    "authentication": "authentication",
    "assertionMethod": "assertion_method",
    "keyAgreement": "key_agreement",
    "capabilityInvocation": "capability_invocation",
    "capabilityDelegation": "capability_delegation",
}
_CURVE_OF_TYPE = {
    "Ed25519VerificationKey2018": Curve.ED25519,
    "Ed25519VerificationKey2020": Curve.ED25519,
    "X25519KeyAgreementKey2019": Curve.X25519,
    "X25519KeyAgreementKey2020": Curve.X25519,
}


@dataclass(frozen=True)
class Endpoint:
    """Where a service listens; `uri` may be the DID of a mediator."""

    uri: str
    accept: tuple[str, ...] = ()
    routing_keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Service:
    id: str
    type: str
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True)
class VerificationMethod:
    id: str
    controller: str
    key: PublicKey | None  # None: of a type or on a curve that we do not know
    type: str = "Multikey"


@dataclass(frozen=True)
class DidDocument:
    """Who a DID is. Every id is an absolute DID URL; every reference has its method."""

    id: str
    verification_methods: tuple[VerificationMethod, ...] = ()
    authentication: tuple[str, ...] = ()
    assertion_method: tuple[str, ...] = ()
    key_agreement: tuple[str, ...] = ()
    capability_invocation: tuple[str, ...] = ()
    capability_delegation: tuple[str, ...] = ()
    services: tuple[Service, ...] = ()
    also_known_as: tuple[str, ...] = ()

    @classmethod
    def parse(cls, data: bytes, did: str) -> DidDocument:
        """Read the document of `did` from bytes. Raises: InvalidDocument, for anything else."""
        if len(data) > MAX_BYTES:
            raise InvalidDocument(f"a DID document of more than {MAX_BYTES} bytes")
        try:
            value = parse_json(data, depth=MAX_DEPTH)
        except ValueError as error:
            raise InvalidDocument(f"a DID document that is not strict JSON: {error}") from None
        if not isinstance(value, dict):
            raise InvalidDocument("a DID document that is no JSON object")
        return cls.from_json(value, did=did)

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, did: str) -> DidDocument:
        """Read the document of `did`.

        Methods and references under another DID are left out: they speak for nobody here.

        Raises: InvalidDocument.
        """
        if value.get("id") != did:
            raise InvalidDocument("a DID document whose id is not the DID that was asked for")
        return _Reader(did).read(value)

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {"@context": list(CONTEXT), "id": self.id}
        if self.also_known_as:
            document["alsoKnownAs"] = list(self.also_known_as)
        document["verificationMethod"] = [_method_json(m) for m in self.verification_methods]
        for name, attribute in _RELATIONSHIPS.items():
            if ids := getattr(self, attribute):
                document[name] = list(ids)
        if self.services:
            document["service"] = [_service_json(service) for service in self.services]
        return document

    def method(self, kid: str) -> VerificationMethod:
        """The method that `kid` names: an absolute or relative id, or an alias did:peer:2 had.

        Raises: KeyNotFound.
        """
        absolute = self.id + kid if kid.startswith("#") else kid
        for method in self.verification_methods:
            if method.id == absolute:
                return method
        did, _, fragment = absolute.partition("#")
        if did == self.id and did.startswith("did:peer:2"):
            aliased = [m for m in self.verification_methods if _is_alias(fragment, m.key)]
            if len(aliased) == 1:
                return aliased[0]
        raise KeyNotFound(f"the DID document lists no key {fragment[:64]!r}")

    def keys(self, relationship: str) -> tuple[VerificationMethod, ...]:
        """The methods of `authentication`, `keyAgreement`, …, in the document's order."""
        ids = getattr(self, _RELATIONSHIPS[relationship])
        methods = {method.id: method for method in self.verification_methods}
        return tuple(methods[id] for id in ids)

    def didcomm_services(self) -> tuple[Service, ...]:
        return tuple(service for service in self.services if service.type == DIDCOMM_SERVICE)


class _Reader:
    """One pass over one document; `did` is its subject."""

    def __init__(self, did: str) -> None:
        self.did = did
        self.methods: dict[str, VerificationMethod] = {}

    def read(self, value: Mapping[str, Any]) -> DidDocument:
        for name in ("verificationMethod", "publicKey"):
            for method in _list(value, name):
                self._add_method(method)
        relationships = {
            attribute: self._relationship(name, _list(value, name))
            for name, attribute in _RELATIONSHIPS.items()
        }
        services = _list(value, "service", limit=MAX_SERVICES)
        return DidDocument(
            id=self.did,
            verification_methods=tuple(self.methods.values()),
            services=tuple(self._service(service) for service in services),
            also_known_as=_strings(value, "alsoKnownAs"),
            **relationships,
        )

    def _relationship(self, name: str, items: Sequence[Any]) -> tuple[str, ...]:
        """The keys that stand in a relationship, but for those whose curve cannot."""
        ids = dict.fromkeys(self._reference(item) for item in items)
        unfit = Curve.ED25519 if name == "keyAgreement" else Curve.X25519
        return tuple(id for id in ids if id is not None and not self._is_on(id, unfit))

    def _is_on(self, id: str, curve: Curve) -> bool:
        key = self.methods[id].key
        return key is not None and key.curve is curve

    def _reference(self, item: Any) -> str | None:
        if isinstance(item, Mapping):
            return self._add_method(item)
        id = self._absolute(item)
        if id is not None and id not in self.methods:
            raise InvalidDocument("a DID document that refers to a key it does not list")
        return id

    def _add_method(self, value: Any) -> str | None:
        if not isinstance(value, Mapping):
            raise InvalidDocument("a verification method that is no JSON object")
        id = self._absolute(value.get("id"))
        if id is None:
            return None
        controller, type_ = value.get("controller", self.did), value.get("type")
        if not isinstance(controller, str) or not isinstance(type_, str):
            raise InvalidDocument("a verification method without controller or type")
        if id in self.methods:
            raise InvalidDocument("two verification methods with one id")
        if len(self.methods) == MAX_METHODS:
            raise InvalidDocument(f"more than {MAX_METHODS} verification methods")
        self.methods[id] = VerificationMethod(id, controller, _key(type_, value), type_)
        return id

    def _service(self, value: Any) -> Service:
        if not isinstance(value, Mapping):
            raise InvalidDocument("a service that is no JSON object")
        id, type_ = value.get("id"), value.get("type")
        if isinstance(type_, list) and type_:
            type_ = DIDCOMM_SERVICE if DIDCOMM_SERVICE in type_ else type_[0]
        if not isinstance(id, str) or not isinstance(type_, str):
            raise InvalidDocument("a service without id or type")
        endpoints = value.get("serviceEndpoint")
        if not isinstance(endpoints, list):
            endpoints = [endpoints]
        if len(endpoints) > MAX_LIST:
            raise InvalidDocument(f"a service with more than {MAX_LIST} endpoints")
        read = (_endpoint(endpoint, value) for endpoint in endpoints)
        return Service(
            self.did + id if id.startswith("#") else id,
            type_,
            tuple(endpoint for endpoint in read if endpoint is not None),
        )

    def _absolute(self, id: Any) -> str | None:
        """The absolute id of a key; None if it is under another DID."""
        if not isinstance(id, str):
            raise InvalidDocument("a verification method whose id is no string")
        try:
            did, fragment = split_url(self.did + id if id.startswith("#") else id)
        except InvalidDid as error:
            raise InvalidDocument(
                f"a verification method whose id is no DID URL: {error}"
            ) from None
        if fragment is None:
            raise InvalidDocument("a verification method whose id has no fragment")
        # Interned: ids repeat the DID, and a stranger's may have thousands of characters.
        return sys.intern(f"{did}#{fragment}") if did == self.did else None


def _key(type_: str, value: Mapping[str, Any]) -> PublicKey | None:
    try:
        key = _key_material(type_, value)
    except UnknownCurve:
        return None
    except InvalidKey as error:
        raise InvalidDocument(f"a verification method with {error}") from None
    if key is not None and key.curve is not _CURVE_OF_TYPE.get(type_, key.curve):
        raise InvalidDocument(f"a {type_} that holds a {key.curve} key")
    return key


def _key_material(type_: str, value: Mapping[str, Any]) -> PublicKey | None:
    jwk, multikey = value.get("publicKeyJwk"), value.get("publicKeyMultibase")
    if isinstance(jwk, Mapping):
        return PublicKey.from_jwk(jwk)
    if isinstance(multikey, str):
        return PublicKey.from_multikey(multikey) if multikey.startswith("z") else None
    base58, curve = value.get("publicKeyBase58"), _CURVE_OF_TYPE.get(type_)
    if isinstance(base58, str) and curve is not None:
        try:
            return PublicKey(curve, base58_decode(base58, limit=MAX_MULTIKEY))
        except ValueError as error:
            raise InvalidKey(f"a base58 key with {error}") from None
    return None


def _endpoint(value: Any, service: Mapping[str, Any]) -> Endpoint | None:
    """Read an endpoint: an object, or a string whose `accept`, `routingKeys` are the service's."""
    if isinstance(value, str):
        value = {**service, "uri": value}
    if not isinstance(value, Mapping) or not isinstance(uri := value.get("uri"), str):
        return None
    if len(uri) > MAX_URI:
        raise InvalidDocument(f"a service endpoint of more than {MAX_URI} characters")
    return Endpoint(uri, _strings(value, "accept"), _strings(value, "routingKeys"))


def _list(value: Mapping[str, Any], name: str, limit: int = MAX_METHODS) -> Sequence[Any]:
    items = value.get(name, [])
    if not isinstance(items, list):
        items = [items]
    if len(items) > limit:
        raise InvalidDocument(f"a DID document with more than {limit} of {name}")
    return items


def _strings(value: Mapping[str, Any], name: str) -> tuple[str, ...]:
    items = value.get(name) or []
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise InvalidDocument(f"a DID document whose {name} is no list of strings")
    if len(items) > MAX_LIST:
        raise InvalidDocument(f"a DID document with more than {MAX_LIST} of {name}")
    return tuple(items)


def _is_alias(fragment: str, key: PublicKey | None) -> bool:
    """did:peer:2 keys used to be `#6LS…` (all of it or 8 characters) and `#z6LS…`."""
    if key is None:
        return False
    multikey = key.to_multikey()
    return fragment in (multikey, multikey[1:], multikey[1:9])


def _method_json(method: VerificationMethod) -> dict[str, str]:
    shown = {"id": method.id, "type": method.type, "controller": method.controller}
    if method.key is not None:
        shown |= {"type": "Multikey", "publicKeyMultibase": method.key.to_multikey()}
    return shown


def _service_json(service: Service) -> dict[str, Any]:
    endpoints = [
        {"uri": e.uri, "accept": list(e.accept), "routingKeys": list(e.routing_keys)}
        for e in service.endpoints
    ]
    endpoint = endpoints[0] if len(endpoints) == 1 else endpoints
    return {"id": service.id, "type": service.type, "serviceEndpoint": endpoint}
