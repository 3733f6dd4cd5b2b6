"""The methods whose DID says it all: key, jwk and peer; no network, no waiting."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

from identity import did_jwk, did_key, did_peer
from identity.did import parse_did
from identity.document import DidDocument
from identity.errors import IdentityError, InvalidDid, UnknownDid
from resolvers.resolver import ErrorType, ResolutionError

METHODS: Mapping[str, Callable[[str], DidDocument]] = {
    "jwk": did_jwk.resolve,
    "key": did_key.resolve,
    "peer": did_peer.resolve,
}
MAX_LONG_FORMS = 1024


class LocalResolver:
    """Resolves did:key, did:jwk and did:peer; remembers long did:peers for their short forms."""

    def __init__(self) -> None:
        self._long_forms: OrderedDict[str, str] = OrderedDict()

    async def resolve(self, did: str) -> DidDocument:
        return self.resolve_now(did)

    def resolve_now(self, did: str) -> DidDocument:
        """The same for callers that cannot wait. Raises: ResolutionError."""
        try:
            document = self._resolve(did)
        except InvalidDid as error:
            raise ResolutionError(did, ErrorType.INVALID_DID, str(error)) from None
        except UnknownDid as error:
            raise ResolutionError(did, ErrorType.NOT_FOUND, str(error)) from None
        except IdentityError as error:
            raise ResolutionError(did, ErrorType.INVALID_DID_DOCUMENT, str(error)) from None
        self._remember(did)
        return document

    def _resolve(self, did: str) -> DidDocument:
        if long := self._long_forms.get(did):
            return did_peer.resolve_short(did, long)
        method = parse_did(did).method
        if method not in METHODS:
            detail = f"did:{method} is not a method that needs no network"
            raise ResolutionError(did, ErrorType.METHOD_NOT_SUPPORTED, detail)
        return METHODS[method](did)

    def _remember(self, did: str) -> None:
        short = did_peer.short_form(did)
        if short is None:
            return
        self._long_forms[short] = did
        self._long_forms.move_to_end(short)
        if len(self._long_forms) > MAX_LONG_FORMS:
            self._long_forms.popitem(last=False)
