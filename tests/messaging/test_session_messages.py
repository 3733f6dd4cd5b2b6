"""The form of our own session protocol: what goes out comes back, and nothing else gets in."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging.errors import MalformedMessage
from messaging.message import Message
from messaging.protocols.session import (
    PROTOCOL,
    Candidates,
    Offer,
    Preshared,
    Propose,
    Say,
    SessionMessage,
    Withdraw,
    from_message,
    to_message,
)

SESSION = "ab" * 32
MESSAGES: list[SessionMessage] = [
    Propose({"parties": ["did:example:a"], "v": 1}, "n" * 43, 1_900_000_000_000),
    Propose({"parties": ["did:example:a"], "v": 1}, "n" * 43, 1_900_000_000_000, "k" * 1579),
    Propose({"parties": ["did:example:a"], "v": 1}, "n" * 43, 1, None, 99, SESSION),
    Withdraw("n" * 43, "lost party1", lost=True),
    Withdraw("n" * 43, "stopped by its owner"),
    Withdraw("n" * 43, "another program", refused="m" * 43),
    Offer(
        SESSION,
        "a.b.c",
        "A" * 43 + "=",
        {"ufrag": "u", "password": "secret", "candidates": []},
        ({"secret": "secret"},),
        Preshared("c" * 1451, "t" * 43),
    ),
    Say(SESSION, "a.b.c"),
    Candidates(SESSION, ({"kind": "host"},)),
    Candidates(SESSION, (), ({"secret": "secret"},)),
]
GOOD_PROPOSAL: dict[str, Any] = MESSAGES[0].to_body()
GOOD_OFFER: dict[str, Any] = next(m for m in MESSAGES if isinstance(m, Offer)).to_body()


@pytest.mark.parametrize("content", MESSAGES, ids=lambda content: type(content).__name__)
def test_what_goes_out_comes_back(content: SessionMessage) -> None:
    message = to_message(content, frm="did:example:a", to="did:example:b", expires_time=1)
    assert from_message(Message.parse(message.serialize())) == content


def test_another_protocols_message_is_not_ours() -> None:
    assert from_message(Message(type="https://didcomm.org/trust-ping/2.0/ping", body={})) is None


def test_no_message_shows_a_password_in_its_repr() -> None:
    assert not any("secret" in repr(message) for message in MESSAGES)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("propose", {}),
        ("propose", {"draft": {"parties": []}, "nonce": "n", "created": "now", "epoch": 0}),
        ("propose", {"draft": {"parties": []}, "nonce": "n", "created": 2**60, "epoch": 0}),
        ("propose", {"draft": {"parties": []}, "nonce": "n", "created": True, "epoch": 0}),
        ("propose", {"draft": {}, "nonce": "n", "created": 1}),
        ("propose", {"draft": [], "nonce": "n", "created": 1}),
        ("propose", {**GOOD_PROPOSAL, "encapsulation_key": "k" * 1578}),
        ("propose", {**GOOD_PROPOSAL, "encapsulation_key": "k" * 1580}),
        ("propose", {**GOOD_PROPOSAL, "encapsulation_key": "+" * 1579}),
        ("propose", {**GOOD_PROPOSAL, "encapsulation_key": None}),
        ("propose", {**GOOD_PROPOSAL, "epoch": -1}),
        ("propose", {**GOOD_PROPOSAL, "epoch": 100}),
        ("propose", {**GOOD_PROPOSAL, "epoch": True}),
        ("propose", {**GOOD_PROPOSAL, "previous": "x" * 64}),
        ("offer", {**GOOD_OFFER, "preshared": {}}),
        ("offer", {**GOOD_OFFER, "preshared": []}),
        ("offer", {**GOOD_OFFER, "preshared": {"ciphertext": "c" * 1450, "tag": "t" * 43}}),
        ("offer", {**GOOD_OFFER, "preshared": {"ciphertext": "c" * 1451, "tag": "t" * 42}}),
        ("withdraw", {"nonce": "n" * 44, "reason": ""}),
        ("withdraw", {"nonce": "n", "reason": "x" * 301}),
        ("offer", {"session": SESSION}),
        ("offer", {"session": SESSION, "wireguard_key": "A" * 43 + "=", "side": {}}),
        ("offer", {"session": "AB" * 32, "wireguard_key": "A" * 43 + "="}),
        ("statement", {"session": SESSION, "statement": "x" * 2049}),
        ("statement", {"session": SESSION, "statement": 1}),
        ("candidates", {"session": SESSION, "candidates": {}}),
        ("candidates", {"candidates": []}),
        ("candidates", {"session": SESSION, "candidates": [], "relays": {}}),
    ],
)
def test_a_malformed_message_is_refused(name: str, body: dict[str, Any]) -> None:
    with pytest.raises(MalformedMessage):
        from_message(Message(type=f"{PROTOCOL}/{name}", body=body))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=50),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=10), children, max_size=3)
    ),
)
_FIELDS = ["draft", "nonce", "created", "reason", "session", "statement", "side", "wireguard_key"]


@given(
    st.sampled_from(["propose", "withdraw", "offer", "statement"]),
    st.dictionaries(st.sampled_from(_FIELDS), _JSON),
)
def test_no_body_crashes_the_reader(name: str, body: dict[str, Any]) -> None:
    with contextlib.suppress(MalformedMessage):
        assert from_message(Message(type=f"{PROTOCOL}/{name}", body=body)) is not None
