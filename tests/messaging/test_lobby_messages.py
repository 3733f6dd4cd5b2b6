"""Lobby messages: what is written is read, and whatever else comes is refused in one way."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging.errors import MalformedMessage
from messaging.message import Attachment, Message
from messaging.protocols import lobby
from messaging.protocols.lobby import from_message, to_message

ID, NONCE, HASH = "L" * 22, "N" * 43, "ab" * 32
PROGRAM = lobby.Offered("auction", HASH, 2)
LOGIN = lobby.LoginClaim("https://login.example", "S" * 22, "a.b.c")
AT_LOGIN = lobby.LoginRequired("https://login.example", "didmesh", "*@uni.example")
CLAIMS = (lobby.VouchClaim("a.b.c"), LOGIN)
REQUIRES = (lobby.VouchRequired(("did:example:v", "did:example:w")), AT_LOGIN)
SEATS = (lobby.Seat("did:example:a", "party", "Al", "ready", CLAIMS),)
EVERY = [
    lobby.Knock(ID, "T" * 22, NONCE, 1_900_000_000_000, "Bob", "voter", CLAIMS),
    lobby.Want(ID, HASH, (0, 3)),
    lobby.Ready(ID, HASH),
    lobby.Echo(ID, 7, "a.b.c"),
    lobby.Leave(ID, "gone"),
    lobby.Roster(ID, 3, "an auction", PROGRAM, 3, True, 2_000_000_000, SEATS, REQUIRES),
    lobby.Require(ID, REQUIRES),
    lobby.Piece(ID, HASH, 1, b"\x00\xff" * 100),
    lobby.Settle(ID, 4, {"parties": ["did:example:a"]}, (NONCE,), 1_900_000_000_000, (CLAIMS,)),
    lobby.Begin(ID, 4, ("a.b.c", "d.e.f")),
    lobby.Refuse(ID, "no"),
    lobby.Close(ID, "over"),
    lobby.Call("https://m.example/i/?_oob=A#b.c"),
    lobby.Speak(b"e" * 32),
    lobby.Answer(b"e" * 32),
    lobby.Prove(b"p" * 32),
    lobby.GiveLink(b"p" * 32, "https://m.example/i/?_oob=A#b.c"),
]
SECRETS = ("T" * 22, "?_oob=")


@pytest.mark.parametrize("content", EVERY, ids=lambda content: type(content).__name__)
def test_what_is_written_is_read(content: Any) -> None:
    message = to_message(content, frm="did:example:a", to="did:example:b", expires_time=1)
    assert from_message(Message.parse(message.serialize())) == content


@pytest.mark.parametrize("content", EVERY, ids=lambda content: type(content).__name__)
def test_secrets_are_in_no_repr(content: Any) -> None:
    assert not any(secret in repr(content) for secret in SECRETS)


def test_a_message_of_another_protocol_is_none() -> None:
    assert from_message(Message("https://didmesh.org/session/1.0/propose")) is None


BROKEN: list[tuple[Any, dict[str, Any]]] = [
    (lobby.Knock, {"token": "short"}),
    (lobby.Knock, {"nonce": 5}),
    (lobby.Knock, {"created": 0}),
    (lobby.Knock, {"created": True}),
    (lobby.Knock, {"name": "a\nb"}),
    (lobby.Knock, {"name": "\u202eboB"}),
    (lobby.Knock, {"name": "x" * 41}),
    (lobby.Knock, {"claims": [CLAIMS[0].to_json()] * 9}),
    (lobby.Knock, {"claims": [{"kind": "vouch", "token": "x" * (10 * 1024 + 1)}]}),
    (lobby.Knock, {"claims": [{"kind": "vouch"}]}),
    (lobby.Knock, {"claims": [{"kind": "photo", "token": "x"}]}),
    (lobby.Knock, {"claims": {}}),
    (lobby.Require, {"requires": []}),
    (lobby.Require, {"requires": [REQUIRES[0].to_json()] * 2}),
    (lobby.Require, {"requires": [{"kind": "photo"}]}),
    (lobby.Require, {"requires": [{"kind": "vouch", "issuers": []}]}),
    (lobby.Require, {"requires": [{"kind": "vouch", "issuers": ["did:example:v"] * 17}]}),
    (lobby.Require, {"requires": [{"kind": "vouch", "issuers": ["did:" + "x" * 4093]}]}),
    (lobby.Knock, {"claims": [{**LOGIN.to_json(), "token": "x" * (8 * 1024 + 1)}]}),
    (lobby.Knock, {"claims": [{**LOGIN.to_json(), "salt": "short"}]}),
    (lobby.Knock, {"claims": [{**LOGIN.to_json(), "issuer": "file:///etc/passwd"}]}),
    (lobby.Require, {"requires": [{**AT_LOGIN.to_json(), "issuer": "javascript:alert(1)"}]}),
    (lobby.Require, {"requires": [{**AT_LOGIN.to_json(), "issuer": "https://" + "x" * 505}]}),
    (lobby.Require, {"requires": [{**AT_LOGIN.to_json(), "client_id": ""}]}),
    (lobby.Require, {"requires": [{**AT_LOGIN.to_json(), "client_id": "a\nb"}]}),
    (lobby.Require, {"requires": [{**AT_LOGIN.to_json(), "email": "x" * 255}]}),
    (lobby.Settle, {"claims": [[]] * 65}),
    (lobby.Settle, {"claims": {}}),
    (lobby.Settle, {"claims": [{}]}),
    (lobby.Want, {"pieces": [0] * 65}),
    (lobby.Want, {"pieces": [-1]}),
    (lobby.Want, {"pieces": [True]}),
    (lobby.Ready, {"sha256": "AB" * 32}),
    (lobby.Echo, {"statement": "x" * 1101}),
    (lobby.Roster, {"entries": [SEATS[0].to_json()] * 2}),
    (lobby.Roster, {"entries": [SEATS[0].to_json()] * 65}),
    (lobby.Roster, {"seats": 65}),
    (lobby.Roster, {"program": {**PROGRAM.to_json(), "pieces": 65}}),
    (lobby.Roster, {"title": "x" * 201}),
    (lobby.Settle, {"draft": {}}),
    (lobby.Settle, {"nonces": ["x"]}),
    (lobby.Settle, {"nonces": [NONCE] * 65}),
    (lobby.Begin, {"statements": ["a"] * 65}),
    (lobby.Begin, {"statements": ["x" * 1101]}),
    (lobby.Refuse, {"reason": "x" * 301}),
    (lobby.Call, {"link": "x" * 20_000}),
    (lobby.Speak, {"element": "AAAA"}),
    (lobby.Speak, {"element": "é" * 43}),
]


@pytest.mark.parametrize(("kind", "change"), BROKEN, ids=lambda value: str(value)[:40])
def test_what_does_not_keep_to_the_form_is_refused(kind: Any, change: dict[str, Any]) -> None:
    whole = next(content for content in EVERY if type(content) is kind)
    with pytest.raises(MalformedMessage):
        from_message(Message(kind.TYPE, {**whole.to_body(), **change}))


@pytest.mark.parametrize(
    "attachments",
    [
        (),
        (Attachment(base64=""),),
        (Attachment(base64="!"),),
        (Attachment(base64="A" * 4 * (lobby.PIECE // 3 + 2)),),
        (Attachment(base64="AAAA"), Attachment(base64="AAAA")),
        (Attachment(links=("https://evil.example",)),),
    ],
    ids=["none", "empty", "no base64", "too much", "two", "a link"],
)
def test_a_piece_has_one_attachment_of_bounded_size(attachments: tuple[Attachment, ...]) -> None:
    body = lobby.Piece(ID, HASH, 0, b"x").to_body()
    with pytest.raises(MalformedMessage):
        from_message(Message(lobby.Piece.TYPE, body, attachments=attachments))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from([ID, NONCE, HASH]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from(sorted({name for one in EVERY for name in one.to_body()}))


@given(st.sampled_from(EVERY), st.dictionaries(names, json_values, max_size=6))
def test_no_body_whatsoever_does_more_than_be_refused(content: Any, change: dict[str, Any]) -> None:
    with contextlib.suppress(MalformedMessage):
        from_message(Message(content.TYPE, {**content.to_body(), **change}))
