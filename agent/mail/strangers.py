"""What strangers can make us do on the network by writing to us, and its bounds.

Anybody may write to our DID under a DID of a method whose documents lie on a host of its choice,
and may ask for an answer at an address of its choice. So no letter waits for a slow host, few
hosts are asked at a time and each more rarely, and answers go to the open internet only, or to
where our own mediator is.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from agent.mail.transport import ENCRYPTED
from identity.document import DidDocument
from messaging.packing import Outgoing
from resolvers.guarded import GuardedError, GuardedHttp, Policy, networks
from resolvers.local import METHODS as LOCAL_METHODS
from resolvers.resolver import ErrorType, ResolutionError, Resolver

GLANCE_SECONDS = 0.1  # that a letter may hold up the next ones while its sender is looked up
LOOKUPS = 8  # under way at a time
FIRST_WAIT, LONGEST_WAIT = 5.0, 600.0  # seconds until mail of an unknown sender is tried again
REMEMBERED = 4096
_SLACK = 0.05  # seconds that the loop's timers may be early
WAYS = 2  # that are tried to answer a stranger

# Where a mediator may be that only we and our neighbours reach; documentation's are for tests.
_INSIDE = networks(
    (
        *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"),
        *("198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "::1/128", "fc00::/7"),
    )
)
_LOCAL = tuple(f"did:{method}:" for method in LOCAL_METHODS)
log = logging.getLogger(__name__)


class Glances:
    """A resolver for senders' DIDs: what does not come at once fails for now, and goes on.

    Those we write to ourselves, see `trust`, are waited for.
    """

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._trusted: set[str] = set()
        self._lookups: dict[str, asyncio.Task[DidDocument]] = {}

    def trust(self, did: str) -> None:
        self._trusted.add(did)

    async def resolve(self, did: str) -> DidDocument:
        """Raises: ResolutionError."""
        if did in self._trusted or did.startswith(_LOCAL):
            return await self._resolver.resolve(did)
        lookup = self._lookups.get(did)
        if lookup is None:
            if len(self._lookups) >= LOOKUPS:
                raise _not_now(did, "others are being looked up")
            lookup = asyncio.ensure_future(self._resolver.resolve(did))
            self._lookups[did] = lookup
            lookup.add_done_callback(lambda done: self._end(did, done))
        done, _ = await asyncio.wait({lookup}, timeout=GLANCE_SECONDS)
        if not done:
            raise _not_now(did, "it is being looked up")
        return lookup.result()

    def close(self) -> None:
        for lookup in self._lookups.values():
            lookup.cancel()

    def _end(self, did: str, lookup: asyncio.Task[DidDocument]) -> None:
        del self._lookups[did]
        if not lookup.cancelled():
            lookup.exception()  # looked at, also when nobody waits any more


class PutOff:
    """Letters whose sender could not be looked up, each tried again more and more rarely."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: OrderedDict[str, tuple[float, float]] = OrderedDict()  # until when, how long

    def waits(self, attachment_id: str) -> bool:
        return self._until.get(attachment_id, (0.0, 0.0))[0] > self._clock() + _SLACK

    def put_off(self, attachment_id: str) -> float:
        """Seconds until it should be tried again."""
        _, before = self._until.pop(attachment_id, (0.0, FIRST_WAIT / 2))
        wait = min(2 * before, LONGEST_WAIT)
        self._until[attachment_id] = self._clock() + wait, wait
        if len(self._until) > REMEMBERED:
            self._until.popitem(last=False)
        return wait


async def answer_stranger(ways: Sequence[Outgoing], own_mediator: str) -> None:
    """Bring an answer to who asked for it, once, and where everybody may go; or not at all."""
    async with GuardedHttp(await policy_beside(own_mediator)) as http:
        for way in [way for way in ways if way.uri.startswith(("http://", "https://"))][:WAYS]:
            try:
                answer = await http.post(way.uri, way.envelope, {"Content-Type": ENCRYPTED})
            except GuardedError as error:
                log.debug("a stranger is not answered: %s", error)
                continue
            if answer.status < 300:
                return


async def policy_beside(own_mediator: str) -> Policy:
    """The open internet; and if our mediator is not there, the network that it is in."""
    host = urlsplit(own_mediator).hostname or ""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return Policy()
    addresses = [ipaddress.ip_address(str(target[0]).partition("%")[0]) for *_, target in found]
    return Policy(tuple(net for net in _INSIDE if any(address in net for address in addresses)))


def _not_now(did: str, why: str) -> ResolutionError:
    return ResolutionError(did, ErrorType.INTERNAL_ERROR, why)
