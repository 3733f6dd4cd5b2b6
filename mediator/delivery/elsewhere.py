"""Whether the mail of a DID is to be brought to another address, as its document says."""

from __future__ import annotations

from collections import OrderedDict

from identity.did_peer import services_of_2
from identity.errors import IdentityError
from mediator.addresses import OwnNames, is_url
from resolvers.resolver import ResolutionError, Resolver

REMEMBERED = 4096  # DIDs, and whether they lead elsewhere


class Elsewhere:
    def __init__(self, resolver: Resolver, own: OwnNames) -> None:
        self._resolver = resolver
        self._own = own
        self._known: OrderedDict[str, bool] = OrderedDict()

    async def leads(self, did: str) -> bool:
        """Whether it may be the DID of somebody whose mail is taken at another address."""
        if not is_local(did):
            return did not in self._own.dids  # a look-up may take its time: it is the carrier's
        known = self._known.get(did)
        if known is None:
            try:
                known = await self._has_address(did)
            except (ResolutionError, IdentityError):
                return False
            self._known[did] = known
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return known

    async def _has_address(self, did: str, *, of_a_mediator: bool = False) -> bool:
        """Whether its document names an endpoint, or a mediator, that is not this one."""
        document = (
            services_of_2(did)
            if did.startswith("did:peer:2.")
            else await self._resolver.resolve(did)
        )
        for endpoint in (e for s in document.didcomm_services() for e in s.endpoints):
            if endpoint.accept and "didcomm/v2" not in endpoint.accept:
                continue
            if await self._is_elsewhere(endpoint.uri, of_a_mediator):
                return True
        return False

    async def _is_elsewhere(self, uri: str, of_a_mediator: bool) -> bool:
        if is_url(uri):
            return not self._own.has_url(uri)
        did = uri.partition("#")[0]
        if of_a_mediator or not did.startswith("did:") or did in self._own.dids:
            return False  # no mediator of a mediator by DID
        return not is_local(did) or await self._has_address(did, of_a_mediator=True)


def is_local(did: str) -> bool:
    """Whether its document is known without asking anybody."""
    return did.startswith(("did:peer:", "did:key:", "did:jwk:"))
