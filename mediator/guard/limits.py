"""How fast and how many: what one address, account or sender may take of what is for all.

Everything here is bounded itself: a bucket that nobody drew from for a while is full
again and is forgotten, and above a number of buckets the ones unused longest go.
"""

from __future__ import annotations

import ipaddress
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager

from mediator.errors import Refusal
from mediator.settings.config import Limits, Network

MAX_BUCKETS = 65_536  # of each kind; about 10 MB
MAX_FORWARDED = 32  # addresses in an X-Forwarded-For that are looked at

TOO_MANY_REQUESTS = 429  # HTTP
RATE_LIMIT = "e.p.me.res.net.rate-limit"
TOO_MANY_SOCKETS = "e.p.me.res.net.too-many-sockets"


class TokenBuckets:
    """One bucket a key: `burst` at once, `rate` a second over time."""

    def __init__(
        self,
        rate: float,
        burst: float,
        clock: Callable[[], float] = time.monotonic,
        most: int = MAX_BUCKETS,
    ) -> None:
        self._seconds_each = 1 / rate
        self._burst_seconds = burst / rate
        self._clock = clock
        self._most = most
        # When each bucket will be full again, by the hash of its key, which takes no more
        # room for a long key; the one drawn from last at the end.
        self._full_at: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: Hashable) -> float:
        """Draw one: 0 if it was there, else the seconds until it will be (and none is drawn)."""
        now, name = self._clock(), hash(key)
        full_at = max(self._full_at.get(name, now), now) + self._seconds_each
        lacking = full_at - now - self._burst_seconds
        if lacking > 1e-9:
            return lacking
        self._full_at.pop(name, None)
        self._full_at[name] = full_at
        self._forget(now)
        return 0.0

    def _forget(self, now: float) -> None:
        """Two a draw, from the end unused longest: the full ones, and what is over the limit."""
        for _ in range(2):
            oldest = next(iter(self._full_at))
            if self._full_at[oldest] > now and len(self._full_at) <= self._most:
                return
            del self._full_at[oldest]
            if not self._full_at:
                return


class Counts:
    """How many there are at once, in all and of each key."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._of: Counter[str] = Counter()
        self.total = 0

    def enter(self, key: str | None) -> bool:
        """Whether there is room for one more; None is nobody in particular."""
        if self.total >= self._most or (key is not None and self._of[key] >= self._most_of_one):
            self._tidy(key)
            return False
        self.total += 1
        if key is not None:
            self._of[key] += 1
        return True

    def leave(self, key: str | None) -> None:
        self.total -= 1
        if key is not None:
            self._of[key] -= 1
            self._tidy(key)

    def _tidy(self, key: str | None) -> None:
        if key is not None and not self._of[key]:
            del self._of[key]


class Memory:
    """Bytes held for those who have not finished sending, or not finished reading.

    Over the limit goes who has been at it longest: honest ones are through in no time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._holders: dict[object, tuple[int, Callable[[], None]]] = {}
        self.held = 0

    def hold(self, holder: object, size: int, drop: Callable[[], None]) -> None:
        """`size` bytes more; `drop` is called when they must go, and not after `release`."""
        before, _ = self._holders.get(holder, (0, drop))
        self._holders[holder] = (before + size, drop)  # one that is known keeps its place
        self.held += size
        while self.held > self._most:
            oldest = next(iter(self._holders))
            _, drop_oldest = self._holders[oldest]
            self.release(oldest)
            drop_oldest()

    def release(self, holder: object, size: int | None = None) -> None:
        """All that it holds, or so many bytes."""
        held, drop = self._holders.pop(holder, (0, _nothing))
        left = 0 if size is None else max(0, held - size)
        self.held -= held - left
        if left:
            self._holders[holder] = (left, drop)

    @contextmanager
    def holding(self, size: int, drop: Callable[[], None]) -> Iterator[None]:
        holder = object()
        self.hold(holder, size, drop)
        try:
            yield
        finally:
            self.release(holder)


def _nothing() -> None:
    pass


class Guard:
    """All limits on strangers of one mediator process."""

    def __init__(
        self,
        limits: Limits,
        proxies: Sequence[Network] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._proxies = tuple(proxies)
        self._addresses = TokenBuckets(limits.address_rate, limits.address_burst, clock)
        self._accounts = TokenBuckets(limits.account_rate, limits.account_burst, clock)
        self._pairs = TokenBuckets(limits.pair_rate, limits.pair_burst, clock)
        self.connections = Counts(limits.connections, limits.address_connections)
        self.sockets = Counts(limits.connections, limits.address_connections)
        self.arriving = Memory(limits.buffered // 2)
        self.leaving = Memory(limits.buffered // 2)

    def client(self, peer: str | None, forwarded: Sequence[str] = ()) -> str | None:
        """The address a request counts for; None where a proxy of ours does not say.

        `forwarded` are the values of X-Forwarded-For, which only our proxies are believed.
        """
        return client_address(peer, forwarded, self._proxies)

    def wait_of_address(self, address: str | None) -> float:
        """Seconds until a message from there may be taken in; 0: now, and it is counted."""
        return 0.0 if address is None else self._addresses.take(address)

    def check_account(self, account: str) -> None:
        """Raises: Refusal."""
        _check(self._accounts.take(account), "messages of this sender")

    def check_pair(self, sender: str | None, recipient: str) -> None:
        """`sender` is the proven DID or, of an anonymous forward, the address if known.

        Raises: Refusal.
        """
        if sender is not None:
            _check(self._pairs.take((sender, recipient)), "messages for this recipient")


def _check(wait: float, what: str) -> None:
    if wait:
        raise Refusal(
            RATE_LIMIT,
            f"too many {what}; again in {wait:.1f} seconds",
            status=TOO_MANY_REQUESTS,
        )


def client_address(
    peer: str | None, forwarded: Sequence[str], proxies: Sequence[Network]
) -> str | None:
    """Who sent a request: the last address that none of our own proxies has.

    Proxies append, so what stands before the first stranger (from the right) is the
    stranger's own invention. An IPv6 address counts with all of its /64, which one
    customer has whole. Where no proxies are named, loopback is taken for one that does
    not say.
    """
    hops = [hop for value in forwarded[-MAX_FORWARDED:] for hop in value.split(",")]
    for hop in [peer, *reversed(hops[-MAX_FORWARDED:])]:
        address = _address(hop)
        if address is None:
            return None  # a Unix socket, or no address at all: whoever is before it is unknown
        if not proxies and address.is_loopback:
            return None
        if not any(address in network for network in proxies):
            return _grouped(address)
    return None


def _address(text: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address((text or "").strip().strip("[]").partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _grouped(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.IPv6Network((address, 64), strict=False))
