"""One spelling for each DID, so that a forward finds its recipient however it was written."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from identity.did import parse_did
from identity.did_peer import short_form

DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


@lru_cache(maxsize=1024)
def canonical(text: str) -> str:
    """The DID in a DID or DID URL; did:peer:4 in its short form.

    Raises: InvalidDid.
    """
    did = text.partition("#")[0].partition("?")[0]
    method, specific = parse_did(did)
    if method == "peer" and specific.startswith("4"):
        return f"did:peer:{specific.partition(':')[0]}"
    if method == "web":
        host, colon, path = specific.partition(":")
        host = re.sub("%3a", "%3A", host.lower())
        return f"did:web:{host}{colon}{path}"
    return did


def is_url(text: str) -> bool:
    return text.partition("://")[0].lower() in DEFAULT_PORTS


@dataclass(frozen=True)
class OwnNames:
    """What means this mediator, in every spelling: mail for it is not passed on to itself."""

    dids: frozenset[str]
    doors: frozenset[tuple[str, int]]  # host and port

    @classmethod
    def of(cls, dids: Iterable[str], urls: Iterable[str]) -> OwnNames:
        names = {canonical(did) for did in dids}
        shorts = {short for name in names if (short := short_form(name)) is not None}
        doors = {door for url in urls if (door := door_of(url)) is not None}
        return cls(frozenset(names | shorts), frozenset(doors))

    def has_url(self, url: str) -> bool:
        return door_of(url) in self.doors


def door_of(url: str) -> tuple[str, int] | None:
    """Host and port that a URL leads to; None if it is no URL that anybody can use."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port or DEFAULT_PORTS[parts.scheme.lower()]
        host = unquote(parts.hostname or "").lower().rstrip(".")
    except (ValueError, KeyError):
        return None
    try:
        return str(ipaddress.ip_address(host)), port
    except ValueError:
        return (host, port) if host else None


def shorten(did: str) -> str:
    """A DID as it may stand in a log: enough to tell two apart, not to write to it.

    A digest tells them apart, since DIDs of one method may begin and end alike.
    """
    if len(did) <= 24:
        return did
    return f"{did[:12]}…{hashlib.sha256(did.encode()).hexdigest()[:8]}"
