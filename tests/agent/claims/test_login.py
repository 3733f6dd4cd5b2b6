"""A login proves who has logged in at the issuer, for one DID in one lobby, and nothing more."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from agent.claims import vouch
from agent.claims.evidence import Evidence, Moment, NoEvidence, Proof, Unproven
from agent.claims.login import FRESH, MAX_KEYS, commitment, fits, is_pattern, read_keys, verify
from agent.claims.proving import lacks, needed, prove
from agent.lobby.claimants import Claimants
from agent.lobby.seats import Guest
from identity.codec import b64url_decode, b64url_encode
from messaging.errors import MalformedMessage
from messaging.protocols.lobby import (
    MAX_LOGIN,
    Knock,
    LoginClaim,
    LoginRequired,
    Refuse,
    Require,
    VouchClaim,
    VouchRequired,
)
from tests.support.openid import (
    CLIENT,
    ISSUER,
    KEYS,
    LOBBY,
    REQUIRED,
    SALT,
    content,
    jwks,
    key,
    login,
    public,
    published,
    signed,
    unsigned,
)
from tests.support.sessions import NOW, make_parties

ANN, BEN = make_parties(2)
EVIDENCE = Evidence(keys=KEYS)
AT_THE_DOOR = Moment(LOBBY, NOW, knocks=True)
LATER = Moment(LOBBY, NOW + 40 * 86_400)
ALICE = Proof("login", "alice@uni.example", ISSUER)


# OpenID Connect Core 1.0, appendix A.2, and its key, A.7.
PUBLISHED_TOKEN = (
    "eyJraWQiOiIxZTlnZGs3IiwiYWxnIjoiUlMyNTYifQ.ewogImlzcyI6ICJodHRwOi8vc2VydmVyLmV4YW1wbGUuY"
    "29tIiwKICJzdWIiOiAiMjQ4Mjg5NzYxMDAxIiwKICJhdWQiOiAiczZCaGRSa3F0MyIsCiAibm9uY2UiOiAibi0wU"
    "zZfV3pBMk1qIiwKICJleHAiOiAxMzExMjgxOTcwLAogImlhdCI6IDEzMTEyODA5NzAsCiAibmFtZSI6ICJKYW5lI"
    "ERvZSIsCiAiZ2l2ZW5fbmFtZSI6ICJKYW5lIiwKICJmYW1pbHlfbmFtZSI6ICJEb2UiLAogImdlbmRlciI6ICJmZ"
    "W1hbGUiLAogImJpcnRoZGF0ZSI6ICIwMDAwLTEwLTMxIiwKICJlbWFpbCI6ICJqYW5lZG9lQGV4YW1wbGUuY29tI"
    "iwKICJwaWN0dXJlIjogImh0dHA6Ly9leGFtcGxlLmNvbS9qYW5lZG9lL21lLmpwZyIKfQ.rHQjEmBqn9Jre0OLyk"
    "YNnspA10Qql2rvx4FsD00jwlB0Sym4NzpgvPKsDjn_wMkHxcp6CilPcoKrWHcipR2iAjzLvDNAReF97zoJqq880Z"
    "D1bwY82JDauCXELVR9O6_B0w3K-E7yM2macAAgNCUwtik6SjoSUZRcf-O5lygIyLENx882p6MtmwaL1hd6qn5RZO"
    "Q0TLrOYu0532g9Exxcm-ChymrB4xLykpDj3lUivJt63eEGGN6DH5K6o33TcxkIjNrCD4XB1CKKumZvCedgHHF3IA"
    "K4dVEDSUoGlH9z4pP_eWYNXvqQOjGs-rDaQzUHl6cQQWNiDpWOl_lxXjQEvQ"
)
PUBLISHED_MODULUS = (
    "w7Zdfmece8iaB0kiTY8pCtiBtzbptJmP28nSWwtdjRu0f2GFpajvWE4VhfJAjEsOcwYzay7XGN0b-X84BfC8hmCT"
    "Oj2b2eHT7NsZegFPKRUQzJ9wW8ipn_aDJWMGDuB1XyqT1E7DYqjUCEOD1b4FLpy_xPn6oV_TYOfQ9fZdbE5HGxJU"
    "zekuGcOKqOQ8M7wfYHhHHLxGpQVgL0apWuP2gDDOdTtpuld4D2LK1MZK99s9gaSjRHE8JDb1Z4IGhEcEyzkxswVd"
    "PndUWzfvWBBWXWxtSUvQGBRkuy1BHOa4sP6FKjWEeeF7gm7UMs2Nm2QUgNZw6xvEDGaLk4KASdIxRQ"
)


def outcome(
    token: str,
    required: LoginRequired = REQUIRED,
    moment: Moment = AT_THE_DOOR,
    evidence: Evidence = EVIDENCE,
) -> Proof:
    return verify(LoginClaim(ISSUER, SALT, token), required, BEN.did, evidence, moment)


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_a_login_says_who_somebody_is_and_who_says_so(algorithm: str) -> None:
    assert outcome(signed(content(BEN.did), algorithm)) == ALICE


def test_the_nonce_commits_to_did_and_lobby_and_shows_neither() -> None:
    """The commitment is base64url(SHA-256(JCS)) of these four members, spelled out once."""
    text = f'{{"did":"did:example:b","lobby":"{LOBBY}","salt":"{SALT}","v":1}}'
    assert rfc8785.dumps(json.loads(text)) == text.encode()
    assert commitment("did:example:b", LOBBY, SALT) == b64url_encode(
        hashlib.sha256(text.encode()).digest()
    )
    others = {commitment("did:example:b", LOBBY, f"{number:022}") for number in range(20)}
    assert len(others) == 20, "without the salt nobody can try DIDs"


def test_a_token_is_evidence_of_a_moment_for_whoever_is_not_the_door() -> None:
    """Weeks later, and expired, it still ties the DID to the person: the nonce is of this lobby."""
    token = signed(content(BEN.did))
    assert outcome(token, moment=LATER) == ALICE
    with pytest.raises(Unproven, match="older than 10 minutes"):
        outcome(token, moment=Moment(LOBBY, NOW + FRESH, knocks=True))


def test_the_specifications_own_token_is_signed_by_its_key_and_for_nobody_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    issuer = "http://server.example.com"
    required = LoginRequired(issuer, "s6BhdRkqt3")
    published_key = {"kty": "RSA", "kid": "1e9gdk7", "n": PUBLISHED_MODULUS, "e": "AQAB"}
    evidence = Evidence(keys={issuer: read_keys(jwks(published_key))})
    claim, then = LoginClaim(issuer, SALT, PUBLISHED_TOKEN), Moment(LOBBY, 1311280980)
    with pytest.raises(Unproven, match="another DID"):
        verify(claim, required, BEN.did, evidence, then)
    monkeypatch.setattr("agent.claims.login.commitment", lambda *_: "n-0S6_WzA2Mj")
    assert verify(claim, required, BEN.did, evidence, then).who == "248289761001"
    spoiled = replace(claim, token=PUBLISHED_TOKEN[:-3] + "AAA")
    with pytest.raises(Unproven, match="not signed"):
        verify(spoiled, required, BEN.did, evidence, then)


def with_hs256() -> str:
    """Signed with the issuer's public key as if that were a secret."""
    head = unsigned(content(BEN.did), {"alg": "HS256", "kid": "RS256"}).rpartition(".")[0]
    secret = json.dumps(public(key("RS256"), "RS256")).encode()
    mac = hmac.new(secret, head.encode(), hashlib.sha256).digest()
    return f"{head}.{b64url_encode(mac)}"


