"""`from_prior`: a party says, signed by its old DID, that it is known under a new one.

Source: DIDComm Messaging v2.1, "DID Rotation".
"""

from dataclasses import dataclass

import orjson

from identity.keys import PrivateKey
from messaging.encoding import load_object
from messaging.errors import MalformedMessage
from messaging.jws import read_compact, sign_compact


@dataclass(frozen=True)
class PriorDid:
    """`old` has become `new`."""

    old: str
    new: str
    issued_at: int | None  # UTC seconds


def sign_prior(old_kid: str, key: PrivateKey, new: str, issued_at: int) -> str:
    """The `from_prior` header; `key` is an authentication key of the old DID."""
    claims = {"iss": old_kid.partition("#")[0], "sub": new, "iat": issued_at}
    return sign_compact(orjson.dumps(claims), key, old_kid, typ="JWT")


def read_prior(token: str) -> tuple[PriorDid, str]:
    """What `token` claims and the kid it claims to be signed with; not verified.

    Raises: MalformedMessage, UnsupportedAlgorithm.
    """
    signature, payload = read_compact(token)
    claims = load_object(payload)
    old, new, issued_at = claims.get("iss"), claims.get("sub"), claims.get("iat")
    if type(old) is not str or type(new) is not str or type(issued_at) not in (int, type(None)):
        raise MalformedMessage("`from_prior` has an `iss` and a `sub`")
    return PriorDid(old, new, issued_at), signature.kid
