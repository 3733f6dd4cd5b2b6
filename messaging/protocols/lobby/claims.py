"""What a lobby may require of everybody in it, and what parties show for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from messaging.errors import MalformedMessage
from messaging.protocols.body import objects, texts
from messaging.protocols.lobby.limits import MAX_DID, MAX_SEATS, bounded, line, random_text

MAX_CLAIMS = 8  # of a party
MAX_CLAIM = 10 * 1024  # characters of a token
MAX_LOGIN = 8 * 1024  # characters of a login's token
MAX_ADDRESS = 512  # characters of an issuer's
MAX_EMAIL = 254
MAX_ISSUERS = 16  # whose word counts, in one requirement


@dataclass(frozen=True)
class VouchClaim:
    """Somebody's signed word for a DID."""

    KIND = "vouch"

    token: str = field(repr=False)  # a credential, as a compact JWS

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.KIND, "token": self.token}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> VouchClaim:
        return cls(bounded(value, "token", MAX_CLAIM))


@dataclass(frozen=True)
class VouchRequired:
    """One of these has to vouch for everybody who is none of them."""

    KIND = "vouch"

    issuers: tuple[str, ...]  # DIDs

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.KIND, "issuers": list(self.issuers)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> VouchRequired:
        issuers = texts(value, "issuers")
        if not 0 < len(issuers) <= MAX_ISSUERS or any(len(did) > MAX_DID for did in issuers):
            raise MalformedMessage(f"`issuers` are 1 to {MAX_ISSUERS} DIDs")
        return cls(issuers)


@dataclass(frozen=True)
class LoginClaim:
    """An OpenID Connect issuer's signed word for who has logged in."""

    KIND = "login"

    issuer: str
    salt: str  # of the commitment in the token's nonce
    token: str = field(repr=False)  # an ID token

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.KIND, "issuer": self.issuer, "salt": self.salt, "token": self.token}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LoginClaim:
        return cls(
            _address(value, "issuer"),
            random_text(value, "salt", 16),
            bounded(value, "token", MAX_LOGIN),
        )


@dataclass(frozen=True)
class LoginRequired:
    """Everybody logs in there, as a user of this client, perhaps with such an e-mail address."""

    KIND = "login"

    issuer: str
    client_id: str
    email: str = ""  # an address, or `*@` and a domain; empty: whoever logs in

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.KIND,
            "issuer": self.issuer,
            "client_id": self.client_id,
            "email": self.email,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LoginRequired:
        client_id = line(value, "client_id", MAX_ADDRESS)
        if not client_id:
            raise MalformedMessage("`client_id` is empty")
        return cls(_address(value, "issuer"), client_id, line(value, "email", MAX_EMAIL))


Claim = VouchClaim | LoginClaim
Requirement = VouchRequired | LoginRequired

_CLAIMS: Final[Mapping[str, type[Claim]]] = {kind.KIND: kind for kind in (VouchClaim, LoginClaim)}
_REQUIREMENTS: Final[Mapping[str, type[Requirement]]] = {
    kind.KIND: kind for kind in (VouchRequired, LoginRequired)
}


def claims_of(body: Mapping[str, Any]) -> tuple[Claim, ...]:
    """A party's claims. Raises: MalformedMessage."""
    found = objects(body, "claims", MAX_CLAIMS)
    if not all(_kind(one) in _CLAIMS for one in found):
        raise MalformedMessage("`claims` has a kind that nobody knows")
    return tuple(_CLAIMS[_kind(one)].from_json(one) for one in found)


def claims_by_rank(body: Mapping[str, Any]) -> tuple[tuple[Claim, ...], ...]:
    """Every party's claims. Raises: MalformedMessage."""
    lists = body.get("claims", [])
    if type(lists) is not list or len(lists) > MAX_SEATS:
        raise MalformedMessage(f"`claims` is not a list of at most {MAX_SEATS} lists")
    return tuple(claims_of({"claims": claims}) for claims in lists)


def requires_of(body: Mapping[str, Any]) -> tuple[Requirement, ...]:
    """What is required of everybody: each kind once. Raises: MalformedMessage."""
    found = objects(body, "requires", len(_REQUIREMENTS))
    if not all(_kind(one) in _REQUIREMENTS for one in found):
        raise MalformedMessage("`requires` has a kind that nobody knows")
    if len({_kind(one) for one in found}) != len(found):
        raise MalformedMessage("`requires` has a kind twice")
    return tuple(_REQUIREMENTS[_kind(one)].from_json(one) for one in found)


def to_jsons(values: Sequence[Claim | Requirement]) -> list[dict[str, Any]]:
    return [value.to_json() for value in values]


def _address(value: Mapping[str, Any], name: str) -> str:
    found = line(value, name, MAX_ADDRESS)
    if not found.startswith(("https://", "http://")):
        raise MalformedMessage(f"`{name}` is not the address of a web server")
    return found


def _kind(value: Mapping[str, Any]) -> str:
    return bounded(value, "kind", 40)
