"""HTTP and WebSocket to addresses that strangers chose, without becoming their tool.

A stranger names a URL (an endpoint in a DID document, a did:web) and we connect to it: so
it must not lead into the network that we stand in. The host is judged before anything is
asked for, every address that a name has is judged, and the address that is connected to is
judged once more where the socket is made: whatever came between cannot matter. No redirects,
no proxy of the environment, no cookies, no decompression; an end in time and in bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, hdrs
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

TIMEOUT = 5.0  # seconds for a request and its answer
MAX_BYTES = 64 * 1024
MAX_URL = 4096

_SCHEMES = frozenset({"http", "https", "ws", "wss"})
_NAME = re.compile(
    r"(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
)
# What a URL parser or the C library takes for an IPv4 address: a last label that is a number.
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")

_INVISIBLE = re.compile(r"[\x00-\x20\x7f]")  # parsers differ in what they make of these

_NOT_GLOBAL_4 = [
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # behind carriers' NATs
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, where clouds keep their secrets
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
]
_GLOBAL_6 = ipaddress.ip_network("2000::/3")
# Inside that; IPv4 in disguise (mapped, compatible, NAT64), site-local and all else is outside.
_NOT_GLOBAL_6 = [
    ipaddress.ip_network(text)
    for text in (
        "2001::/23",  # protocol assignments, Teredo
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address within
        "3fff::/20",  # documentation
    )
]


class GuardedError(Exception):
    """Nothing came back that we may use."""


class TargetRefused(GuardedError):
    """We do not go there, now or later: the URL or its address is not for us."""


class TargetFailed(GuardedError):
    """It did not work this time."""


@dataclass(frozen=True)
class Policy:
    """Which addresses are allowed."""

    private: tuple[IPNetwork, ...] = ()  # that are, although they are not of the open internet
    is_own: Callable[[IPAddress, int], bool] = field(default=lambda _address, _port: False)

    def check(self, address: IPAddress, port: int) -> None:
        """Raises: TargetRefused."""
        if self.is_own(address, port):
            raise TargetRefused("the address is our own")
        if not is_global(address) and not any(address in network for network in self.private):
            raise TargetRefused("the address is not on the open internet")


OPEN_INTERNET = Policy()


@dataclass(frozen=True)
class Fetched:
    status: int
    media_type: str
    body: bytes


def is_global(address: IPAddress) -> bool:
    """Whether anybody on the internet could reach it, and it means nothing special."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _NOT_GLOBAL_4)
    return address in _GLOBAL_6 and not any(address in network for network in _NOT_GLOBAL_6)


def vetted(text: str, policy: Policy = OPEN_INTERNET) -> URL:
    """The URL, if its host is a name or an address that is allowed; a name is not looked up yet.

    An address has to be spelled as everybody spells it: whoever writes 127.0.0.1 as a
    number, in octal or percent-encoded wants to pass a check.

    Raises: TargetRefused.
    """
    if len(text) > MAX_URL:
        raise TargetRefused(f"a URL of more than {MAX_URL} characters")
    if _INVISIBLE.search(text):
        raise TargetRefused("a URL with blanks in it")
    try:
        url = URL(text)
        host, port = unquote(url.raw_host or "").lower(), url.port
    except ValueError as error:
        raise TargetRefused("not a URL") from error
    if url.scheme not in _SCHEMES or not host or not port:
        raise TargetRefused("not a URL of HTTP or WebSocket")
    if url.raw_user is not None or url.raw_password is not None:
        raise TargetRefused("a URL with a user in it")
    literal = literal_of(host)
    if literal is not None:
        policy.check(literal, port)
    elif not _NAME.fullmatch(host.removesuffix(".")):
        raise TargetRefused("a URL whose host is no name")
    return url.with_fragment(None)


def literal_of(host: str) -> IPAddress | None:
    """The address that `host` is, None if it is a name.

    Raises: TargetRefused, for an address in a spelling that is there to be misunderstood.
    """
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    if ":" in host or _NUMBER.fullmatch(host):
        raise TargetRefused("an address in a strange spelling")
    return None


