"""Looks up what claims are judged by: at the issuers, and at nobody else."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from agent.claims.evidence import Evidence
from identity.document import DidDocument
from messaging.protocols.lobby import Requirement
from resolvers.resolver import ResolutionError, Resolver


class Issuers:
    """Goes where requirements lead, never where a claim does."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def evidence(self, requires: Sequence[Requirement]) -> Evidence:
        """Of all issuers that can be looked up now."""
        documents: dict[str, DidDocument] = {}
        for required in requires:
            for did in required.issuers:
                with contextlib.suppress(ResolutionError):
                    documents[did] = await self._resolver.resolve(did)
        return Evidence(documents)