def swapped(token: str, **changes: Any) -> str:
    header, _, signature = token.split(".")
    payload = b64url_encode(json.dumps(content(BEN.did, **changes)).encode())
    return f"{header}.{payload}.{signature}"


def twice(name: str, value: str) -> bytes:
    return json.dumps(content(BEN.did)).encode()[:-1] + f', "{name}": {value}}}'.encode()


def small_key() -> str:
    return signed(content(BEN.did), "RS256", key("RS256", 1), kid="small")


def changed(**changes: Any) -> Callable[[], str]:
    return lambda: signed(content(BEN.did, **changes))


OTHER_LOBBY = commitment(BEN.did, "M" * 22, SALT)
OTHER_SALT = commitment(BEN.did, LOBBY, "T" * 22)
ATTACKS: dict[str, tuple[Callable[[], str], str]] = {
    "for another application": (changed(aud="other"), "another application"),
    "for ours and another": (changed(aud=[CLIENT, "other"]), "another application"),
    "for ours twice": (changed(aud=[CLIENT, CLIENT]), "another application"),
    "for nobody": (changed(aud=...), "another application"),
    "for an object": (changed(aud={CLIENT: 1}), "another application"),
    "given to another application": (changed(azp="other"), "another application"),
    "with another DID's nonce": (lambda: signed(content(ANN.did)), "another DID"),
    "of another lobby": (changed(nonce=OTHER_LOBBY), "another DID, or another lobby"),
    "with another salt": (changed(nonce=OTHER_SALT), "another DID, or another lobby"),
    "without a nonce": (changed(nonce=...), "another DID"),
    "with a nonce that is no text": (changed(nonce=[1]), "another DID"),
    "with a nonce beyond ASCII": (changed(nonce="é"), "another DID"),
    "of another issuer, by this one's key": (changed(iss="https://evil.example"), "other issuer"),
    "of the issuer with a slash more": (changed(iss=ISSUER + "/"), "other issuer"),
    "alg none": (
        lambda: unsigned(content(BEN.did), {"alg": "none", "kid": "ES256"}),
        "not allowed",
    ),
    "alg None": (
        lambda: unsigned(content(BEN.did), {"alg": "None", "kid": "ES256"}),
        "not allowed",
    ),
    "no alg": (lambda: unsigned(content(BEN.did), {"kid": "ES256"}), "not allowed"),
    "HS256 with the public key": (with_hs256, "not allowed"),
    "ES384": (
        lambda: signed(content(BEN.did), "ES384", key("ES384"), kid="ES256"),
        "not allowed",
    ),
    "a header that has to be understood": (
        lambda: signed(content(BEN.did), b64=True, crit=["b64"]),
        "not allowed",
    ),
    "with the key of another issuer": (
        lambda: signed(content(BEN.did), private=key("ES256", 1)),
        "not signed by its issuer",
    ),
    "with a key that it brings along": (
        lambda: signed(
            content(BEN.did), private=key("ES256", 1), jwk=public(key("ES256", 1), "ES256")
        ),
        "not signed by its issuer",
    ),
    "with a kid that the issuer does not have": (
        lambda: signed(content(BEN.did), kid="mine"),
        "does not have",
    ),
    "with a kid that is an object": (
        lambda: unsigned(content(BEN.did), {"alg": "ES256", "kid": {}}),
        "does not have",
    ),
    "with a key for another algorithm": (
        lambda: signed(content(BEN.did), "RS256", kid="ES256"),
        "for something else",
    ),
    "with a signature of nothing": (
        lambda: signed(content(BEN.did)).rpartition(".")[0] + ".",
        "not signed by its issuer",
    ),
    "changed after it was signed": (
        lambda: swapped(signed(content(BEN.did)), email="eve@uni.example"),
        "not signed by its issuer",
    ),
    "expired": (changed(exp=int(NOW)), "has expired"),
    "without an end": (changed(exp=...), "no `exp`"),
    "too old": (changed(iat=int(NOW) - FRESH - 1), "older than 10 minutes"),
    "of the future": (changed(iat=int(NOW) + 61), "of the future"),
    "of no time": (changed(iat=...), "no `iat`"),
    "of a time that is true": (changed(iat=True), "no `iat`"),
    "of a time that is text": (changed(iat="1900000000"), "no `iat`"),
    "of a time beyond all": (changed(iat=10**400), "no `iat`"),
    "unverified address": (changed(email_verified=False), "not verified"),
    "verified in text": (changed(email_verified="true"), "not verified"),
    "verified, they do not say": (changed(email_verified=...), "not verified"),
    "without an address": (changed(email=...), "not verified"),
    "an address of elsewhere": (changed(email="alice@evil.example"), "is not"),
    "a domain that goes on": (changed(email="alice@uni.example.evil"), "is not"),
    "a domain that begins before": (changed(email="alice@eviluni.example"), "is not"),
    "a subdomain": (changed(email="alice@lab.uni.example"), "is not"),
    "two at signs": (changed(email="evil@x@uni.example"), "is not"),
    "an address with a comment": (changed(email="evil@evil.example(@uni.example"), "is not"),
    "an address with a line": (changed(email="evil@evil.example\n@uni.example"), "is not"),
    "an address with a blank": (changed(email="evil@evil.example @uni.example"), "is not"),
    "a domain in another alphabet": (changed(email="alice@\u0443ni.example"), "is not"),
    "a dot at the end": (changed(email="alice@uni.example."), "is not"),
    "an address that is a list": (changed(email=["alice@uni.example"]), "not verified"),
    "an endless address": (changed(email="a" * 250 + "@uni.example"), "is not"),
    "a member twice": (lambda: signed(twice("email", '"alice@uni.example"')), "not a login"),
    "a nonce twice": (lambda: signed(twice("nonce", '"x"')), "not a login"),
    "not JSON": (lambda: signed(b"\xff\xfe"), "not a login"),
    "a list": (lambda: signed(b"[]"), "not a login"),
    "deep": (lambda: signed(b"[" * 50 + b"]" * 50), "not a login"),
    "two parts": (lambda: "a.b", "not a login"),
    "five parts": (lambda: "a.b.c.d.e", "not a login"),
    "nothing": (lambda: "", "not a login"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_no_login_of_this_party_is_refused_by_its_reason(name: str) -> None:
    token, words = ATTACKS[name]
    with pytest.raises(Unproven, match=words):
        outcome(token())


def test_a_login_elsewhere_does_not_count_however_good() -> None:
    claim = LoginClaim("https://evil.example", SALT, login(BEN.did).token)
    with pytest.raises(Unproven, match="another issuer"):
        verify(claim, REQUIRED, BEN.did, EVIDENCE, AT_THE_DOOR)


def test_a_huge_token_is_refused_before_anything_is_read() -> None:
    whole = LoginClaim(ISSUER, SALT, "x" * MAX_LOGIN).to_json()
    assert LoginClaim.from_json(whole).token
    with pytest.raises(MalformedMessage):
        LoginClaim.from_json({**whole, "token": "x" * (MAX_LOGIN + 1)})


KEY_SETS: dict[str, tuple[bytes, str]] = {
    "a key of 1024 bits": (
        jwks(public(key("RS256 of 1024 bits"), "RS256")),
        "too small",
    ),
    "an exponent that is huge": (
        jwks(public(key("RS256"), "RS256", e=b64url_encode(b"\xff" * 200))),
        "too large",
    ),
    "an exponent of one": (jwks(public(key("RS256"), "RS256", e="AQ")), "too small"),
    "a modulus that is huge": (
        jwks(public(key("RS256"), "RS256", n=b64url_encode(b"\xff" * 2000))),
        "too large",
    ),
    "a modulus that is no text": (jwks(public(key("RS256"), "RS256", n=5)), "too small"),
    "a key for encryption": (jwks(public(key("RS256"), "RS256", use="enc")), "not for signing"),
    "a key for another algorithm": (
        jwks(public(key("RS256"), "RS256", alg="RS512")),
        "something else",
    ),
    "a shared secret": (
        jwks({"kty": "oct", "k": b64url_encode(b"x" * 32), "kid": "RS256"}),
        "something else",
    ),
    "the same kid twice": (jwks(*[public(key("RS256"), "RS256")] * 2), "does not have"),
    "no kid": (jwks(key("RS256").as_dict(private=False)), "does not have"),
    "nothing": (jwks(), "does not have"),
}


@pytest.mark.parametrize("name", KEY_SETS)
def test_a_key_that_is_not_good_enough_proves_nothing(name: str) -> None:
    data, words = KEY_SETS[name]
    evidence = Evidence(keys={ISSUER: read_keys(data)})
    with pytest.raises(Unproven, match=words):
        outcome(signed(content(BEN.did), "RS256"), evidence=evidence)


def test_an_elliptic_key_is_on_the_curve_of_its_algorithm() -> None:
    data = jwks(public(key("ES384"), "ES256"))
    with pytest.raises(Unproven, match="curve"):
        outcome(signed(content(BEN.did)), evidence=Evidence(keys={ISSUER: read_keys(data)}))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"keys": {}}',
        b'{"keys": [], "keys": []}',
        jwks(*({"kid": str(number)} for number in range(MAX_KEYS + 1))),
        b"[" * 100,
    ],
    ids=["empty", "a list", "an object", "twice", "too many", "deep"],
)
def test_what_is_no_set_of_keys_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        read_keys(data)


