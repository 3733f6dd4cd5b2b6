"""The syntax of DIDs and of the DID URLs that name keys."""

from __future__ import annotations

import re
from typing import NamedTuple

from identity.errors import InvalidDid

MAX_DID = 4096  # characters, checked before anything is decoded
MAX_FRAGMENT = 256

# `=` is outside the grammar; the padding of old did:peer:2 services has it all the same.
_DID = re.compile(
    r"did:(?P<method>[a-z0-9]+):"
    r"(?P<id>(?:[A-Za-z0-9._:=-]|%[0-9A-Fa-f]{2})*(?:[A-Za-z0-9._=-]|%[0-9A-Fa-f]{2}))"
)
_FRAGMENT = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})+")


class Did(NamedTuple):
    method: str
    id: str


def parse_did(text: str) -> Did:
    """Split `did:method:id`. Raises: InvalidDid."""
    if len(text) > MAX_DID:
        raise InvalidDid(f"a DID of more than {MAX_DID} characters")
    match = _DID.fullmatch(text)
    if match is None or ("=" in text and match["method"] != "peer"):
        raise InvalidDid(f"not a DID: {shorten(text)}")
    return Did(match["method"], match["id"])


def split_url(url: str) -> tuple[str, str | None]:
    """Split `did` or `did#fragment`; DID URLs with a path or a query name no key and are refused.

    Raises: InvalidDid.
    """
    if len(url) > MAX_DID + MAX_FRAGMENT + 1:
        raise InvalidDid(f"a DID URL of more than {MAX_DID + MAX_FRAGMENT + 1} characters")
    did, hash_sign, fragment = url.partition("#")
    parse_did(did)
    if not hash_sign:
        return did, None
    if len(fragment) > MAX_FRAGMENT or not _FRAGMENT.fullmatch(fragment):
        raise InvalidDid(f"not a DID URL: {shorten(url)}")
    return did, fragment


def did_of(kid: str) -> str:
    """The DID whose document must list this key. Raises: InvalidDid."""
    return split_url(kid)[0]


def shorten(text: str) -> str:
    """A stranger's text as it may stand in an error: printable, at most 64 characters."""
    shown = text if len(text) <= 64 else f"{text[:40]}…{text[-16:]}"
    return shown if shown.isprintable() else ascii(shown)
