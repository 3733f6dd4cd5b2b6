"""How the roster of a session comes together: our own protocol, `https://didmesh.org/lobby/1.0/`.

Every message goes from a guest to the host or back, authcrypted, and says all that it has to say by
itself, so that it can come late, twice or out of order. `docs/protocols/lobby.md` tells the story.

    knock    guest   may I come in? here is the token of the link, and my nonce for the session
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

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from identity.codec import b64url_decode, b64url_encode
from messaging.errors import MalformedMessage
from messaging.message import Attachment, Message
from messaging.protocols.body import number, objects, text, texts

PROTOCOL: Final = "https://didmesh.org/lobby/1.0"
MAX_REASON = 300  # characters
MAX_NAME = 40  # characters of what a guest calls itself
MAX_SEATS = 64
MAX_DID = 4096
MAX_STATEMENT = 1100  # bytes of an echo
MAX_LINK = 16 * 1024  # characters
PIECE = 128 * 1024  # bytes of a program in one message: fits an envelope in an envelope
MAX_PIECES = 64
_HASH = re.compile(r"[0-9a-f]{64}")
_RANDOM = {16: 22, 32: 43}  # bytes -> characters of base64url


@dataclass(frozen=True)
class Knock:
    """Again with the same nonce: tell me where we are. With a newer one: I have lost everything."""

    TYPE = f"{PROTOCOL}/knock"

    lobby: str
    token: str = field(repr=False)
    nonce: str
    created: int  # Unix milliseconds, of the nonce
    name: str = ""
    role: str = ""

    def to_body(self) -> dict[str, Any]:
        return {
            "lobby": self.lobby,
            "token": self.token,
            "nonce": self.nonce,
            "created": self.created,
            "name": self.name,
            "role": self.role,
        }

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Knock:
        return cls(
            _random(body, "lobby", 16),
            _random(body, "token", 16),
            _random(body, "nonce", 32),
            _milliseconds(body),
            _line(body, "name", MAX_NAME),
            _line(body, "role", MAX_NAME),
        )


@dataclass(frozen=True)
class Seat:
    """One party in a roster; `stage` is where it is: admitted or ready."""

    did: str
    role: str
    name: str  # what it calls itself
    stage: str

    def to_json(self) -> dict[str, Any]:
        return {"did": self.did, "role": self.role, "name": self.name, "stage": self.stage}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Seat:
        return cls(
            _bounded(value, "did", MAX_DID),
            _line(value, "role", MAX_NAME),
            _line(value, "name", MAX_NAME),
            _line(value, "stage", MAX_NAME),
        )


@dataclass(frozen=True)
class Offered:
    """The program that will run: its label, and what it really is."""

    name: str
    sha256: str
    pieces: int  # of its archive

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "sha256": self.sha256, "pieces": self.pieces}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Offered:
        pieces = number(value, "pieces")
        if not 0 < pieces <= MAX_PIECES:
            raise MalformedMessage(f"a program has 1 to {MAX_PIECES} pieces")
        return cls(_line(value, "name", MAX_NAME * 2), _hash(value, "sha256"), pieces)


@dataclass(frozen=True)
class Roster:
    TYPE = f"{PROTOCOL}/roster"

    lobby: str
    seq: int
    title: str
    program: Offered
    seats: int
    locked: bool
    expires: int  # UTC seconds
    entries: tuple[Seat, ...]

    def to_body(self) -> dict[str, Any]:
        return {
            "lobby": self.lobby,
            "seq": self.seq,
            "title": self.title,
            "program": self.program.to_json(),
            "seats": self.seats,
            "locked": self.locked,
            "expires": self.expires,
            "entries": [entry.to_json() for entry in self.entries],
        }

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Roster:
        program = body.get("program")
        if not isinstance(program, dict):
            raise MalformedMessage("`program` is not an object")
        seats = number(body, "seats")
        if not 2 <= seats <= MAX_SEATS:
            raise MalformedMessage(f"a lobby has 2 to {MAX_SEATS} seats")
        entries = tuple(map(Seat.from_json, objects(body, "entries", MAX_SEATS)))
        if len({entry.did for entry in entries}) != len(entries):
            raise MalformedMessage("a party has two seats")
        return cls(
            _random(body, "lobby", 16),
            number(body, "seq"),
            _line(body, "title", 200),
            Offered.from_json(program),
            seats,
            body.get("locked") is True,
            number(body, "expires"),
            entries,
        )


@dataclass(frozen=True)
class Want:
    TYPE = f"{PROTOCOL}/want"

    lobby: str
    sha256: str
    pieces: tuple[int, ...]

    def to_body(self) -> dict[str, Any]:
        return {"lobby": self.lobby, "sha256": self.sha256, "pieces": list(self.pieces)}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Want:
        pieces = body.get("pieces")
        if not isinstance(pieces, list) or len(pieces) > MAX_PIECES:
            raise MalformedMessage("`pieces` is not a short list")
        if not all(type(piece) is int and 0 <= piece < MAX_PIECES for piece in pieces):
            raise MalformedMessage("`pieces` are not numbers of pieces")
        return cls(_random(body, "lobby", 16), _hash(body, "sha256"), tuple(dict.fromkeys(pieces)))


@dataclass(frozen=True)
class Piece:
    """Its bytes travel as the message's one attachment."""

    TYPE = f"{PROTOCOL}/piece"

    lobby: str
    sha256: str
    index: int
    data: bytes = field(repr=False)

    def to_body(self) -> dict[str, Any]:
        return {"lobby": self.lobby, "sha256": self.sha256, "index": self.index}

    def attachments(self) -> tuple[Attachment, ...]:
        return (Attachment(id="piece", base64=b64url_encode(self.data)),)

    @classmethod
    def from_message(cls, message: Message) -> Piece:
        body = message.body
        index = number(body, "index")
        if index >= MAX_PIECES or len(message.attachments) != 1:
            raise MalformedMessage("a piece has a number and one attachment")
        data = message.attachments[0].content()
        if not 0 < len(data) <= PIECE:
            raise MalformedMessage(f"a piece has 1 to {PIECE} bytes")
        return cls(_random(body, "lobby", 16), _hash(body, "sha256"), index, data)