def test_without_the_issuers_keys_nothing_is_known_and_nobody_accused() -> None:
    with pytest.raises(NoEvidence, match="cannot be fetched"):
        outcome(signed(content(BEN.did)), evidence=Evidence())


@pytest.mark.parametrize(
    ("changes", "who"),
    [
        ({}, "alice@uni.example"),
        ({"email_verified": False}, "user-4711"),
        ({"email": ...}, "user-4711"),
        ({"email": "a b@x"}, "user-4711"),
    ],
)
def test_without_a_pattern_an_address_shows_only_if_it_is_verified(
    changes: dict[str, Any], who: str
) -> None:
    required = LoginRequired(ISSUER, CLIENT)
    assert outcome(signed(content(BEN.did, **changes)), required).who == who


@pytest.mark.parametrize("subject", [..., "", "x" * 256, "two\nlines", "\u202eeno", 5])
def test_a_login_names_somebody_in_one_line(subject: Any) -> None:
    token = signed(content(BEN.did, sub=subject, email=...))
    with pytest.raises(Unproven, match="names nobody"):
        outcome(token, LoginRequired(ISSUER, CLIENT))


@pytest.mark.parametrize(
    ("email", "pattern", "does"),
    [
        ("alice@uni.example", "*@uni.example", True),
        ("Alice@UNI.example", "*@uni.Example", True),
        ("alice@uni.example", "alice@uni.example", True),
        ("ALICE@uni.example", "alice@uni.example", True),
        ("bob@uni.example", "alice@uni.example", False),
        ("alice@uni.example", "*@example", False),
        ("*@uni.example", "alice@uni.example", False),
        ("alice+tag@uni.example", "*@uni.example", True),
    ],
)
def test_a_pattern_is_an_address_or_all_of_a_domain(email: str, pattern: str, does: bool) -> None:
    assert is_pattern(pattern)
    assert fits(email, pattern) is does


