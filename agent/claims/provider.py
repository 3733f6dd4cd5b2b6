"""What an OpenID issuer says of itself, and the one exchange by which somebody logs in there.

Bytes in, bytes out: who fetches and listens is `issuers` and `logging_in`.

Sources: OpenID Connect Discovery 1.0, section 4; RFC 6749, section 4.1; RFC 7636; RFC 8252, section
7.3; RFC 9207.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from identity.codec import b64url_encode, parse_json

WELL_KNOWN = "/.well-known/openid-configuration"
_MAX_URL = 2048
_DEPTH = 8
# An issuer that is asked like this puts the address into the token, and not only elsewhere.
_CLAIMS = '{"id_token":{"email":{"essential":true},"email_verified":{"essential":true}}}'


class BadProvider(ValueError):
    """What it says of itself is not what an issuer says; one sentence."""


class LoginDenied(ValueError):
    """The issuer lets nobody in this time; why, in its words."""


class NotTheAnswer(ValueError):
    """This request is not the one that brings the login back."""


@dataclass(frozen=True)
class Provider:
    issuer: str
    authorization: str
    token: str
    keys: str
    takes_claims: bool  # whether it may be asked for single members of the token

    @classmethod
    def parse(cls, data: bytes, issuer: str) -> Provider:
        """Read what lies at the issuer's well-known address. Raises: BadProvider."""
        try:
            value = parse_json(data, depth=_DEPTH)
        except ValueError as error:
            raise BadProvider(f"{issuer} does not describe itself in JSON") from error
        if not isinstance(value, dict) or value.get("issuer") != issuer:
            raise BadProvider(f"what is at {issuer} says that it is another issuer")
        return cls(
            issuer,
            _endpoint(value, "authorization_endpoint"),
            _endpoint(value, "token_endpoint"),
            _endpoint(value, "jwks_uri"),
            value.get("claims_parameter_supported") is True,
        )


@dataclass(frozen=True)
class Attempt:
    """One login: what goes out, and what alone may come back."""

    provider: Provider
    client_id: str
    redirect: str
    nonce: str
    state: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    def url(self) -> str:
        """Where a person logs in."""
        challenge = b64url_encode(hashlib.sha256(self.verifier.encode()).digest())
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect,
            "scope": "openid email",
            "state": self.state,
            "nonce": self.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        if self.provider.takes_claims:
            query["claims"] = _CLAIMS
        start = self.provider.authorization
        return f"{start}{'&' if urlsplit(start).query else '?'}{urlencode(query)}"

    def code_in(self, target: str) -> str:
        """The code in the request that a browser was sent back with; `target` as in its line.

        Raises: NotTheAnswer; LoginDenied, if it says so.
        """
        values = _query(target)
        if not hmac.compare_digest(values.get("state", "").encode(), self.state.encode()):
            raise NotTheAnswer("another state than the one that went out")
        if values.get("iss", self.provider.issuer) != self.provider.issuer:
            raise NotTheAnswer("an answer of another issuer")
        if "error" in values:
            raise LoginDenied(values.get("error_description") or values["error"])
        if not values.get("code"):
            raise NotTheAnswer("an answer without a code")
        return values["code"]

    def token_request(self, code: str) -> bytes:
        """The form that the token is asked for with."""
        return urlencode(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": self.redirect,
                "client_id": self.client_id,
                "code_verifier": self.verifier,
            }
        ).encode()


def token_in(body: bytes, longest: int) -> str:
    """The ID token in an answer to that. Raises: BadProvider."""
    try:
        value = parse_json(body, depth=_DEPTH)
    except ValueError as error:
        raise BadProvider("the issuer's answer to the login is not JSON") from error
    token = value.get("id_token") if isinstance(value, dict) else None
    if not isinstance(token, str) or not token or len(token) > longest:
        raise BadProvider("the issuer gave no ID token, or one that is too long")
    return token


def is_secure(url: str) -> bool:
    """https; or http to this machine itself, where the guard lets us go there at all."""
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" or (
            parts.scheme == "http" and ipaddress.ip_address(parts.hostname or "").is_loopback
        )
    except ValueError:
        return False


def _endpoint(value: Mapping[str, Any], name: str) -> str:
    url = value.get(name)
    if not isinstance(url, str) or len(url) > _MAX_URL or not is_secure(url) or "#" in url:
        raise BadProvider(f"the issuer has no secure `{name}`")
    return url


def _query(target: str) -> dict[str, str]:
    """The members of a query that are there once. Raises: NotTheAnswer."""
    try:
        parts = urlsplit(target)
        values = parse_qs(parts.query, max_num_fields=16)
    except ValueError as error:
        raise NotTheAnswer("a query that nobody reads") from error
    if (parts.scheme, parts.netloc, parts.path) != ("", "", "/") or any(
        len(found) != 1 for found in values.values()
    ):
        raise NotTheAnswer("not the address that was asked for")
    return {name: found[0] for name, found in values.items()}
