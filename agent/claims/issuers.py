"""Looks up what claims are judged by: at the issuers, and at nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from agent.claims.evidence import Evidence, Keys
from agent.claims.login import read_keys
from agent.claims.provider import WELL_KNOWN, BadProvider, Provider, is_secure
from identity.document import DidDocument
from messaging.protocols.lobby import LoginRequired, Requirement, VouchRequired
from resolvers.resolver import ResolutionError, Resolver

if TYPE_CHECKING:  # aiohttp: for logins alone
    from resolvers.guarded import Policy

MAX_BYTES = 64 * 1024  # of what an issuer says of itself, and of its keys
KEYS_SECONDS = 60.0  # until keys are fetched again, or tried again


class IssuerFails(ValueError):
    """An issuer cannot be used now; one sentence."""


class Issuers:
    """Goes where requirements lead, never where a claim does; `policy` says where that may be.

    `tell` hears of an issuer whose keys cannot be fetched.
    """

    def __init__(
        self, resolver: Resolver, tell: Callable[[str], None], policy: Policy | None = None
    ) -> None:
        self._resolver, self._tell, self._policy = resolver, tell, policy
        self._keys: dict[str, tuple[float, Keys | None]] = {}  # when they were fetched
        self._turn = asyncio.Lock()

    async def evidence(self, requires: Sequence[Requirement]) -> Evidence:
        """Of all issuers that can be asked now."""
        documents: dict[str, DidDocument] = {}
        keys: dict[str, Keys] = {}
        for required in requires:
            match required:
                case VouchRequired(issuers):
                    for did in issuers:
                        with contextlib.suppress(ResolutionError):
                            documents[did] = await self._resolver.resolve(did)
                case LoginRequired(issuer):
                    async with self._turn:
                        found = await self._fresh_keys(issuer)
                    if found is not None:
                        keys[issuer] = found
        return Evidence(documents, keys)

    async def provider(self, issuer: str) -> Provider:
        """What an issuer says of itself. Raises: IssuerFails."""
        from resolvers.guarded import OPEN_INTERNET, TargetRefused, vetted

        if not is_secure(issuer) or "?" in issuer or "#" in issuer:
            raise IssuerFails(f"{issuer} is no address of an issuer: it begins with https://")
        try:
            found = Provider.parse(await self._get(issuer.rstrip("/") + WELL_KNOWN), issuer)
            vetted(found.authorization, self._policy or OPEN_INTERNET)  # a browser will go there
        except (BadProvider, TargetRefused) as error:
            raise IssuerFails(str(error)) from error
        return found

    async def post(self, url: str, form: bytes) -> bytes:
        """An issuer's answer to a form. Raises: IssuerFails."""
        return await self._ask(url, form)

    async def _fresh_keys(self, issuer: str) -> Keys | None:
        now = time.monotonic()
        fetched, keys = self._keys.get(issuer, (-KEYS_SECONDS, None))
        if now - fetched < KEYS_SECONDS:
            return keys
        try:
            provider = await self.provider(issuer)
            keys = read_keys(await self._get(provider.keys))
        except ValueError as error:
            keys = None
            self._tell(f"the keys of {issuer} cannot be fetched: {error}")
        self._keys[issuer] = (now, keys)
        return keys

    async def _get(self, url: str) -> bytes:
        return await self._ask(url, None)

    async def _ask(self, url: str, form: bytes | None) -> bytes:
        from resolvers.guarded import OPEN_INTERNET, GuardedError, GuardedHttp

        try:
            async with GuardedHttp(self._policy or OPEN_INTERNET) as http:
                if form is None:
                    answer = await http.get(url, max_bytes=MAX_BYTES)
                else:
                    headers = {"Content-Type": "application/x-www-form-urlencoded"}
                    answer = await http.post(url, form, headers, max_bytes=MAX_BYTES)
        except GuardedError as error:
            raise IssuerFails(f"{url}: {error}") from error
        if answer.status != 200:
            raise IssuerFails(f"{url} answers {answer.status}")
        return answer.body
