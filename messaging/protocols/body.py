"""Members of a message body, read with a clear error when they are not what they should be."""

from collections.abc import Mapping
from typing import Any

from messaging.errors import MalformedMessage
from messaging.message import Message


def expect(message: Message, *types: str) -> Mapping[str, Any]:
    """The body of a message of one of `types`. Raises: MalformedMessage."""
    if message.type not in types:
        raise MalformedMessage(f"a {types[0]} expected")
    return message.body


def text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if type(value) is not str or not value:
        raise MalformedMessage(f"`{name}` is not a string")
    return value


def optional_text(body: Mapping[str, Any], name: str) -> str | None:
    return None if body.get(name) is None else text(body, name)


def number(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name)
    if type(value) is not int or value < 0:
        raise MalformedMessage(f"`{name}` is not a whole number")
    return value


def optional_number(body: Mapping[str, Any], name: str) -> int | None:
    return None if body.get(name) is None else number(body, name)


def texts(body: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A list of strings; missing is empty."""
    value = body.get(name, [])
    if type(value) is not list or not all(type(item) is str for item in value):
        raise MalformedMessage(f"`{name}` is not a list of strings")
    return tuple(value)


def objects(body: Mapping[str, Any], name: str, limit: int) -> list[dict[str, Any]]:
    """A list of at most `limit` objects; missing is empty."""
    value = body.get(name, [])
    if type(value) is not list or not all(type(item) is dict for item in value):
        raise MalformedMessage(f"`{name}` is not a list of objects")
    if len(value) > limit:
        raise MalformedMessage(f"`{name}` has more than {limit} entries")
    return value
