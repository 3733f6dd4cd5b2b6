"""One door to all DID methods: picks the resolver, remembers what it said, asks once at a time."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from identity.did import parse_did
from identity.document import DidDocument
from identity.errors import InvalidDid
from resolvers.local import METHODS as LOCAL_METHODS
from resolvers.local import LocalResolver
from resolvers.resolver import ErrorType, ResolutionError, ResolutionResult, Resolver
from resolvers.web import WebResolver

if TYPE_CHECKING:
    from resolvers.guarded import Policy

RESOLUTION_SECONDS = 10.0
POSITIVE_SECONDS = 300.0  # methods in LOCAL_METHODS never change: theirs stay
NEGATIVE_SECONDS = 10.0
MAX_REMEMBERED = 1024
MAX_REMEMBERED_DID = 1024  # characters; a longer local DID, of a stranger mostly, is read again


def default_registry(policy: Policy | None = None) -> Registry:
    """All methods that we know; `policy` says where on the network their documents may be."""
    local = LocalResolver()
    return Registry({**dict.fromkeys(LOCAL_METHODS, local), "web": WebResolver(policy)})


class _Answer(NamedTuple):
    outcome: DidDocument | ResolutionError
    expires: float


class Registry:
    """Itself a Resolver. `methods` names the resolver of each DID method."""

    def __init__(
        self, methods: Mapping[str, Resolver], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._methods = dict(methods)
        self._clock = clock
        self._answers: OrderedDict[str, _Answer] = OrderedDict()
        self._flights: dict[str, asyncio.Task[DidDocument]] = {}

    async def resolve(self, did: str) -> DidDocument:
        """The document of `did`. Raises: ResolutionError."""
        answer = self._answers.get(did)
        if answer is None or answer.expires <= self._clock():
            return await self._ask(did)
        self._answers.move_to_end(did)
        if isinstance(answer.outcome, ResolutionError):
            raise ResolutionError(did, answer.outcome.type, answer.outcome.detail)
        return answer.outcome

    async def resolve_result(self, did: str) -> ResolutionResult:
        """The same as a W3C resolution result, failures included."""
        try:
            return ResolutionResult(await self.resolve(did))
        except ResolutionError as error:
            return ResolutionResult(None, error)

    async def _ask(self, did: str) -> DidDocument:
        try:
            method = parse_did(did).method
        except InvalidDid as error:
            raise ResolutionError(did, ErrorType.INVALID_DID, str(error)) from None
        if method not in self._methods:
            detail = f"did:{method} is not supported; supported: {', '.join(sorted(self._methods))}"
            raise ResolutionError(did, ErrorType.METHOD_NOT_SUPPORTED, detail)
        resolver = self._methods[method]
        if method in LOCAL_METHODS:
            document = await resolver.resolve(did)
            if len(did) <= MAX_REMEMBERED_DID:
                self._remember(did, document, math.inf)
            return document
        return await self._join_flight(did, resolver)

    async def _join_flight(self, did: str, resolver: Resolver) -> DidDocument:
        """Wait for the one question that is under way; who gives up does not end it for others."""
        flight = self._flights.get(did)
        if flight is None:
            flight = asyncio.create_task(self._fly(did, resolver), name=f"resolve {did[:64]}")
            self._flights[did] = flight
            flight.add_done_callback(lambda _: self._land(did))
        try:
            return await asyncio.shield(flight)
        except ResolutionError as error:
            raise ResolutionError(did, error.type, error.detail) from error

    def _land(self, did: str) -> None:
        flight = self._flights.pop(did)
        if not flight.cancelled():
            flight.exception()  # looked at, even if everybody who waited has given up

    async def _fly(self, did: str, resolver: Resolver) -> DidDocument:
        try:
            async with asyncio.timeout(RESOLUTION_SECONDS):
                document = await resolver.resolve(did)
        except TimeoutError:
            detail = f"no answer within {RESOLUTION_SECONDS:.0f} s"
            failure = ResolutionError(did, ErrorType.INTERNAL_ERROR, detail)
        except ResolutionError as error:
            failure = error
        else:
            if document.id == did:
                self._remember(did, document, POSITIVE_SECONDS)
                return document
            detail = "the document is another DID's"
            failure = ResolutionError(did, ErrorType.INVALID_DID_DOCUMENT, detail)
        self._remember(did, failure, NEGATIVE_SECONDS)
        raise failure

    def _remember(self, did: str, outcome: DidDocument | ResolutionError, seconds: float) -> None:
        self._answers[did] = _Answer(outcome, self._clock() + seconds)
        self._answers.move_to_end(did)
        if len(self._answers) > MAX_REMEMBERED:
            self._answers.popitem(last=False)