class GuardedHttp:
    """A client for such URLs; use as an async context manager.

    Raises, in all its requests: TargetRefused, TargetFailed.
    """

    def __init__(
        self,
        policy: Policy = OPEN_INTERNET,
        *,
        timeout: float = TIMEOUT,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._policy = policy
        self._timeout = timeout
        self._tls = tls

    async def __aenter__(self) -> GuardedHttp:
        connector = aiohttp.TCPConnector(
            resolver=_Resolver(self._policy),
            socket_factory=self._socket,
            ssl=True if self._tls is None else self._tls,
            limit=64,
            limit_per_host=4,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            headers={hdrs.ACCEPT_ENCODING: "identity"},
            middlewares=(_refuse_redirects,),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    def check(self, url: str) -> None:
        """What can be said of a URL before it is asked for. Raises: TargetRefused."""
        vetted(url, self._policy)

    async def get(self, url: str, *, max_bytes: int = MAX_BYTES) -> Fetched:
        return await self._request(hdrs.METH_GET, url, max_bytes)

    async def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        max_bytes: int = MAX_BYTES,
    ) -> Fetched:
        return await self._request(hdrs.METH_POST, url, max_bytes, data=body, headers=headers)

    async def send_frame(
        self, url: str, text: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send one frame over a WebSocket of its own.

        Returns when the other end has agreed to close: it has read all that came before.
        """
        target = vetted(url, self._policy)
        with _as_ours():
            async with asyncio.timeout(self._timeout):
                async with self._session.ws_connect(
                    target, headers=headers, max_msg_size=MAX_BYTES, compress=0
                ) as connection:
                    await connection.send_str(text)
                    if not await connection.close():
                        raise TargetFailed("the WebSocket was closed before")
                    if connection.close_code not in {1000, 1001, 1005}:
                        raise TargetFailed("the WebSocket did not close in order")

    async def _request(self, method: str, url: str, max_bytes: int, **options: Any) -> Fetched:
        target = vetted(url, self._policy)
        with _as_ours():
            async with self._session.request(
                method, target, allow_redirects=False, **options
            ) as response:
                body = await _limited(response, max_bytes)
                return Fetched(response.status, response.content_type, body)

    def _socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        """Where every connection begins, however its address was found."""
        family, kind, protocol, _, target = info
        self._policy.check(ipaddress.ip_address(str(target[0]).partition("%")[0]), int(target[1]))
        return socket.socket(family, kind, protocol)


class _Resolver(AbstractResolver):
    """A name stands for all of its addresses: one that is refused is enough."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        infos = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, family=family
        )
        for *_, target in infos:
            address = ipaddress.ip_address(str(target[0]).partition("%")[0])
            self._policy.check(address, port)
        return [
            ResolveResult(
                hostname=host,
                host=str(target[0]),
                port=port,
                family=found,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found, _, protocol, _, target in infos
        ]

    async def close(self) -> None:
        """Nothing is kept."""


async def _refuse_redirects(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    response = await handler(request)
    if 300 <= response.status < 400:
        response.close()
        raise TargetFailed(f"it answers with a redirect ({response.status})")
    return response


async def _limited(response: ClientResponse, max_bytes: int) -> bytes:
    if (response.content_length or 0) > max_bytes:
        raise TargetFailed(f"an answer of more than {max_bytes} bytes")
    if response.headers.get(hdrs.CONTENT_ENCODING, "identity") != "identity":
        raise TargetFailed("a compressed answer, which we did not ask for")
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            response.close()
            raise TargetFailed(f"an answer of more than {max_bytes} bytes")
    return bytes(body)


@contextlib.contextmanager
def _as_ours() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise TargetFailed("no answer in time") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise TargetFailed(f"it cannot be reached: {type(error).__name__}") from error


def networks(texts: Sequence[str]) -> tuple[IPNetwork, ...]:
    """Networks in CIDR notation. Raises: ValueError."""
    return tuple(ipaddress.ip_network(text) for text in texts)
