"""What a party of a lobby signs: I have seen this roster, and no other, and take part.

An echo names the descriptor that follows from the roster, as the session will, and the hash of all
claims with what was required; but it is no statement of the session: a signature for the lobby
starts nothing by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import rfc8785

from agent.lobby.events import Gathered
from agent.session.statements import Speaker
from identity.codec import parse_json
from identity.document import DidDocument
from identity.errors import IdentityError
from identity.keys import PublicKey
from messaging.errors import MessagingError
from messaging.jws import sign_compact, verify_compact

_TYPE = "didmesh-lobby+jws"


def sign(lobby: str, gathered: Gathered, me: str, speaker: Speaker) -> str:
    content = _content(lobby, gathered, me)
    return sign_compact(content, speaker.key, "#" + speaker.kid.partition("#")[2], typ=_TYPE)


def is_echo(
    text: str, lobby: str, gathered: Gathered, party: str, documents: Mapping[str, DidDocument]
) -> bool:
    """Whether `party` signed exactly this for this lobby."""
    document = documents.get(party)
    if document is None:
        return False
    try:
        payload, _ = verify_compact(text, lambda kid: _key(document, kid))
        parse_json(payload, depth=2)
    except (MessagingError, IdentityError, ValueError, LookupError, TypeError):
        return False
    return payload == _content(lobby, gathered, party)


def all_echo(
    texts: Sequence[str],
    lobby: str,
    gathered: Gathered,
    documents: Mapping[str, DidDocument],
) -> bool:
    parties = gathered.draft.parties
    return len(texts) == len(parties) and all(
        is_echo(text, lobby, gathered, party, documents)
        for text, party in zip(texts, parties, strict=True)
    )


def _content(lobby: str, gathered: Gathered, party: str) -> bytes:
    descriptor = gathered.descriptor
    return rfc8785.dumps(
        {
            "lobby": lobby,
            "session": descriptor.id,
            "claims": gathered.claims_sha256,
            "rank": descriptor.rank(party),
        }
    )


def _key(document: DidDocument, kid: str) -> PublicKey:
    method = document.method(kid)
    if method.id not in document.authentication or method.key is None:
        raise ValueError("signed with a key that is not for authentication")
    return method.key
