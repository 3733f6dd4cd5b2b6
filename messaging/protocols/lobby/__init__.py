"""How the roster of a session comes together: our own protocol, `https://didmesh.org/lobby/1.0/`.

Every message goes from a guest to the host or back, authcrypted, and says all that it has to say by
itself, so that it can come late, twice or out of order. `docs/protocols/lobby.md` tells the story.

    knock    guest   may I come in? here is the token of the link, and my nonce for the session
    require  host    before that: show these claims, and knock again
    roster   host    you are in; who else is, what will run, how far everybody is
    want     guest   send me these pieces of the program
    piece    host    one piece of the program's archive
    ready    guest   I have the program, agree to run it, and have my inputs
    settle   host    this is the final roster, with everybody's nonce: the session's descriptor
    echo     guest   the same, signed
    begin    host    everybody's echo: the session starts
    refuse   host    you are not let in, or not any more
    close    host    the lobby is over for everybody
    leave    guest   I am gone

    call     host    to somebody known: come to this lobby

    speak, answer, prove, link          the link for whoever knows the spoken code (SPAKE2)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from messaging.message import Message
from messaging.protocols.lobby.claims import (
    MAX_CLAIM,
    MAX_CLAIMS,
    MAX_EMAIL,
    MAX_ISSUERS,
    MAX_LOGIN,
    Claim,
    LoginClaim,
    LoginRequired,
    Requirement,
    VouchClaim,
    VouchRequired,
    claims_of,
    requires_of,
    to_jsons,
)
from messaging.protocols.lobby.code import Answer, CodeMessage, GiveLink, Prove, Speak
from messaging.protocols.lobby.guest import Echo, FromGuest, Knock, Leave, Ready, Want
from messaging.protocols.lobby.host import (
    Begin,
    Call,
    Close,
    FromHost,
    Offered,
    Piece,
    Refuse,
    Require,
    Roster,
    Seat,
    Settle,
)
from messaging.protocols.lobby.limits import MAX_LINK, MAX_NAME, MAX_PIECES, PIECE, PROTOCOL

__all__ = [
    "MAX_CLAIM",
    "MAX_CLAIMS",
    "MAX_EMAIL",
    "MAX_ISSUERS",
    "MAX_LINK",
    "MAX_LOGIN",
    "MAX_NAME",
    "MAX_PIECES",
    "PIECE",
    "PROTOCOL",
    "Answer",
    "Begin",
    "Call",
    "Claim",
    "Close",
    "CodeMessage",
    "Echo",
    "FromGuest",
    "FromHost",
    "GiveLink",
    "Knock",
    "Leave",
    "LobbyMessage",
    "LoginClaim",
    "LoginRequired",
    "Offered",
    "Piece",
    "Prove",
    "Ready",
    "Refuse",
    "Require",
    "Requirement",
    "Roster",
    "Seat",
    "Settle",
    "Speak",
    "VouchClaim",
    "VouchRequired",
    "Want",
    "claims_of",
    "from_message",
    "pieces_of",
    "pieces_wanted",
    "requires_of",
    "to_jsons",
    "to_message",
]

LobbyMessage = FromGuest | FromHost | CodeMessage | Call

_BY_TYPE: Final[Mapping[str, Any]] = {
    kind.TYPE: kind
    for kind in (
        *(Knock, Want, Ready, Echo, Leave),
        *(Require, Roster, Settle, Begin, Refuse, Close),
        *(Call, Speak, Answer, Prove, GiveLink),
    )
}


def to_message(content: LobbyMessage, *, frm: str, to: str, expires_time: int) -> Message:
    attached = content.attachments() if isinstance(content, Piece) else ()
    return Message(
        type=content.TYPE,
        body=content.to_body(),
        frm=frm,
        to=(to,),
        expires_time=expires_time,
        attachments=attached,
    )


def from_message(message: Message) -> LobbyMessage | None:
    """The lobby message in here, or None if it belongs to another protocol.

    Raises: MalformedMessage.
    """
    if message.type == Piece.TYPE:
        return Piece.from_message(message)
    kind = _BY_TYPE.get(message.type)
    return None if kind is None else kind.from_body(message.body)


def pieces_of(archive: bytes) -> Sequence[bytes]:
    return [archive[start : start + PIECE] for start in range(0, len(archive), PIECE)]


def pieces_wanted(want: Want, sha256: str, pieces: Sequence[bytes]) -> list[Piece]:
    """Those of this program's pieces that are wanted and that there are."""
    indexes = want.pieces if want.sha256 == sha256 else ()
    there = [index for index in indexes if index < len(pieces)]
    return [Piece(want.lobby, sha256, index, pieces[index]) for index in there]
