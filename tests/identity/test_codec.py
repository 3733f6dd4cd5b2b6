import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.codec import (
    b64url_decode,
    b64url_encode,
    base58_decode,
    base58_encode,
    parse_json,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)


@given(st.binary())
def test_base64url_round_trips_without_padding(data: bytes) -> None:
    text = b64url_encode(data)
    assert "=" not in text
    assert b64url_decode(text) == data
    assert b64url_decode(text + "=" * (-len(text) % 4)) == data


@pytest.mark.parametrize("text", ["a+", "a/", "a b", "ab\n", "a", "ab=c", "é", "ab*d"])
def test_text_that_is_not_base64url_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        b64url_decode(text)


@given(st.binary(max_size=64))
def test_base58_round_trips(data: bytes) -> None:
    assert base58_decode(base58_encode(data) or "1", limit=100) == (data or b"\x00")


def test_base58_known_answers() -> None:
    # draft-msporny-base58-03, section 5
    assert base58_encode(b"Hello World!") == "2NEpo7TZRRrLZSi2U"
    assert base58_decode("11233QC4", limit=100) == bytes.fromhex("0000287fb4cd")


@pytest.mark.parametrize("text", ["", "0", "l", " 2", "2\n", "é", "2" * 101])
def test_text_that_is_not_short_base58_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        base58_decode(text, limit=100)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '[{"b":{"a":1,"\\u0061":2}}]',
        "NaN",
        "[Infinity]",
        "-Infinity",
        "1e999",
        '"\\ud800"',
        '{"\\udfff":1}',
        "\ufeff{}",
        "",
        "{}{}",
        "[1,]",
        "{'a':1}",
        '"\n"',
    ],
)
def test_json_that_readers_understand_differently_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_json(text, depth=8)


@pytest.mark.parametrize("data", [b'"\xff"', '"é"'.encode("latin-1"), "{}".encode("utf-16")])
def test_json_that_is_not_utf8_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_json(data, depth=8)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_json_is_read_up_to_the_depth_and_no_deeper(opening: str) -> None:
    closing = {"[": "]", '{"a":': "}"}[opening]
    assert parse_json(opening * 4 + "1" + closing * 4, depth=4)
    for inmost in ("1", "[]", "{}"):
        with pytest.raises(ValueError, match="deeper than 4"):
            parse_json(opening * 5 + inmost + closing * 5, depth=4)
    with pytest.raises(ValueError, match="deep"):
        parse_json(opening * 100_000 + "1" + closing * 100_000, depth=4)
    with pytest.raises(ValueError):
        parse_json(opening * 100_000, depth=4)


@given(JSON)
def test_ordinary_json_is_read_as_it_is(value: object) -> None:
    import json

    assert parse_json(json.dumps(value), depth=100) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode(), depth=100) == value


@given(st.binary())
def test_no_bytes_make_json_parsing_crash(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        parse_json(data, depth=8)
