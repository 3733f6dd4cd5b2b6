"""One text for every bytes, and JSON no deeper than we say."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging.encoding import MAX_DEPTH, b64decode, b64encode, load_object
from messaging.errors import MalformedMessage


@given(st.binary(max_size=100))
def test_base64url_comes_back(data: bytes) -> None:
    text = b64encode(data).decode()
    assert b64decode(text) == data
    assert not set(text) & set("+/=")


@pytest.mark.parametrize(
    "text", ["-_8=", "+_8A", "-/8A", "AB", "AAB", "A", "AA==", "A A", "é", "ÿÿÿÿ"]
)
def test_another_spelling_of_the_same_bytes_is_refused(text: str) -> None:
    with pytest.raises(MalformedMessage):
        b64decode(text)


@pytest.mark.parametrize("value", [None, 5, b"AAAA", ["AAAA"]])
def test_only_text_is_base64url(value: object) -> None:
    with pytest.raises(MalformedMessage):
        b64decode(value)


@pytest.mark.parametrize("bracket", ["{}", "[]"])
def test_json_is_read_as_deep_as_the_limit_and_no_deeper(bracket: str) -> None:
    opening, closing = ('{"a":', "}") if bracket == "{}" else ("[", "]")

    def nested(depth: int) -> bytes:
        inner = opening * (depth - 1) + "1" + closing * (depth - 1)
        return f'{{"first":{inner},"wide":{[{}] * 40}}}'.encode()

    assert load_object(nested(MAX_DEPTH))["first"]
    with pytest.raises(MalformedMessage):
        load_object(nested(MAX_DEPTH + 1))


@pytest.mark.parametrize("data", [b"", b"[]", b"1", b"{", b"\xff", b'{"a":NaN}', b'{"\\ud800":1}'])
def test_what_is_not_a_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        load_object(data)


def test_wide_json_is_not_deep() -> None:
    data = orjson.dumps({"list": [{"a": [number]} for number in range(1000)]})
    assert len(load_object(data)["list"]) == 1000
