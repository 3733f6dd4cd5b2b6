"""Who controls a DID that an account wants to take mail for: what a signature says of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

from identity import did_key
from identity.errors import IdentityError, KeyNotFound
from identity.keys import PublicKey
from mediator.addresses import canonical
from mediator.errors import Refusal
from mediator.handlers.dispatch import Request
from messaging.binding import Binding, proofs_of, read_binding
from messaging.envelope import CLOCK_SKEW
from messaging.errors import MalformedMessage, MessagingError
from messaging.jws import verify_compact
from resolvers.resolver import ResolutionError, Resolver

MAX_AGE = 600  # seconds
REMEMBERED = 10_000
MAX_KEYS = 8  # of one DID, by which its mail may be addressed
UNPROVEN = "e.p.trust.binding-proof"


class Ownership:
    def __init__(self, resolver: Resolver, own_dids: Collection[str]) -> None:
        self._resolver = resolver
        self._own_dids = own_dids
        # The newest proof of each DID: who had it before cannot take it back with an older one.
        self._newest: OrderedDict[str, Binding] = OrderedDict()

    async def proven(self, request: Request) -> frozenset[str]:
        """The DIDs that say, in signed proofs, that the sender's account may take their mail.

        Raises: Refusal, if one of the proofs is none.
        """
        proven: set[str] = set()
        try:
            for token in proofs_of(request.message):
                binding = await self._verified(token)
                self._check(binding, request)
                proven.add(canonical(binding.did))
        except (MessagingError, IdentityError, ResolutionError) as error:
            raise Refusal(UNPROVEN, f"a proof of control is none: {error}") from error
        return frozenset(proven)

    async def keys(self, did: str) -> tuple[str, ...]:
        """The key agreement keys of a DID as did:key, where that needs no network."""
        if not did.startswith(("did:peer:", "did:key:", "did:jwk:")):
            return ()
        try:
            document = await self._resolver.resolve(did.partition("#")[0])
        except ResolutionError:
            return ()
        keys = [method.key for method in document.keys("keyAgreement") if method.key is not None]
        return tuple(did_key.create(key) for key in keys[:MAX_KEYS])

    async def _verified(self, token: str) -> Binding:
        binding, kid = read_binding(token)
        if kid.partition("#")[0] != binding.did:
            raise MalformedMessage("it is signed by another DID than it speaks for")
        key = await self._authentication_key(kid)
        verify_compact(token, lambda _: key)
        return binding

    async def _authentication_key(self, kid: str) -> PublicKey:
        document = await self._resolver.resolve(kid.partition("#")[0])
        method = document.method(kid)
        if method.key is None or method.id not in document.authentication:
            raise KeyNotFound("it is signed with no key for authentication")
        return method.key

    def _check(self, binding: Binding, request: Request) -> None:
        if canonical(binding.account) != request.account():
            raise MalformedMessage("it is for another account")
        if canonical(binding.mediator) not in self._own_dids:
            raise MalformedMessage("it is for another mediator")
        if not request.now - MAX_AGE <= binding.issued_at <= request.now + CLOCK_SKEW:
            raise MalformedMessage(f"it was not signed in the last {MAX_AGE} seconds")
        did = canonical(binding.did)
        newest = self._newest.get(did)
        if (
            newest is not None
            and canonical(newest.account) != request.account()
            and newest.issued_at >= binding.issued_at
        ):
            raise MalformedMessage("there was a newer one, for another account")
        self._newest[did] = binding
        self._newest.move_to_end(did)
        if len(self._newest) > REMEMBERED:
            self._newest.popitem(last=False)
