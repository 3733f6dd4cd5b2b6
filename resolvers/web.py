"""did:web: the document lies at an address that the DID spells; who owns that, owns the DID.

Source: https://w3c-ccg.github.io/did-method-web/
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from identity.did import parse_did
from identity.document import MAX_BYTES, DidDocument
from identity.errors import IdentityError, InvalidDid
from resolvers.resolver import ErrorType, ResolutionError

if TYPE_CHECKING:  # aiohttp: nothing that a command without network should wait for
    import ssl

    from resolvers.guarded import Policy

_HOST = re.compile(r"(?P<name>[a-z0-9-]+(?:\.[a-z0-9-]+)*)(?::(?P<port>[0-9]{1,5}))?")
_SEGMENT = re.compile(r"(?!\.{1,2}$)[^/\\?#%\x00-\x20\x7f]+")
ABSENT = frozenset({404, 410})
MAX_FETCHES = 32  # at once: strangers' DIDs make us ask


class WebResolver:
    """Asks the host that the DID names, and nobody else; `policy` says where hosts may be."""

    def __init__(self, policy: Policy | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self._policy = policy
        self._tls = tls
        self._turn = asyncio.Semaphore(MAX_FETCHES)

    async def resolve(self, did: str) -> DidDocument:
        from resolvers.guarded import OPEN_INTERNET, GuardedHttp, TargetFailed, TargetRefused

        try:
            url = url_of(did)
        except InvalidDid as error:
            raise ResolutionError(did, ErrorType.INVALID_DID, str(error)) from None
        try:
            async with (
                self._turn,
                GuardedHttp(self._policy or OPEN_INTERNET, tls=self._tls) as http,
            ):
                answer = await http.get(url, max_bytes=MAX_BYTES)
        except TargetRefused as error:
            raise ResolutionError(did, ErrorType.NOT_FOUND, str(error)) from None
        except TargetFailed as error:
            raise ResolutionError(did, ErrorType.INTERNAL_ERROR, str(error)) from None
        if answer.status != 200:
            kind = ErrorType.NOT_FOUND if answer.status in ABSENT else ErrorType.INTERNAL_ERROR
            raise ResolutionError(did, kind, f"its host answers {answer.status}")
        try:
            return DidDocument.parse(answer.body, did)
        except IdentityError as error:
            raise ResolutionError(did, ErrorType.INVALID_DID_DOCUMENT, str(error)) from None


def url_of(did: str) -> str:
    """Where the document of a did:web is. Raises: InvalidDid."""
    method, id_ = parse_did(did)
    if method != "web":
        raise InvalidDid("not a did:web")
    host, *segments = id_.split(":")
    found = _HOST.fullmatch(unquote(host).lower())
    if found is None or not re.search("[a-z]", found["name"].rpartition(".")[2]):
        raise InvalidDid("a did:web whose host is no name")
    if found["port"] is not None and not 0 < int(found["port"]) < 65536:
        raise InvalidDid("a did:web with no such port")
    if found["name"].rpartition(".")[2].startswith("0x"):
        raise InvalidDid("a did:web whose host is a number")
    for segment in segments:
        if not _SEGMENT.fullmatch(unquote(segment)):
            raise InvalidDid("a did:web with a path that leads elsewhere")
    path = "/".join(segments) if segments else ".well-known"
    return f"https://{found[0]}/{path}/did.json"


def did_of(host: str, port: int | None, path: str) -> str:
    """The did:web whose document is at that host, under that path."""
    parts = [host.lower() + (f"%3A{port}" if port is not None else "")]
    return ":".join(["did:web", *parts, *(part for part in path.split("/") if part)])