@pytest.mark.parametrize(
    "text",
    [
        *("", "*", "@uni.example", "*uni.example", "a*@uni.example", "*@*", "*@*.example", "*@"),
        *("a@b@c", "*@uni.example\n", "*@-uni.example", "* @uni.example", "*@" + "x" * 260),
    ],
)
def test_what_could_mean_more_than_one_thing_is_no_pattern(text: str) -> None:
    assert not is_pattern(text)


def test_where_both_kinds_are_required_both_are_shown() -> None:
    requires = (REQUIRED, VouchRequired((ANN.did,)))
    token = vouch.make(ANN.did, ANN.speaker, BEN.did, "Ben", NOW, 60)
    both = (VouchClaim(token), login(BEN.did))
    evidence = Evidence({ANN.did: ANN.document}, KEYS)
    assert needed(requires, BEN.did) == requires
    assert needed(requires, ANN.did) == (REQUIRED,)
    proofs = prove(BEN.did, both, requires, evidence, AT_THE_DOOR)
    assert [proof.kind for proof in proofs] == ["vouch", "login"]
    for one in both:
        assert lacks(requires, BEN.did, (one,))
        with pytest.raises(Unproven, match="not what is required"):
            prove(BEN.did, (one,), requires, evidence, AT_THE_DOOR)


