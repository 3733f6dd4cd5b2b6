"""The link of a lobby: an out-of-band invitation, what proves it, and a right to knock.

    https://mediator.example/i/?_oob=<invitation>#<hash of the invitation>.<token>

The part behind "#" never reaches a server. So neither the mediator whose page the link opens nor
whoever shortens it can swap the invitation for another one, and only who has the whole link can
knock. A person still has to be let in.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from agent.errors import AgentError, Exit, UsageMistake
from identity.codec import b64url_decode, b64url_encode
from identity.did import parse_did
from identity.errors import InvalidDid
from messaging.errors import MalformedMessage
from messaging.message import Message
from messaging.protocols.lobby import MAX_LINK
from messaging.protocols.out_of_band import JOIN_LOBBY, Invitation

_HASH_BYTES = 16  # of SHA-256: enough against a second invitation with the same hash
_TOKEN_BYTES = 16
_DAMAGED = "copy it again, with everything behind the #"


class LinkExpired(AgentError):
    exit_code = Exit.REFUSED

    def __init__(self) -> None:
        super().__init__("this link has expired", "ask its host for a new one")


class LinkSwapped(AgentError):
    """Somebody on the way put another invitation into it, or a letter was lost."""

    exit_code = Exit.IDENTITY

    def __init__(self) -> None:
        super().__init__("the invitation in this link is not the one its host made", _DAMAGED)


@dataclass(frozen=True)
class LobbyLink:
    lobby: str  # 16 random bytes
    host: str  # a DID
    goal: str  # what the host says this is, for a person
    expires: int  # UTC seconds
    token: str = field(repr=False)

    @classmethod
    def new(cls, host: str, goal: str, expires: int) -> LobbyLink:
        return cls(new_token(), host, goal, expires, new_token())

    def to_url(self, mediator: str) -> str:
        """`mediator` is the address of its HTTP endpoint."""
        invitation = Invitation(self.host, JOIN_LOBBY, self.goal, id=self.lobby)
        data = invitation.to_message(expires_time=self.expires).serialize()
        base = mediator.rstrip("/")
        return f"{base}/i/?_oob={b64url_encode(data)}#{_hash(data)}.{self.token}"


def parse_link(text: str, now: float) -> LobbyLink:
    """What a person was given. Raises: UsageMistake, LinkSwapped, LinkExpired."""
    fragment, values = _split(text)
    shown, _, token = fragment.partition(".")
    try:
        data = b64url_decode("".join(values))
        if len(b64url_decode(token)) != _TOKEN_BYTES:
            raise UsageMistake("this link lacks its end", _DAMAGED)
        if not hmac.compare_digest(shown.encode(), _hash(data).encode()):
            raise LinkSwapped
        message = Message.parse(data)
        invitation = Invitation.from_message(message)
        parse_did(invitation.frm)
        if len(b64url_decode(invitation.id)) != _TOKEN_BYTES:
            raise UsageMistake("this link names no lobby")
    except (MalformedMessage, InvalidDid, ValueError) as error:
        raise UsageMistake("this is not the link of a lobby", _DAMAGED) from error
    if invitation.goal_code != JOIN_LOBBY or message.expires_time is None:
        raise UsageMistake("this link invites to something else than a lobby")
    if now >= message.expires_time:
        raise LinkExpired
    goal = (invitation.goal or "")[:200]
    return LobbyLink(invitation.id, invitation.frm, goal, message.expires_time, token)


def mediator_of(text: str) -> str:
    """The address of the mediator that the link leads to: its host's. For who has none yet."""
    return text.strip().partition("/i/?")[0]


def new_token() -> str:
    return secrets.token_urlsafe(_TOKEN_BYTES)


def _split(text: str) -> tuple[str, list[str]]:
    try:
        parts = urlsplit(text.strip())
        values = parse_qs(parts.query, max_num_fields=8).get("_oob", [])
    except ValueError as error:
        raise UsageMistake("this is not the link of a lobby", _DAMAGED) from error
    if len(text) > MAX_LINK or parts.scheme not in ("http", "https") or len(values) != 1:
        raise UsageMistake("this is not the link of a lobby", _DAMAGED)
    if not parts.fragment:
        raise UsageMistake("this link lacks its end", _DAMAGED)
    return parts.fragment, values


def _hash(data: bytes) -> str:
    return b64url_encode(hashlib.sha256(data).digest()[:_HASH_BYTES])
