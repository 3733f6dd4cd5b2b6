"""base64url and JSON as envelopes need them: strict where a change could hide, fast at 64 KiB.

`identity.codec` reads what people publish (documents, keys) and is liberal with padding; here
every accepted text is the only text of its bytes, so that no character of an envelope can be
changed unnoticed.
"""

from collections.abc import Iterable
from typing import Any

import orjson
import pybase64

from messaging.errors import MalformedMessage

MAX_BYTES = 1024 * 1024  # of an envelope, and so of everything inside it
MAX_DEPTH = 32  # of nested JSON objects and arrays

# How many bits of the last character carry nothing decides which characters may stand there.
_LAST_OF_TWO = frozenset("AQgw")
_LAST_OF_THREE = frozenset("AEIMQUYcgkosw048")


def b64encode(data: bytes) -> bytes:
    """base64url without padding, as ASCII bytes."""
    return pybase64.b64encode(data, b"-_").rstrip(b"=")


def b64decode(text: object) -> bytes:
    """The bytes of base64url without padding.

    Raises: MalformedMessage, also for a second spelling of the same bytes (stray last bits).
    """
    if type(text) is not str:
        raise MalformedMessage("base64url text expected")
    if "+" in text or "/" in text:  # which the decoder below takes for `-` and `_`
        raise MalformedMessage("base64, not base64url")
    rest = len(text) & 3
    if rest:
        if rest == 1 or text[-1] not in (_LAST_OF_TWO if rest == 2 else _LAST_OF_THREE):
            raise MalformedMessage("not canonical base64url")
        text += "=="[: 4 - rest]
    elif text[-1:] == "=":
        raise MalformedMessage("base64url has no padding here")
    try:
        return pybase64.b64decode(text, b"-_", validate=True)
    except ValueError as error:
        raise MalformedMessage("not base64url") from error


def load_object(data: bytes) -> dict[str, Any]:
    """The JSON object in `data`, at most `MAX_DEPTH` deep.

    Raises: MalformedMessage.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise MalformedMessage("not JSON") from error
    if type(value) is not dict:
        raise MalformedMessage("not a JSON object")
    if may_nest(data, MAX_DEPTH):
        _check_depth(value)
    return value


def may_nest(data: bytes, depth: int) -> bool:
    """Whether JSON has brackets enough to nest deeper; mostly not, and there is nothing to walk."""
    left = depth
    for bracket in (b"{", b"["):
        position = data.find(bracket)  # many times faster than to count them all
        while position >= 0:
            left -= 1
            if left < 0:
                return True
            position = data.find(bracket, position + 1)
    return False


def _check_depth(value: dict[str, Any]) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise MalformedMessage(f"JSON nested deeper than {MAX_DEPTH}")


def _children(value: Any) -> Iterable[Any]:
    values = value.values() if type(value) is dict else value
    return (child for child in values if type(child) is dict or type(child) is list)
