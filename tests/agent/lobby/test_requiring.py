"""What a host may require, as its owner types it."""

from __future__ import annotations

import pytest

from agent.errors import UsageMistake
from agent.lobby.requiring import login_required, vouch_required
from messaging.protocols.lobby import MAX_ISSUERS, LoginRequired, VouchRequired

ISSUER = "https://login.uni.example"


def test_nothing_is_required_that_nobody_asked_for() -> None:
    assert login_required(None, None, None) == ()
    assert vouch_required([]) == ()


def test_a_login_and_whose_word_counts_are_what_was_typed() -> None:
    [login] = login_required(ISSUER, "didmesh", "*@uni.example")
    assert login == LoginRequired(ISSUER, "didmesh", "*@uni.example")
    assert login_required(ISSUER, "didmesh", None) == (LoginRequired(ISSUER, "didmesh"),)
    assert vouch_required(["did:a", "did:b", "did:a"]) == (VouchRequired(("did:a", "did:b")),)


@pytest.mark.parametrize(
    ("issuer", "client", "email", "words"),
    [
        (None, "didmesh", None, "go with --require-login"),
        (None, None, "*@uni.example", "go with --require-login"),
        (ISSUER, None, None, "needs --client-id"),
        (ISSUER, "didmesh", "uni.example", "neither an e-mail address"),
        (ISSUER, "didmesh", "*@*.example", "neither an e-mail address"),
        ("login.uni.example", "didmesh", None, "do not fit"),
        ("https://" + "x" * 600, "didmesh", None, "do not fit"),
        (ISSUER, "two\nlines", None, "do not fit"),
        (ISSUER, "", None, "do not fit"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_happens(
    issuer: str | None, client: str | None, email: str | None, words: str
) -> None:
    with pytest.raises(UsageMistake, match=words):
        login_required(issuer, client, email)


def test_whose_word_counts_are_not_too_many() -> None:
    with pytest.raises(UsageMistake, match="at most"):
        vouch_required([f"did:example:{number}" for number in range(MAX_ISSUERS + 1)])