def test_a_host_that_cannot_ask_the_issuer_refuses_nobody_and_takes_them_the_next_time() -> None:
    claimants = Claimants(LOBBY, (REQUIRED,))
    knock = Knock(LOBBY, "T" * 22, "N" * 43, int(NOW * 1000), claims=(login(BEN.did),))
    assert isinstance(claimants.handle_knock(BEN.did, replace_claims(knock), NOW), Require)
    assert claimants.handle_knock(BEN.did, knock, NOW) is True
    assert claimants.judge(BEN.did, Evidence(), NOW) is None
    assert claimants.handle_knock(BEN.did, knock, NOW + 60) is True
    assert isinstance(claimants.judge(BEN.did, EVIDENCE, NOW + 60), Guest)
    assert claimants.handle_knock(BEN.did, knock, NOW + FRESH) is True
    assert isinstance(claimants.judge(BEN.did, EVIDENCE, NOW + FRESH), Refuse)


header_bytes = st.binary(max_size=60) | st.sampled_from(
    [b'{"alg":"ES256","kid":"ES256"}', b'{"alg":"EdDSA","kid":"EdDSA"}', b'{"alg":"RS256"}']
)


@given(st.lists(header_bytes.map(b64url_encode) | st.text(max_size=20), max_size=4))
def test_no_token_whatsoever_does_more_than_be_refused(parts: list[str]) -> None:
    with pytest.raises(Unproven):
        outcome(".".join(parts))


json_values = (
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.lists(st.text())
)
members = st.sampled_from(["iss", "aud", "iat", "exp", "nonce", "email", "sub"])


@given(st.dictionaries(members, json_values))
def test_no_content_whatsoever_does_more_than_be_refused(changes: dict[str, Any]) -> None:
    try:
        found = outcome(signed(content(BEN.did, **changes)))
    except Unproven:
        return
    assert found == ALICE


def replace_claims(knock: Knock) -> Knock:
    return Knock(knock.lobby, knock.token, knock.nonce, knock.created)


def test_the_published_keys_are_the_ones_used() -> None:
    assert {*read_keys(published())} == {"RS256", "PS256", "ES256", "EdDSA"}
    assert len(b64url_decode(SALT)) == 16
