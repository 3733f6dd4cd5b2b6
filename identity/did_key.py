"""did:key: the DID is the key.

Source: https://w3c-ccg.github.io/did-key-spec/
"""

from __future__ import annotations

from identity.did import parse_did
from identity.document import DidDocument, VerificationMethod
from identity.errors import InvalidDid, InvalidKey
from identity.keys import Curve, PublicKey, x25519_of_ed25519


def create(key: PublicKey) -> str:
    return f"did:key:{key.to_multikey()}"


def resolve(did: str) -> DidDocument:
    """The document of a did:key. Raises: InvalidDid."""
    method, multikey = parse_did(did)
    if method != "key":
        raise InvalidDid("not a did:key")
    return document_of_key(did, multikey)


def document_of_key(did: str, multikey: str) -> DidDocument:
    """The document of a DID that is nothing but one key. Raises: InvalidDid.

    An Ed25519 key brings the X25519 key derived from it: others address it, so it is read; our
    own DIDs have a generated one.
    """
    try:
        key = PublicKey.from_multikey(multikey)
    except InvalidKey as error:
        raise InvalidDid(f"a DID of {error}") from None
    signing, agreeing = _uses(key)
    methods = {f"{did}#{key.to_multikey()}": key for key in (signing, agreeing) if key is not None}
    by_key = {key: id for id, key in methods.items()}
    signers = () if signing is None else (by_key[signing],)
    return DidDocument(
        id=did,
        verification_methods=tuple(VerificationMethod(id, did, key) for id, key in methods.items()),
        authentication=signers,
        assertion_method=signers,
        key_agreement=() if agreeing is None else (by_key[agreeing],),
        capability_invocation=signers,
        capability_delegation=signers,
    )


def _uses(key: PublicKey) -> tuple[PublicKey | None, PublicKey | None]:
    if key.curve is Curve.X25519:
        return None, key
    if key.curve is Curve.ED25519:
        return key, x25519_of_ed25519(key)
    return key, key