@dataclass(frozen=True)
class Ready:
    TYPE = f"{PROTOCOL}/ready"

    lobby: str
    sha256: str  # of the program that its owner has agreed to run

    def to_body(self) -> dict[str, Any]:
        return {"lobby": self.lobby, "sha256": self.sha256}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Ready:
        return cls(_random(body, "lobby", 16), _hash(body, "sha256"))


@dataclass(frozen=True)
class Settle:
    TYPE = f"{PROTOCOL}/settle"

    lobby: str
    seq: int
    draft: Mapping[str, Any]
    nonces: tuple[str, ...]  # by rank
    created: int  # Unix milliseconds, of all proposals

    def to_body(self) -> dict[str, Any]:
        return {
            "lobby": self.lobby,
            "seq": self.seq,
            "draft": dict(self.draft),
            "nonces": list(self.nonces),
            "created": self.created,
        }

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Settle:
        draft, nonces, created = body.get("draft"), texts(body, "nonces"), _milliseconds(body)
        if not isinstance(draft, dict) or not isinstance(draft.get("parties"), list):
            raise MalformedMessage("`draft` is not a draft")
        if not all(_is_random(nonce, 32) for nonce in nonces) or len(nonces) > MAX_SEATS:
            raise MalformedMessage("`nonces` are not nonces")
        return cls(_random(body, "lobby", 16), number(body, "seq"), draft, nonces, created)


@dataclass(frozen=True)
class Echo:
    TYPE = f"{PROTOCOL}/echo"

    lobby: str
    seq: int
    statement: str  # compact JWS

    def to_body(self) -> dict[str, Any]:
        return {"lobby": self.lobby, "seq": self.seq, "statement": self.statement}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Echo:
        statement = _bounded(body, "statement", MAX_STATEMENT)
        return cls(_random(body, "lobby", 16), number(body, "seq"), statement)


@dataclass(frozen=True)
class Begin:
    TYPE = f"{PROTOCOL}/begin"

    lobby: str
    seq: int
    statements: tuple[str, ...]  # everybody's echo, by rank

    def to_body(self) -> dict[str, Any]:
        return {"lobby": self.lobby, "seq": self.seq, "statements": list(self.statements)}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Begin:
        statements = texts(body, "statements")
        if len(statements) > MAX_SEATS or any(len(s) > MAX_STATEMENT for s in statements):
            raise MalformedMessage("`statements` are not a lobby's echoes")
        return cls(_random(body, "lobby", 16), number(body, "seq"), statements)


@dataclass(frozen=True)
class _WithReason:
    lobby: str
    reason: str

    def to_body(self) -> dict[str, Any]:
        return {"lobby": self.lobby, "reason": self.reason[:MAX_REASON]}


