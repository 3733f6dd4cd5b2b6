"""What real senders write, read as they mean it."""

from typing import Any

import orjson
import pytest

from messaging.errors import MalformedMessage
from messaging.message import MAX_ATTACHMENTS, Attachment, Message

MINIMAL = {"id": "1", "type": "t", "body": {}}


def test_a_message_is_written_in_the_words_of_the_specification() -> None:
    message = Message(
        "https://example.org/p/1.0/m",
        {"a": 1},
        id="1",
        frm="did:a:b",
        to=("did:c:d",),
        thid="2",
        created_time=5,
        attachments=(Attachment(id="x", json={"b": 2}, media_type="application/json"),),
        extra={"x-more": True},
    )
    assert orjson.loads(message.serialize()) == {
        "id": "1",
        "typ": "application/didcomm-plain+json",
        "type": "https://example.org/p/1.0/m",
        "body": {"a": 1},
        "from": "did:a:b",
        "to": ["did:c:d"],
        "thid": "2",
        "created_time": 5,
        "attachments": [{"id": "x", "media_type": "application/json", "data": {"json": {"b": 2}}}],
        "x-more": True,
    }


def test_unknown_headers_are_kept_even_if_they_have_the_names_of_envelope_members() -> None:
    message = read(payload="x", ciphertext="y", signatures=[])
    assert message.extra == {"payload": "x", "ciphertext": "y", "signatures": []}
    assert Message.parse(message.serialize()) == message


def test_typ_is_optional_and_body_may_be_missing() -> None:
    assert Message.from_json({"id": "1", "type": "t"}).body == {}


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (1700000000, 1700000000),
        (1700000000123, 1700000000),  # milliseconds
        (1700000000.5, 1700000000),
        ("2023-11-14T22:13:20Z", 1700000000),
        ("2023-11-14T23:13:20.250+01:00", 1700000000),
        ("2023-11-14T22:13:20", 1700000000),  # no zone: UTC
        (None, None),
    ],
)
def test_times_are_read_in_every_form_that_clients_write(written: Any, seconds: Any) -> None:
    assert read(created_time=written).created_time == seconds


def test_return_route_is_found_where_older_clients_put_it() -> None:
    assert read(custom_headers=[{"return_route": "all"}]).return_route == "all"
    assert read(return_route="none").return_route == "none"


@pytest.mark.parametrize(
    "text", ["aGVsbG8_", "aGVsbG8/", "aGVsbG8-aA", "aGVsbG8+aA==", "aGVsbG8-aA=="]
)
def test_attachments_are_read_in_every_alphabet_of_base64(text: str) -> None:
    assert Attachment(base64=text).content().startswith(b"hello")


def test_the_thread_of_a_first_message_is_its_id() -> None:
    assert read().thread == "1"
    assert read(thid="0").thread == "0"


@pytest.mark.parametrize(
    "headers",
    [
        {"id": None},
        {"id": 7},
        {"id": ""},
        {"type": None},
        {"type": ["t"]},
        {"body": []},
        {"body": "x"},
        {"to": "did:a:b"},
        {"to": [1]},
        {"from": ["did:a:b"]},
        {"thid": 1},
        {"created_time": "yesterday"},
        {"created_time": True},
        {"created_time": 1e300},
        {"created_time": "9999-99-99"},
        {"expires_time": {}},
        {"attachments": {"data": {}}},
        {"attachments": ["x"]},
        {"attachments": [{"id": "x"}]},
        {"attachments": [{"data": {"base64": 5}}]},
        {"attachments": [{"data": {"links": "x"}}]},
        {"attachments": [{"data": {"json": 1}}] * (MAX_ATTACHMENTS + 1)},
        {"please_ack": "yes"},
        {"from_prior": {}},
    ],
)
def test_headers_of_the_wrong_kind_are_refused(headers: dict[str, Any]) -> None:
    with pytest.raises(MalformedMessage):
        read(**headers)


@pytest.mark.parametrize(
    "attachment", [Attachment(), Attachment(base64="%"), Attachment(base64="a")]
)
def test_an_attachment_without_readable_content_says_so(attachment: Attachment) -> None:
    with pytest.raises(MalformedMessage):
        attachment.content()


def test_a_body_that_is_not_json_is_refused_where_it_is_written() -> None:
    with pytest.raises(MalformedMessage):
        Message("t", {"x": object()}).serialize()


def read(**headers: Any) -> Message:
    return Message.parse(orjson.dumps({**MINIMAL, **headers}))
