"""HTTP and WebSocket to service endpoints: envelopes out, answers in, limits on both.

Proxies of the environment are not asked: an envelope goes where its recipient's document says.
"""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager
from email.utils import parsedate_to_datetime
from functools import lru_cache
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import aiohttp

from agent.errors import MailboxError
from identity.codec import parse_json

ENCRYPTED = "application/didcomm-encrypted+json"
MAX_ANSWER = 1024 * 1024  # bytes: an answer is one envelope
MAX_DOCUMENT, MAX_DEPTH = 64 * 1024, 16  # bytes and levels of an invitation
CONNECTIONS = 8  # at a time to one mediator, which others want to reach as well
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 20.0
HEARTBEAT_SECONDS = 20.0  # between pings on a socket, so that a dead one is found dead


class EndpointUnreachable(MailboxError):
    """Nobody answers there now; the same thing may work later."""

    def __init__(self, uri: str, reason: str) -> None:
        super().__init__(
            f"cannot reach mediator {uri}: {reason}",
            "is the address right, and is it running?",
        )


class EndpointRefused(MailboxError):
    """The endpoint answered and did not take it; `worth_repeating` tells a jam from a no."""

    def __init__(self, uri: str, status: int) -> None:
        super().__init__(f"{uri} answered with HTTP status {status}")
        self.worth_repeating = status >= 500 or status in (408, 425, 429)


class AnswerTooLarge(MailboxError):
    def __init__(self, uri: str, limit: int) -> None:
        super().__init__(f"{uri} answered with more than {limit} bytes")


class Transport:
    """One HTTP client; an async context manager that closes its connections."""

    async def __aenter__(self) -> Self:
        self._proxy_for = lru_cache(maxsize=64)(proxy_for)  # by URI; the environment stays
        self._http = aiohttp.ClientSession(
            headers={"User-Agent": "didmesh"},
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS, sock_connect=CONNECT_SECONDS),
            connector=aiohttp.TCPConnector(limit_per_host=CONNECTIONS),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.close()

    async def post(self, uri: str, envelope: bytes) -> bytes:
        """Bring an envelope; what the endpoint answers, b"" for nothing. A return means 2xx.

        Raises: EndpointUnreachable, EndpointRefused, AnswerTooLarge.
        """
        return await self._exchange("POST", uri, MAX_ANSWER, envelope)

    async def get_json(self, uri: str) -> Any:
        """Fetch a small JSON document.

        Raises: EndpointUnreachable, EndpointRefused, AnswerTooLarge; ValueError if it is not JSON.
        """
        return parse_json(await self._exchange("GET", uri, MAX_DOCUMENT, None), depth=MAX_DEPTH)

    async def clock(self, uri: str) -> float | None:
        """The Unix time there, to the second; whatever else it answers counts for nothing.

        Raises: EndpointUnreachable.
        """
        try:
            async with self._http.get(
                uri, allow_redirects=False, proxy=self._proxy_for(uri)
            ) as answer:
                date = parsedate_to_datetime(answer.headers["Date"])
        except (aiohttp.ClientError, OSError) as error:
            raise EndpointUnreachable(uri, words(error)) from error
        except (KeyError, ValueError):
            return None
        return date.timestamp()

    def socket(
        self, uri: str
    ) -> AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse[bool]]:
        """Open a WebSocket. Raises: aiohttp.ClientError, OSError."""
        return self._http.ws_connect(
            uri,
            proxy=self._proxy_for(uri),
            heartbeat=HEARTBEAT_SECONDS,
            max_msg_size=MAX_ANSWER,
            timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
        )

    async def _exchange(self, method: str, uri: str, limit: int, data: bytes | None) -> bytes:
        headers = {} if data is None else {"Content-Type": ENCRYPTED}
        try:
            async with self._http.request(
                method,
                uri,
                data=data,
                headers=headers,
                allow_redirects=False,
                proxy=self._proxy_for(uri),
            ) as answer:
                if not 200 <= answer.status < 300:
                    raise EndpointRefused(uri, answer.status)
                return await _read(answer, uri, limit)
        except (aiohttp.ClientError, OSError) as error:
            raise EndpointUnreachable(uri, words(error)) from error


def proxy_for(uri: str) -> str | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name; none on the way to this machine.

    The HTTP library would do so itself, but read passwords for hosts from ~/.netrc as well.
    """
    target = urlsplit(uri)
    host = target.hostname or ""
    if host == "localhost" or host.startswith("127.") or host == "::1":
        return None
    if proxy_bypass(host):
        return None
    named = getproxies_environment().get("https" if target.scheme in ("https", "wss") else "http")
    return named if named is None or "://" in named else f"http://{named}"


def words(error: BaseException) -> str:
    """Why a connection failed, for a person."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return _system_words(error.os_error)
    if isinstance(error, aiohttp.InvalidURL):
        return "not a usable address"
    return str(error) or type(error).__name__


def _system_words(error: OSError) -> str:
    # The loop puts the address into strerror, which everybody has read before.
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    return str(error.strerror or error).lower()


async def _read(answer: aiohttp.ClientResponse, uri: str, limit: int) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise AnswerTooLarge(uri, limit)
    return bytes(body)
