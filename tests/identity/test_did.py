import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from identity.did import MAX_DID, Did, did_of, parse_did, split_url
from identity.errors import InvalidDid


def test_a_did_has_a_method_and_an_id() -> None:
    assert parse_did("did:web:example.com%3A8443:user:a") == Did("web", "example.com%3A8443:user:a")
    assert parse_did("did:peer:2.Ez6LS.SeyJ9==").method == "peer"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "did:",
        "did:web",
        "did:web:",
        "did:web:a:",
        "did::a",
        "did:Web:a",
        "DID:web:a",
        "did:web:a b",
        "did:web:a\n",
        "did:web:é",
        "did:web:%2",
        "did:web:%zz",
        "did:web:a#k",
        "did:web:a?q",
        "did:web:a/p",
        "did:web:a=",
        "https://example.com",
    ],
)
def test_text_that_is_not_a_did_is_refused(text: str) -> None:
    with pytest.raises(InvalidDid):
        parse_did(text)


def test_a_did_has_at_most_4096_characters() -> None:
    longest = "did:web:" + "a" * (MAX_DID - 8)
    assert parse_did(longest)
    with pytest.raises(InvalidDid, match="4096"):
        parse_did(longest + "a")


def test_a_key_id_is_split_into_did_and_fragment() -> None:
    assert split_url("did:web:a#key-1") == ("did:web:a", "key-1")
    assert split_url("did:web:a") == ("did:web:a", None)
    assert did_of("did:web:a#key-1") == "did:web:a"


@pytest.mark.parametrize(
    "url",
    [
        "#key-1",
        "did:web:a#",
        "did:web:a#a#b",
        "did:web:a?v=1#k",
        "did:web:a/p#k",
        "did:web:a#é",
        "did:web:a#" + "k" * 257,
        "did:web:a#k\n",
    ],
)
def test_what_names_no_key_is_refused(url: str) -> None:
    with pytest.raises(InvalidDid):
        split_url(url)


def test_an_error_never_repeats_a_long_or_unprintable_text() -> None:
    with pytest.raises(InvalidDid) as caught:
        parse_did("did:web:\x1b[2J" + "a" * 4000)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 200


@given(st.text() | st.from_regex(r"did:[a-z0-9]+:[A-Za-z0-9._:%#?/=-]*"))
@example("did:a:" + "%" * 4000)
def test_no_text_makes_did_parsing_crash(text: str) -> None:
    for parse in (parse_did, split_url):
        with contextlib.suppress(InvalidDid):
            parse(text)
