"""A vouch proves one thing to everybody: that this issuer signed for this very DID."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwk, jws

from agent.claims import vouch
from agent.claims.evidence import Evidence, Moment, Proof, Unproven
from agent.claims.proving import lacks, needed, prove
from identity import did_key, did_peer
from identity.codec import b64url_encode
from identity.document import DidDocument, VerificationMethod
from identity.keys import Curve, PrivateKey
from messaging.errors import MalformedMessage
from messaging.jws import sign_compact
from messaging.protocols.lobby import MAX_CLAIM, VouchClaim, VouchRequired
from messaging.rotation import read_prior
from tests.support.sessions import NOW, Party, make_parties

ANN, BEN, CY = make_parties(3)
REQUIRED = VouchRequired((ANN.did,))
EVIDENCE = Evidence({ANN.did: ANN.document, CY.did: CY.document})
DAY = 86_400.0
SOON = Moment("L" * 22, NOW + 1)


# By RFC 8032's first test key, for did:example:ben.
KEPT_ISSUER = "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw"
KEPT_VOUCH = (
    "eyJhbGciOiJFZERTQSIsImtpZCI6ImRpZDprZXk6ejZNa3R3dXBkbUxYVlZxVHpDdzRpNDZyNHVHeW9zR1hSblIz"
    "WGpONFpxN29NTXN3I3o2TWt0d3VwZG1MWFZWcVR6Q3c0aTQ2cjR1R3lvc0dYUm5SM1hqTjRacTdvTU1zdyIsInR5"
    "cCI6InZjK2p3dCJ9.eyJAY29udGV4dCI6IFsiaHR0cHM6Ly93d3cudzMub3JnL25zL2NyZWRlbnRpYWxzL3YyIl0"
    "sICJ0eXBlIjogWyJWZXJpZmlhYmxlQ3JlZGVudGlhbCIsICJEaWRtZXNoVm91Y2giXSwgImlzc3VlciI6ICJkaWQ"
    "6a2V5Ono2TWt0d3VwZG1MWFZWcVR6Q3c0aTQ2cjR1R3lvc0dYUm5SM1hqTjRacTdvTU1zdyIsICJ2YWxpZEZyb20"
    "iOiAiMjAzMC0wMy0xN1QxNzo0Njo0MFoiLCAidmFsaWRVbnRpbCI6ICIyMDMwLTAzLTE4VDE3OjQ2OjQwWiIsICJ"
    "jcmVkZW50aWFsU3ViamVjdCI6IHsiaWQiOiAiZGlkOmV4YW1wbGU6YmVuIiwgIm5hbWUiOiAiQmVuIn19.aVWuJo"
    "pugQAB4N8GNr-kKIpW-X7TwpXimrlcNVVPKmSHmsDgWJmH_iFeK6JSzIDeD3RLU3JMx56zKgXSQjLkCQ"
)


def made(issuer: Party = ANN, subject: str = BEN.did, name: str = "Ben", days: float = 1.0) -> str:
    return vouch.make(issuer.did, issuer.speaker, subject, name, NOW, days * DAY)


def content(**changes: Any) -> bytes:
    whole = {
        "@context": ["https://www.w3.org/ns/credentials/v2"],
        "type": ["VerifiableCredential", "DidmeshVouch"],
        "issuer": ANN.did,
        "validFrom": "2030-03-17T17:46:40Z",  # NOW
        "validUntil": "2030-03-18T17:46:40Z",
        "credentialSubject": {"id": BEN.did, "name": "Ben"},
    }
    return json.dumps({**whole, **changes}).encode()


def signed(payload: bytes, party: Party = ANN, kid: str = "") -> str:
    return sign_compact(payload, party.key, kid or party.speaker.kid, typ="vc+jwt")


def outcome(token: str, party: str = BEN.did, evidence: Evidence = EVIDENCE) -> Proof:
    return vouch.verify(VouchClaim(token), REQUIRED, party, evidence, SOON)


def test_a_vouch_says_who_somebody_is_and_whose_word_that_is() -> None:
    assert outcome(made()) == Proof("vouch", "Ben", ANN.did)
    assert outcome(signed(content())) == Proof("vouch", "Ben", ANN.did)


def test_a_vouch_that_somebody_was_given_stays_good() -> None:
    evidence = Evidence({KEPT_ISSUER: did_key.resolve(KEPT_ISSUER)})
    required, claim = VouchRequired((KEPT_ISSUER,)), VouchClaim(KEPT_VOUCH)
    found = vouch.verify(claim, required, "did:example:ben", evidence, SOON)
    assert found == Proof("vouch", "Ben", KEPT_ISSUER)


def test_the_library_of_others_verifies_a_vouch_and_finds_its_type() -> None:
    key = jwk.import_key(ANN.key.public.to_jwk())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls the algorithm by a newer name
        found = jws.deserialize_compact(made(), key, algorithms=["EdDSA"])
    assert found.headers()["typ"] == "vc+jwt"
    assert json.loads(found.payload)["credentialSubject"] == {"id": BEN.did, "name": "Ben"}


@pytest.mark.parametrize("curve", [Curve.ED25519, Curve.P256, Curve.SECP256K1])
def test_every_did_that_can_sign_can_vouch(curve: Curve) -> None:
    key = PrivateKey.generate(curve)
    did = did_key.create(key.public)
    document = did_key.resolve(did)
    token = sign_compact(content(issuer=did), key, document.authentication[0], typ="vc+jwt")
    required = VouchRequired((did,))
    proof = vouch.verify(VouchClaim(token), required, BEN.did, Evidence({did: document}), SOON)
    assert proof.by == did


ATTACKS: dict[str, tuple[Callable[[], str], str]] = {
    "for another DID": (lambda: made(subject=CY.did), "for another DID"),
    "expired": (lambda: made(days=0), "expired"),
    "of the future": (
        lambda: signed(content(validFrom="2030-03-17T18:00:00Z")),
        "of the future",
    ),
    "of somebody whose word does not count": (lambda: made(issuer=CY), "does not count"),
    "of somebody else in the name of one who counts": (lambda: signed(content(), CY), "not signed"),
    "signed with another key under the right kid": (
        lambda: signed(content(), CY, ANN.speaker.kid),
        "not signed",
    ),
    "with a kid of nobody": (lambda: signed(content(), ANN, f"{ANN.did}#key-9"), "not signed"),
    "with the key for encryption": (
        lambda: signed(content(), ANN, f"{ANN.did}#key-1"),
        "not signed",
    ),
    "changed after it was signed": (
        lambda: with_payload(made(), content(credentialSubject={"id": BEN.did, "name": "Eve"})),
        "not signed",
    ),
    "without a signature": (lambda: made().rpartition(".")[0] + ".", "not signed"),
    "alg none": (lambda: with_header(made(), {"alg": "none"}), "not a vouch"),
    "alg HS256": (lambda: with_header(made(), {"alg": "HS256", "kid": "x"}), "not a vouch"),
    "critical header": (
        lambda: with_header(made(), {"alg": "EdDSA", "kid": ANN.speaker.kid, "crit": ["b64"]}),
        "not a vouch",
    ),
    "another kind of credential": (
        lambda: signed(content(type=["VerifiableCredential", "DriversLicence"])),
        "not a vouch",
    ),
    "a member twice": (
        lambda: signed(content()[:-1] + b', "issuer": "' + CY.did.encode() + b'"}'),
        "not a vouch",
    ),
    "a name of two lines": (
        lambda: signed(content(credentialSubject={"id": BEN.did, "name": "Ben\nAnn"})),
        "not a vouch",
    ),
    "a name that turns around": (
        lambda: signed(content(credentialSubject={"id": BEN.did, "name": "\u202eneB"})),
        "not a vouch",
    ),
    "a long name": (
        lambda: signed(content(credentialSubject={"id": BEN.did, "name": "B" * 41})),
        "not a vouch",
    ),
    "no end": (lambda: signed(content(validUntil=None)), "not a vouch"),
    "an end that is a number": (lambda: signed(content(validUntil=2**70)), "not a vouch"),
    "an end in another calendar": (
        lambda: signed(content(validUntil="99999-01-01T00:00:00Z")),
        "not a vouch",
    ),
    "huge": (lambda: signed(content(padding="x" * MAX_CLAIM)), "more than"),
    "deep": (lambda: signed(content(padding=json.loads("[" * 20 + "]" * 20))), "not a vouch"),
    "a rotation of a DID": (
        lambda: sign_compact(
            json.dumps({"iss": ANN.did, "sub": BEN.did, "iat": int(NOW)}).encode(),
            *(ANN.key, ANN.speaker.kid, "JWT"),
        ),
        "not a vouch",
    ),
    "nothing": (lambda: "", "not a vouch"),
    "no text of a token": (lambda: "é.é.é", "not a vouch"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_no_vouch_for_this_party_is_refused_by_its_reason(name: str) -> None:
    token, words = ATTACKS[name]
    with pytest.raises(Unproven, match=words):
        outcome(token())


def test_an_issuer_that_cannot_be_looked_up_proves_nothing() -> None:
    with pytest.raises(Unproven, match="cannot be looked up"):
        outcome(made(), evidence=Evidence())


def test_a_key_counts_only_where_its_did_says_that_it_may_speak() -> None:
    """Listed for authentication or assertions: being in the document is not enough."""
    kid = ANN.speaker.kid
    method = VerificationMethod(kid, ANN.did, ANN.key.public)
    for relations, holds in (
        ({}, False),
        ({"key_agreement": (kid,)}, False),
        ({"capability_delegation": (kid,)}, False),
        ({"authentication": (kid,)}, True),
        ({"assertion_method": (kid,)}, True),
    ):
        document = DidDocument(ANN.did, (method,), **relations)
        try:
            outcome(made(), evidence=Evidence({ANN.did: document}))
        except Unproven:
            assert not holds, relations
        else:
            assert holds, relations


def test_a_vouch_moves_nobodys_did() -> None:
    """A JWT with `iss` and `sub` would be a `from_prior`: the guest would get our name and mail."""
    with pytest.raises(MalformedMessage):
        read_prior(made())


def test_whose_word_counts_needs_nobody_elses() -> None:
    assert needed([REQUIRED], ANN.did) == ()
    assert prove(ANN.did, (), [REQUIRED], EVIDENCE, SOON) == ()
    assert lacks([REQUIRED], BEN.did, ())
    assert not lacks([REQUIRED], ANN.did, ())


def test_exactly_what_is_required_is_shown() -> None:
    claim = VouchClaim(made())
    assert prove(BEN.did, (claim,), [REQUIRED], EVIDENCE, SOON)
    for claims, requires in (((), [REQUIRED]), ((claim, claim), [REQUIRED]), ((claim,), [])):
        with pytest.raises(Unproven, match="not what is required"):
            prove(BEN.did, claims, requires, EVIDENCE, SOON)


def test_a_vouch_of_a_did_in_any_form_fits_a_claim() -> None:
    long = did_peer.create_2([ANN.key.public] * 4, [ANN.key.public] * 4, [])
    assert len(made(subject=long)) < MAX_CLAIM


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: signed(data)))
def test_no_text_whatsoever_does_more_than_be_refused(token: str) -> None:
    with pytest.raises(Unproven):
        outcome(token)


def with_header(token: str, header: dict[str, Any]) -> str:
    encoded = b64url_encode(json.dumps(header).encode())
    return ".".join([encoded, *token.split(".")[1:]])


def with_payload(token: str, payload: bytes) -> str:
    header, _, signature = token.split(".")
    return f"{header}.{b64url_encode(payload)}.{signature}"
