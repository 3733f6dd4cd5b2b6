"""A vouch: somebody signs, for the DID of another, by which name they know them.

It is a W3C credential secured as a JWS (`vc+jwt`), so that others' tools can read it. It has no
`iss` and no `sub`: a JWT with these two, signed by a DID's key, moves that DID to another one
(`from_prior`), and nobody may be able to make this of a vouch.

Sources: W3C Verifiable Credentials Data Model 2.0; Securing Verifiable Credentials using JOSE and
COSE, section 3.1.1.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from agent.claims.evidence import LEEWAY, Evidence, Moment, NoEvidence, Proof, Unproven
from agent.session.statements import Speaker
from identity.codec import parse_json
from identity.document import DidDocument
from identity.errors import IdentityError
from identity.keys import PublicKey
from messaging.errors import MessagingError
from messaging.jws import read_compact, sign_compact, verify_compact
from messaging.protocols.lobby import MAX_CLAIM, MAX_NAME, VouchClaim, VouchRequired

TYPE = "DidmeshVouch"
_TYP = "vc+jwt"
_CONTEXTS = [
    "https://www.w3.org/ns/credentials/v2",
    "https://www.w3.org/ns/credentials/undefined-terms/v2",
]
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_DEPTH = 8


@dataclass(frozen=True)
class Vouch:
    """What a credential says; who has read it has verified nothing."""

    issuer: str
    subject: str
    name: str
    since: float  # Unix seconds
    until: float


def make(me: str, speaker: Speaker, subject: str, name: str, now: float, seconds: float) -> str:
    """A compact JWS in which `me` says, for so long, that `subject` is the one it calls `name`."""
    content = {
        "@context": _CONTEXTS,
        "id": f"urn:uuid:{uuid.uuid4()}",
        "type": ["VerifiableCredential", TYPE],
        "issuer": me,
        "validFrom": _text(now),
        "validUntil": _text(now + seconds),
        "credentialSubject": {"id": subject, "name": name},
    }
    return sign_compact(orjson.dumps(content), speaker.key, speaker.kid, typ=_TYP)


def read(token: str) -> Vouch:
    """What this token says, nothing verified. Raises: Unproven."""
    if len(token) > MAX_CLAIM:
        raise Unproven(f"a vouch of more than {MAX_CLAIM} characters")
    try:
        _, payload = read_compact(token)
        return _read(parse_json(payload, depth=_DEPTH))
    except (MessagingError, ValueError, LookupError, TypeError) as error:
        raise Unproven("this is not a vouch") from error


def verify(
    claim: VouchClaim, required: VouchRequired, party: str, evidence: Evidence, moment: Moment
) -> Proof:
    """Whether one of the issuers that count vouches for this very party. Raises: Unproven."""
    said = read(claim.token)
    if said.issuer not in required.issuers:
        raise Unproven("the vouch is of somebody whose word does not count here")
    if said.subject != party:
        raise Unproven("the vouch is for another DID")
    if said.since > moment.now + LEEWAY:
        raise Unproven("the vouch is of the future")
    if said.until <= moment.now:
        raise Unproven("the vouch has expired")
    document = evidence.documents.get(said.issuer)
    if document is None:
        raise NoEvidence("who vouches cannot be looked up")
    try:
        verify_compact(claim.token, lambda kid: _key(document, kid))
    except (MessagingError, IdentityError, ValueError) as error:
        raise Unproven("the vouch is not signed by who it says") from error
    return Proof(claim.KIND, said.name, said.issuer)


def _read(content: Mapping[str, Any]) -> Vouch:
    """Raises: ValueError, LookupError, TypeError."""
    types, subject = content["type"], content["credentialSubject"]
    if type(types) is not list or TYPE not in types:
        raise ValueError("another kind of credential")
    texts = (content["issuer"], subject["id"], subject["name"])
    if not all(type(text) is str and text for text in texts):
        raise TypeError("not texts")
    issuer, who, name = texts
    if len(name) > MAX_NAME or not name.isprintable():
        raise ValueError("not a name")
    return Vouch(issuer, who, name, _time(content["validFrom"]), _time(content["validUntil"]))


def _key(document: DidDocument, kid: str) -> PublicKey:
    method = document.method(kid)
    if method.id not in (*document.authentication, *document.assertion_method):
        raise ValueError("signed with a key that is not for saying something")
    if method.key is None:
        raise ValueError("signed with a key that we cannot use")
    return method.key


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime(_TIME)


def _time(text: str) -> float:
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC).timestamp()