class Refuse(_WithReason):
    TYPE = f"{PROTOCOL}/refuse"

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Refuse:
        return cls(_random(body, "lobby", 16), _bounded(body, "reason", MAX_REASON))


class Close(_WithReason):
    TYPE = f"{PROTOCOL}/close"

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Close:
        return cls(_random(body, "lobby", 16), _bounded(body, "reason", MAX_REASON))


class Leave(_WithReason):
    TYPE = f"{PROTOCOL}/leave"

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Leave:
        return cls(_random(body, "lobby", 16), _bounded(body, "reason", MAX_REASON))


@dataclass(frozen=True)
class Call:
    TYPE = f"{PROTOCOL}/call"

    link: str = field(repr=False)

    def to_body(self) -> dict[str, Any]:
        return {"link": self.link}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Call:
        return cls(_bounded(body, "link", MAX_LINK))


@dataclass(frozen=True)
class Speak:
    """Goes to the DID that the code's first word gives; from the DID that will knock."""

    TYPE = f"{PROTOCOL}/speak"

    element: bytes

    def to_body(self) -> dict[str, Any]:
        return {"element": b64url_encode(self.element)}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Speak:
        return cls(_bytes(body, "element"))


@dataclass(frozen=True)
class Answer:
    TYPE = f"{PROTOCOL}/answer"

    element: bytes

    def to_body(self) -> dict[str, Any]:
        return {"element": b64url_encode(self.element)}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Answer:
        return cls(_bytes(body, "element"))


@dataclass(frozen=True)
class Prove:
    TYPE = f"{PROTOCOL}/prove"

    proof: bytes = field(repr=False)

    def to_body(self) -> dict[str, Any]:
        return {"proof": b64url_encode(self.proof)}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Prove:
        return cls(_bytes(body, "proof"))


@dataclass(frozen=True)
class GiveLink:
    TYPE = f"{PROTOCOL}/link"

    proof: bytes = field(repr=False)
    link: str = field(repr=False)

    def to_body(self) -> dict[str, Any]:
        return {"proof": b64url_encode(self.proof), "link": self.link}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> GiveLink:
        return cls(_bytes(body, "proof"), _bounded(body, "link", MAX_LINK))


FromGuest = Knock | Want | Ready | Echo | Leave
FromHost = Roster | Piece | Settle | Begin | Refuse | Close
CodeMessage = Speak | Answer | Prove | GiveLink
LobbyMessage = FromGuest | FromHost | CodeMessage | Call

_BY_TYPE: Final[Mapping[str, Any]] = {
    kind.TYPE: kind
    for kind in (
        *(Knock, Want, Ready, Echo, Leave, Roster, Settle, Begin, Refuse, Close),
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


def _bounded(body: Mapping[str, Any], name: str, longest: int) -> str:
    value = text(body, name)
    if len(value) > longest:
        raise MalformedMessage(f"`{name}` is longer than {longest} characters")
    return value


def _line(body: Mapping[str, Any], name: str, longest: int) -> str:
    """One printable line, perhaps an empty one."""
    value = body.get(name, "")
    if type(value) is not str or len(value) > longest or not value.isprintable():
        raise MalformedMessage(f"`{name}` is not a line of at most {longest} characters")
    return value


def _is_random(value: str, size: int) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_-]+", value) is not None and len(value) == _RANDOM[size]


def _random(body: Mapping[str, Any], name: str, size: int) -> str:
    value = _bounded(body, name, 64)
    if not _is_random(value, size):
        raise MalformedMessage(f"`{name}` is not {size} bytes in base64url")
    return value


def _hash(body: Mapping[str, Any], name: str) -> str:
    value = _bounded(body, name, 64)
    if not _HASH.fullmatch(value):
        raise MalformedMessage(f"`{name}` is not a SHA-256 in hex")
    return value


def _milliseconds(body: Mapping[str, Any]) -> int:
    created = number(body, "created")
    if not 0 < created < 2**53:
        raise MalformedMessage("`created` is not a time in milliseconds")
    return created


def _bytes(body: Mapping[str, Any], name: str) -> bytes:
    try:
        value = b64url_decode(_bounded(body, name, 43))
    except ValueError as error:
        raise MalformedMessage(f"`{name}` is not base64url") from error
    if len(value) != 32:
        raise MalformedMessage(f"`{name}` is not 32 bytes")
    return value
