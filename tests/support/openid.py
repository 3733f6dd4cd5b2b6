"""An OpenID issuer with real keys, in memory: it signs whatever a test wants signed."""

from __future__ import annotations

import json
import warnings
from functools import cache
from typing import Any

from joserfc import jwk, jws

from agent.claims.login import commitment, read_keys
from identity.codec import b64url_encode
from messaging.protocols.lobby import LoginClaim, LoginRequired
from tests.support.sessions import NOW

ISSUER = "https://login.uni.example"
CLIENT = "didmesh-client"
LOBBY = "L" * 22
SALT = "S" * 22
REQUIRED = LoginRequired(ISSUER, CLIENT, "*@uni.example")


@cache
def key(algorithm: str, which: int = 0) -> Any:
    """A private key for this algorithm; another one for each number."""
    match algorithm:
        case "RS256" | "PS256":
            return jwk.RSAKey.generate_key(2048)
        case "RS256 of 1024 bits":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return jwk.RSAKey.generate_key(1024)
        case "ES256":
            return jwk.ECKey.generate_key("P-256")
        case "ES384":
            return jwk.ECKey.generate_key("P-384")
    return jwk.OKPKey.generate_key("Ed25519")


def public(private: Any, kid: str, **members: Any) -> dict[str, Any]:
    return {**private.as_dict(private=False), "kid": kid, **members}


def jwks(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def published() -> bytes:
    """The issuer's keys, one for each algorithm."""
    return jwks(*(public(key(name), name) for name in ("RS256", "PS256", "ES256", "EdDSA")))


def content(did: str, **changes: Any) -> dict[str, Any]:
    whole = {
        "iss": ISSUER,
        "aud": CLIENT,
        "sub": "user-4711",
        "iat": int(NOW) - 30,
        "exp": int(NOW) + 3600,
        "nonce": commitment(did, LOBBY, SALT),
        "email": "alice@uni.example",
        "email_verified": True,
    }
    return {name: value for name, value in {**whole, **changes}.items() if value is not ...}


def signed(
    payload: bytes | dict[str, Any],
    algorithm: str = "ES256",
    private: Any = None,
    kid: str = "",
    **header: Any,
) -> str:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    protected = {"alg": algorithm, "kid": kid or algorithm, **header}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return jws.serialize_compact(
            protected, data, private or key(algorithm), algorithms=[algorithm]
        )


def unsigned(payload: dict[str, Any], header: dict[str, Any], signature: str = "") -> str:
    parts = [b64url_encode(json.dumps(part).encode()) for part in (header, payload)]
    return ".".join([*parts, signature])


def login(did: str, **changes: Any) -> LoginClaim:
    return LoginClaim(ISSUER, SALT, signed(content(did, **changes)))


KEYS = {ISSUER: read_keys(published())}
