"""Text forms shared by every format here: base64url, base58btc, strict JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any, NoReturn

import base58
import orjson
import pybase64

_BASE58 = re.compile(r"[1-9A-HJ-NP-Za-km-z]+")


def b64url_encode(data: bytes) -> str:
    return pybase64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def b64url_decode(text: str | bytes) -> bytes:
    """Decode base64url; padding is tolerated, any other foreign character is a ValueError."""
    data = text.encode("ascii") if isinstance(text, str) else text
    if b"+" in data or b"/" in data:
        raise ValueError("base64, not base64url")
    data = data.rstrip(b"=")
    return pybase64.b64decode(data + b"=" * (-len(data) % 4), altchars=b"-_", validate=True)


def base58_encode(data: bytes) -> str:
    return base58.b58encode(data).decode("ascii")


def base58_decode(text: str, *, limit: int) -> bytes:
    """Decode base58btc of at most `limit` characters: decoding takes quadratic time."""
    if len(text) > limit:
        raise ValueError(f"more than {limit} base58 characters")
    if not _BASE58.fullmatch(text):
        raise ValueError("not base58")
    return base58.b58decode(text)


def parse_json(data: bytes | str, *, depth: int) -> Any:
    """Parse JSON that every reader understands alike, nested at most `depth` deep.

    Duplicate keys, NaN and Infinity, numbers beyond a double, lone surrogates, byte order
    marks and anything but UTF-8 are refused.

    Raises: ValueError.
    """
    text = data if isinstance(data, str) else data.decode("utf-8")
    try:
        value = _DECODER.decode(text)
        if "\\u" in text:
            orjson.loads(text)  # refuses lone surrogates, which `json` lets through
    except RecursionError:
        raise ValueError("JSON nested too deep") from None
    if _deeper(value, depth):
        raise ValueError(f"JSON nested deeper than {depth}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("JSON object with a duplicate key")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("JSON number out of range")
    return number


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _deeper(value: Any, depth: int) -> bool:
    level = _containers([value])
    for _ in range(depth):
        level = [inner for node in level for inner in _containers(_children(node))]
    return bool(level)


def _containers(nodes: Iterable[Any]) -> list[Any]:
    return [node for node in nodes if isinstance(node, dict | list)]


def _children(node: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return node.values() if isinstance(node, dict) else node


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_finite, parse_constant=_not_json
)
