"""What a party says for the record, signed: agree, ready, result, abort.

A statement is a compact JWS over a small canonical JSON object. It names the session by the hash
of its descriptor and the party by its rank there, so it is short enough to ride in one datagram
and still tied to one DID: the descriptor is what gives a rank its DID. Statements are the same
whichever way they travel, and they are all a transcript needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import rfc8785

from identity.codec import b64url_decode, parse_json
from identity.document import DidDocument
from identity.errors import IdentityError
from identity.keys import PrivateKey, PublicKey
from messaging.errors import MessagingError
from messaging.jws import sign_compact, verify_compact

MAX_STATEMENT = 1100  # bytes; an honest one has about 450, and one fits a datagram of the mesh
MAX_WORDS = 300  # bytes of a reason as it is signed, escapes included
_TYPE = "didmesh-statement+jws"
_DEPTH = 3
_TIMES = range(2**53)  # whole numbers that canonical JSON has


class Kind(StrEnum):
    AGREE = "agree"  # I take part in exactly this session
    READY = "ready"  # my tunnels and the program's ports work, to and from everybody
    RESULT = "result"  # my program ended so, with a result that has this hash
    ABORT = "abort"  # I stop, for this reason


class FalseStatement(ValueError):
    """These bytes are not a statement of the party they are said to come from."""


@dataclass(frozen=True)
class Statement:
    """A verified statement; `text` is the JWS that anyone can verify again."""

    kind: Kind
    session: str
    rank: int
    time: int  # Unix seconds, by the speaker's clock
    facts: Mapping[str, Any]
    epoch: int
    text: str = field(repr=False)


@dataclass(frozen=True)
class Speaker:
    """A party that can sign: its authentication key and that key's absolute id."""

    kid: str
    key: PrivateKey = field(repr=False)

    def say(
        self,
        kind: Kind,
        session: str,
        rank: int,
        now: int,
        facts: Mapping[str, Any],
        epoch: int = 0,
    ) -> Statement:
        content: dict[str, Any] = {
            "kind": str(kind),
            "session": session,
            "epoch": epoch,
            "rank": rank,
            "time": now,
            "facts": dict(facts),
        }
        fragment = "#" + self.kid.partition("#")[2]
        text = sign_compact(rfc8785.dumps(content), self.key, fragment, typ=_TYPE)
        return Statement(kind, session, rank, now, dict(facts), epoch, text)


def verify(text: str, documents: Mapping[int, DidDocument]) -> Statement:
    """Read a statement and check its signature against its speaker's document, by rank.

    Raises: FalseStatement, for any other input whatsoever.
    """
    if len(text) > MAX_STATEMENT:
        raise FalseStatement("longer than a statement can be")
    try:
        content = _peek(text)
        rank = content["rank"]
        document = documents[rank]
        payload, _ = verify_compact(text, lambda kid: _authentication_key(document, kid))
        return _read(parse_json(payload, depth=_DEPTH), text)
    except (LookupError, TypeError, ValueError, MessagingError, IdentityError) as error:
        if isinstance(error, FalseStatement):
            raise
        raise FalseStatement(f"not a valid statement: {type(error).__name__}") from error


def clip(reason: str) -> str:
    """As much of a reason, perhaps another party's, as fits a statement; one printable line."""
    words = "".join(c if c.isprintable() else " " for c in reason[:MAX_WORDS])
    while len(rfc8785.dumps(words)) > MAX_WORDS + len('""'):
        words = words[:-1]
    return words


def _peek(text: str) -> Mapping[str, Any]:
    content = parse_json(b64url_decode(text.split(".")[1]), depth=_DEPTH)
    if not isinstance(content, dict) or type(content.get("rank")) is not int:
        raise FalseStatement("says nothing")
    return content


def _read(content: Any, text: str) -> Statement:
    facts = content["facts"]
    if not (
        isinstance(content["session"], str)
        and type(content["time"]) is int
        and content["time"] in _TIMES
        and isinstance(facts, dict)
        and type(content["epoch"]) is int
    ):
        raise FalseStatement("fields of the wrong type")
    return Statement(
        Kind(content["kind"]),
        content["session"],
        content["rank"],
        content["time"],
        facts,
        content["epoch"],
        text,
    )


def _authentication_key(document: DidDocument, kid: str) -> PublicKey:
    method = document.method(kid)
    if method.id not in document.authentication or method.key is None:
        raise FalseStatement("signed with a key that is not for authentication")
    return method.key
