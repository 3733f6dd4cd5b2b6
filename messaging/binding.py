"""A proof of control: a DID says, signed, which account at which mediator may take its mail.

It goes with a `recipient-update` (or `keylist-update`) as an attachment, for a DID other
than the one that sends it. It names account, mediator and time, so it is of no use to any
other account, at any other mediator, or later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from identity.keys import PrivateKey
from messaging.encoding import b64decode, b64encode, load_object
from messaging.errors import MalformedMessage
from messaging.jws import read_compact, sign_compact
from messaging.message import Attachment, Message

FORMAT = "https://didmesh.org/binding-proof/1.0"
TYP = "didmesh-binding+jwt"  # so that no other signed statement can be taken for one


@dataclass(frozen=True)
class Binding:
    did: str
    account: str
    mediator: str
    issued_at: int  # UTC seconds


def sign_binding(kid: str, key: PrivateKey, *, account: str, mediator: str, issued_at: int) -> str:
    """The proof for the DID of `kid`; `key` is an authentication key of that DID."""
    did = kid.partition("#")[0]
    claims = {"iss": did, "sub": account, "aud": mediator, "iat": issued_at}
    return sign_compact(orjson.dumps(claims), key, kid, typ=TYP)


def read_binding(token: str) -> tuple[Binding, str]:
    """What `token` claims and the kid it claims to be signed with; not verified.

    Raises: MalformedMessage, UnsupportedAlgorithm.
    """
    signature, payload = read_compact(token)
    if load_object(b64decode(token.partition(".")[0])).get("typ") != TYP:
        raise MalformedMessage(f"a proof of control has the typ {TYP}")
    claims = load_object(payload)
    did, account, mediator = claims.get("iss"), claims.get("sub"), claims.get("aud")
    issued_at = claims.get("iat")
    if type(did) is not str or type(account) is not str or type(mediator) is not str:
        raise MalformedMessage("a proof of control has `iss`, `sub` and `aud`")
    if type(issued_at) is not int:
        raise MalformedMessage("a proof of control has an `iat`")
    return Binding(did, account, mediator, issued_at), signature.kid


def attached(token: str) -> Attachment:
    return Attachment(
        media_type="application/jwt", format=FORMAT, base64=b64encode(token.encode()).decode()
    )


def proofs_of(message: Message) -> Iterator[str]:
    """The proofs that a message carries. Raises: MalformedMessage."""
    for attachment in message.attachments:
        if attachment.format == FORMAT:
            try:
                yield attachment.content().decode("ascii")
            except UnicodeDecodeError as error:
                raise MalformedMessage("a proof of control is a compact JWS") from error
