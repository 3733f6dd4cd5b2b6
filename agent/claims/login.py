"""A login: an OpenID Connect issuer's signed word for who somebody is, bound to one DID and lobby.

The token's nonce is a commitment to DID, lobby and a salt. So the issuer learns neither, and the
token says nothing about another DID, or in another lobby. Whoever verifies needs the claim and the
keys of the issuer, and nothing else.

Sources: OpenID Connect Core 1.0, sections 2 and 3.1.3.7; RFC 7517; RFC 8725.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import warnings
from collections.abc import Mapping
from typing import Any, Final

import rfc8785

from agent.claims.evidence import LEEWAY, Evidence, Keys, Moment, NoEvidence, Proof, Unproven
from identity.codec import b64url_decode, b64url_encode, parse_json
from messaging.protocols.lobby import MAX_EMAIL, LoginClaim, LoginRequired

FRESH: Final = 600  # seconds from a login to the knock that shows it
MAX_KEYS = 32  # of an issuer
_KINDS = {"RS256": "RSA", "PS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}
_CURVES = {"EC": "P-256", "OKP": "Ed25519"}
_RSA_BITS = range(2048, 8193)
_DEPTH = 8
_EMAIL = re.compile(r"([!-?A-~]{1,64})@([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)")


def commitment(did: str, lobby: str, salt: str) -> str:
    """The nonce of a login for this DID in this lobby; `salt` is 16 random bytes in base64url."""
    content: dict[str, Any] = {"v": 1, "did": did, "lobby": lobby, "salt": salt}
    return b64url_encode(hashlib.sha256(rfc8785.dumps(content)).digest())


def is_pattern(text: str) -> bool:
    """Whether this is an e-mail address, or `*@` and a domain."""
    whole = text.replace("*@", "any@", 1) if text.startswith("*@") else text
    return len(text) <= MAX_EMAIL and _EMAIL.fullmatch(whole) is not None and "*" not in whole


def fits(email: str, pattern: str) -> bool:
    """Whether an address is the one of the pattern, or of its domain; case does not matter."""
    found = _EMAIL.fullmatch(email)
    if found is None or len(email) > MAX_EMAIL:
        return False
    wanted, _, domain = pattern.lower().rpartition("@")
    return found[2].lower() == domain and wanted in ("*", found[1].lower())


def read_keys(data: bytes) -> Keys:
    """An issuer's JWKS, by `kid`; a key without one, or whose `kid` is not its own, is left out.

    Raises: ValueError.
    """
    value = parse_json(data, depth=_DEPTH)
    keys = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(keys, list) or len(keys) > MAX_KEYS:
        raise ValueError(f"not a set of at most {MAX_KEYS} keys")
    named = [key for key in keys if isinstance(key, dict) and isinstance(key.get("kid"), str)]
    kids = [key["kid"] for key in named]
    return {key["kid"]: key for key in named if kids.count(key["kid"]) == 1}


def verify(
    claim: LoginClaim, required: LoginRequired, party: str, evidence: Evidence, moment: Moment
) -> Proof:
    """Whether this very party has logged in where it is required. Raises: Unproven."""
    if claim.issuer != required.issuer:
        raise Unproven("the login is at another issuer than the one required")
    keys = evidence.keys.get(required.issuer)
    if keys is None:
        raise NoEvidence(f"the keys of {required.issuer} cannot be fetched")
    content = _signed_by(claim.token, keys)
    _check_addressed(content, required)
    nonce = content.get("nonce")
    expected = commitment(party, moment.lobby, claim.salt)
    if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), expected.encode()):
        raise Unproven("the login is for another DID, or another lobby")
    _check_times(content, moment)
    return Proof(claim.KIND, _who(content, required.email), required.issuer)


def _signed_by(token: str, keys: Keys) -> dict[str, Any]:
    """What the token says, once one of the keys has signed it. Raises: Unproven."""
    try:
        header_text, payload, _ = token.split(".")
        header, content = _object(header_text), _object(payload)
    except (ValueError, TypeError) as error:
        raise Unproven("this is not a login token") from error
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in _KINDS or "crit" in header:
        raise Unproven("the login is signed in a way that is not allowed")
    key = keys.get(kid) if isinstance(kid, str) else None
    if key is None:
        raise Unproven("the login is signed with a key that its issuer does not have")
    _check_key(key, algorithm)
    if not _is_signed(token, key, algorithm):
        raise Unproven("the login is not signed by its issuer")
    return content


def _object(encoded: str) -> dict[str, Any]:
    value = parse_json(b64url_decode(encoded), depth=_DEPTH)
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _check_key(key: Mapping[str, Any], algorithm: str) -> None:
    """Raises: Unproven."""
    kind = _KINDS[algorithm]
    if key.get("kty") != kind or key.get("alg", algorithm) != algorithm:
        raise Unproven("the login is signed with a key that is for something else")
    if key.get("use", "sig") != "sig":
        raise Unproven("the login is signed with a key that is not for signing")
    if kind in _CURVES and key.get("crv") != _CURVES[kind]:
        raise Unproven("the login is signed on a curve that is not allowed")
    if kind == "RSA":
        modulus, exponent = _integer(key.get("n")), _integer(key.get("e"))
        if modulus.bit_length() not in _RSA_BITS or not 3 <= exponent < 2**32:
            raise Unproven("the key of the issuer is too small, or too large")


def _integer(encoded: object) -> int:
    """The number in base64url; 0 for what is none."""
    try:
        return int.from_bytes(b64url_decode(encoded)) if isinstance(encoded, str) else 0
    except ValueError:
        return 0


def _is_signed(token: str, key: Mapping[str, Any], algorithm: str) -> bool:
    # Only a login needs them: no other command waits for their import.
    from joserfc import jwk, jws
    from joserfc.errors import JoseError, SecurityWarning

    members = {name: key[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in key}
    with warnings.catch_warnings():
        # It warns of the name `EdDSA`, which could mean another curve; ours is checked.
        warnings.simplefilter("ignore", SecurityWarning)
        try:
            jws.deserialize_compact(token, jwk.import_key(members), algorithms=[algorithm])
        except (JoseError, ValueError, TypeError, LookupError):
            return False
    return True


def _check_addressed(content: Mapping[str, Any], required: LoginRequired) -> None:
    if content.get("iss") != required.issuer:
        raise Unproven("the login is of another issuer than the one required")
    client = required.client_id
    if content.get("aud") not in (client, [client]) or content.get("azp", client) != client:
        raise Unproven("the login is for another application")


def _check_times(content: Mapping[str, Any], moment: Moment) -> None:
    issued, expires = _seconds(content, "iat"), _seconds(content, "exp")
    if issued > moment.now + LEEWAY:
        raise Unproven("the login is of the future")
    if moment.knocks and (expires <= moment.now or issued < moment.now - FRESH):
        raise Unproven(f"the login is older than {FRESH // 60} minutes, or has expired: join again")


def _seconds(content: Mapping[str, Any], name: str) -> float:
    value = content.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**53:
        raise Unproven(f"the login has no `{name}`")
    return float(value)


def _who(content: Mapping[str, Any], pattern: str) -> str:
    """The address, if the issuer has verified it; else its own name for this person."""
    email, subject = content.get("email"), content.get("sub")
    verified = isinstance(email, str) and content.get("email_verified") is True
    if pattern and not verified:
        raise Unproven("the issuer has not verified an e-mail address")
    if pattern and not fits(str(email), pattern):
        raise Unproven(f"the e-mail address is not {pattern}")
    if verified and _EMAIL.fullmatch(str(email)) and len(str(email)) <= MAX_EMAIL:
        return str(email)
    if not isinstance(subject, str) or not 0 < len(subject) <= 255 or not subject.isprintable():
        raise Unproven("the login names nobody")
    return subject
