"""did:peer: identities that need nobody's registry, in the forms 0, 2, 3 and 4.

Form 2 lists keys and services in the DID, 4 carries a whole document, 0 is one key; 3 and the
short 4 are hashes of a long form. Of form 2 every shape that was ever in use is read, and only
the one that everybody reads is written.

Source: https://identity.foundation/peer-did-method-spec/
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from identity.codec import b64url_decode, b64url_encode, base58_decode, base58_encode, parse_json
from identity.did import MAX_DID, parse_did
from identity.did_key import document_of_key
from identity.document import DIDCOMM_SERVICE, MAX_DEPTH, DidDocument
from identity.errors import InvalidDid, InvalidDocument, UnknownDid
from identity.keys import PublicKey

_SHA256 = b"\x12\x20"  # multihash: sha2-256 of 32 bytes
_JSON = b"\x80\x04"  # multicodec: json, as a varint
_HASH = re.compile(r"z[1-9A-HJ-NP-Za-km-z]{44,48}")

_RELATIONSHIP_OF_PURPOSE = {
    "A": "assertionMethod",
    "D": "capabilityDelegation",
    "E": "keyAgreement",
    "I": "capabilityInvocation",
    "V": "authentication",
}
_LONG_NAMES = {"t": "type", "s": "serviceEndpoint", "r": "routingKeys", "a": "accept"}
_SHORT_NAMES = {long: short for short, long in _LONG_NAMES.items()}
# Of what `json` writes, the only characters that can make a '-' or '_' of base64url.
_UNSAFE = re.compile("[>?~]")


def didcomm_service(uri: str, routing_keys: Sequence[str] = ()) -> dict[str, Any]:
    """A service for `create_2`; `uri` is a URL or the DID of a mediator."""
    return {"t": "dm", "s": {"uri": uri, "a": ["didcomm/v2"], "r": list(routing_keys)}}


def create_2(
    encryption: Sequence[PublicKey],
    authentication: Sequence[PublicKey],
    services: Sequence[Mapping[str, Any]],
) -> str:
    """Write a did:peer:2; its keys are `#key-1`, `#key-2`, … in the order given.

    Services are in the words of DID Core or abbreviated. No '-' or '_' appears in their
    base64url, whatever they hold: half of the other implementations cannot read it.

    Raises: InvalidDid, if the DID were longer than anybody reads.
    """
    segments = [f".E{key.to_multikey()}" for key in encryption]
    segments += [f".V{key.to_multikey()}" for key in authentication]
    segments += [f".S{_encode_service(service)}" for service in services]
    did = "did:peer:2" + "".join(segments)
    if len(did) > MAX_DID:
        raise InvalidDid(f"a did:peer:2 of more than {MAX_DID} characters")
    return did


def create_4(document: Mapping[str, Any]) -> str:
    """Write the long form of a did:peer:4; the document has relative ids and no `id`.

    Raises: InvalidDid, InvalidDocument.
    """
    if "id" in document:
        raise InvalidDocument("the input document of a did:peer:4 has no id")
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    encoded = "z" + base58_encode(_JSON + text)
    did = f"did:peer:4{_hash(encoded)}:{encoded}"
    resolve(did)
    return did


def short_form(did: str) -> str | None:
    """The did:peer:3 of a did:peer:2, the short did:peer:4 of a long one, else None."""
    if did.startswith("did:peer:2"):
        return "did:peer:3" + _hash(did.removeprefix("did:peer:2"))
    if did.startswith("did:peer:4") and ":" in did[10:]:
        return did.rpartition(":")[0]
    return None


def resolve(did: str) -> DidDocument:
    """The document of a did:peer that carries it: form 0, 2, or the long 4.

    Raises: InvalidDid, InvalidDocument; UnknownDid for the forms that only name a document.
    """
    method, id = parse_did(did)
    if method != "peer":
        raise InvalidDid("not a did:peer")
    match id[0]:
        case "0":
            return document_of_key(did, id[1:])
        case "2":
            return _read_2(did)
        case "4" if ":" in id:
            return DidDocument.from_json(_document_4(did), did=did)
        case "1" | "3" | "4" if _HASH.fullmatch(id[1:]):
            raise UnknownDid("a short did:peer whose long form was never seen here")
    raise InvalidDid("a did:peer of no known form")


def services_of_2(did: str) -> DidDocument:
    """The document of a did:peer:2 without its keys, which cost most of the time to read.

    Raises: InvalidDid, InvalidDocument.
    """
    services = [s for part in _segments(did) if part[0] == "S" for s in _decode_services(part[1:])]
    return DidDocument.from_json({"id": did, "service": _named(services)}, did=did)


def resolve_short(did: str, long: str) -> DidDocument:
    """The document of a did:peer:3 or short did:peer:4, known by its long form.

    Raises: InvalidDid, InvalidDocument.
    """
    if short_form(long) != did:
        raise InvalidDid("a short did:peer of another long form")
    document = _document_2(long) if long.startswith("did:peer:2") else _document_4(long)
    return DidDocument.from_json({**document, "id": did, "alsoKnownAs": [long]}, did=did)


def _read_2(did: str) -> DidDocument:
    try:
        document = DidDocument.from_json(_document_2(did), did=did)
    except InvalidDocument as error:
        raise InvalidDid(f"a did:peer:2: {error}") from None
    if any(method.key is None for method in document.verification_methods):
        raise InvalidDid("a did:peer:2 with a key of no kind that we know")
    return document


def _document_2(did: str) -> dict[str, Any]:
    document: dict[str, Any] = {"id": did, "verificationMethod": [], "service": []}
    for segment in _segments(did):
        purpose, value = segment[0], segment[1:]
        if purpose == "S":
            document["service"] += _decode_services(value)
        elif purpose in _RELATIONSHIP_OF_PURPOSE:
            id = f"#key-{len(document['verificationMethod']) + 1}"
            document["verificationMethod"].append(
                {"id": id, "type": "Multikey", "publicKeyMultibase": value}
            )
            document.setdefault(_RELATIONSHIP_OF_PURPOSE[purpose], []).append(id)
        else:
            raise InvalidDid(f"a did:peer:2 with a key for {purpose!r}")
    _named(document["service"])
    return {**document, "alsoKnownAs": [short_form(did)]}


def _named(services: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for number, service in enumerate(services):
        service.setdefault("id", f"#service-{number}" if number else "#service")
    return services


def _segments(did: str) -> list[str]:
    head, *segments = did.split(".")
    if head != "did:peer:2" or not segments or not all(segments):
        raise InvalidDid("a did:peer:2 that is no list of keys and services")
    return segments


def _encode_service(service: Mapping[str, Any]) -> str:
    text = json.dumps(_abbreviate(service), separators=(",", ":"))
    encoded = b64url_encode(text.encode())
    if "-" in encoded or "_" in encoded:
        # In JSON text these characters only stand in strings, where an escape means the same.
        text = _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
        encoded = b64url_encode(text.encode())
    return encoded


def _abbreviate(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            _SHORT_NAMES.get(name, name): "dm" if item == DIDCOMM_SERVICE else _abbreviate(item)
            for name, item in value.items()
        }
    return [_abbreviate(item) for item in value] if isinstance(value, list | tuple) else value


def _decode_services(segment: str) -> Iterator[dict[str, Any]]:
    """The service of a segment; old writers put a list of any length into one."""
    try:
        value = parse_json(b64url_decode(segment), depth=MAX_DEPTH)
    except ValueError as error:
        raise InvalidDid(f"a did:peer:2 with an unreadable service: {error}") from None
    for service in value if isinstance(value, list) else [value]:
        if not isinstance(service, dict):
            raise InvalidDid("a did:peer:2 with a service that is no JSON object")
        expanded = _expand(service)
        if expanded.get("type") == "dm":
            expanded["type"] = DIDCOMM_SERVICE
        yield expanded


def _expand(value: Any) -> Any:
    if isinstance(value, dict):
        return {_LONG_NAMES.get(name, name): _expand(item) for name, item in value.items()}
    return [_expand(item) for item in value] if isinstance(value, list) else value


def _document_4(did: str) -> dict[str, Any]:
    hash_, _, encoded = did.removeprefix("did:peer:4").partition(":")
    if hash_ != _hash(encoded):
        raise InvalidDid("a did:peer:4 whose hash is not that of its document")
    try:
        data = base58_decode(encoded.removeprefix("z"), limit=MAX_DID)
        document = parse_json(data.removeprefix(_JSON), depth=MAX_DEPTH)
    except ValueError as error:
        raise InvalidDid(f"a did:peer:4 with an unreadable document: {error}") from None
    if not encoded.startswith("z") or not data.startswith(_JSON):
        raise InvalidDid("a did:peer:4 whose document is not JSON in base58btc")
    if not isinstance(document, dict) or "id" in document:
        raise InvalidDocument("a did:peer:4 whose document is none, or names its own id")
    also_known_as = document.get("alsoKnownAs") or []
    if not isinstance(also_known_as, list):
        raise InvalidDocument("a did:peer:4 whose alsoKnownAs is no list")
    return {**document, "id": did, "alsoKnownAs": [*also_known_as, short_form(did)]}


def _hash(text: str) -> str:
    return "z" + base58_encode(_SHA256 + hashlib.sha256(text.encode()).digest())
