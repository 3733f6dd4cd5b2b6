"""Logs in at an issuer: the browser goes there, and comes back to a port of this machine.

The agent itself is what the person logs in to. Nobody else picks the nonce, so nobody else's DID
can end up in the token.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager

from agent.claims.issuers import IssuerFails, Issuers
from agent.claims.login import commitment
from agent.claims.provider import Attempt, BadProvider, LoginDenied, NotTheAnswer, token_in
from agent.errors import AgentError, Exit, TookTooLong
from identity.did import shorten
from messaging.protocols.lobby import MAX_LOGIN, LoginClaim, LoginRequired

LOGIN_SECONDS = 300.0  # for a person to log in
REQUEST_SECONDS = 10.0  # for a browser to say what it wants
MAX_HEAD = 16 * 1024  # bytes of a request
MAX_REQUESTS = 32  # until nobody is listened to any more
Show = Callable[[str], AbstractContextManager[None]]
_HEAD = (
    "\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\nConnection: close"
)
_DONE = "You are logged in. You may close this page, and go back to the agent.\n"
_DENIED = "You were not logged in. You may close this page; the agent says why.\n"
_NOTHING = "There is nothing here.\n"


class LoginFails(AgentError):
    """Nobody logged in: the issuer refused, or is not what it should be."""

    exit_code = Exit.REFUSED


class Loopback:
    """Waits at a port of 127.0.0.1 for the one request that brings a login back, and no longer."""

    def __init__(self) -> None:
        self.attempt: Attempt | None = None  # what the request has to belong to
        self.port = 0
        self._code: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._requests = 0

    async def code(self) -> str:
        """Raises: LoginDenied."""
        return await self._code

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=MAX_HEAD)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                status, text = self._answer(head.partition(b"\r\n")[0])
                body = text.encode()
                size = f"\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(f"HTTP/1.1 {status}{_HEAD}{size}".encode() + body)
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    def _answer(self, line: bytes) -> tuple[str, str]:
        """Status and words for a request; the first one that fits is the last that counts."""
        self._requests += 1
        if self._code.done() or self.attempt is None:
            return "410 Gone", _NOTHING
        if self._requests > MAX_REQUESTS:
            self._code.set_exception(LoginDenied("something else asks at our port all the time"))
            return "410 Gone", _NOTHING
        words = line.decode("ascii", "replace").split(" ")
        if len(words) != 3 or words[0] != "GET":
            return "405 Method Not Allowed", _NOTHING
        try:
            self._code.set_result(self.attempt.code_in(words[1]))
        except NotTheAnswer:
            return "404 Not Found", _NOTHING
        except LoginDenied as error:
            self._code.set_exception(error)
            return "200 OK", _DENIED
        return "200 OK", _DONE


class LoggingIn:
    """`show` is given the address at which a person logs in, and is left when that is over."""

    def __init__(self, issuers: Issuers, show: Show, seconds: float = LOGIN_SECONDS) -> None:
        self._issuers, self._show, self._seconds = issuers, show, seconds

    async def claim(self, required: LoginRequired, me: str, lobby: str) -> LoginClaim:
        """A fresh login for this DID in this lobby. Raises: LoginFails, TookTooLong."""
        salt = secrets.token_urlsafe(16)
        try:
            provider = await self._issuers.provider(required.issuer)
            loopback = Loopback()
            async with loopback.open():
                redirect = f"http://127.0.0.1:{loopback.port}/"
                nonce = commitment(me, lobby, salt)
                attempt = Attempt(provider, required.client_id, redirect, nonce)
                loopback.attempt = attempt
                with self._show(attempt.url()):
                    async with asyncio.timeout(self._seconds):
                        code = await loopback.code()
            answer = await self._issuers.post(provider.token, attempt.token_request(code))
            return LoginClaim(required.issuer, salt, token_in(answer, MAX_LOGIN))
        except TimeoutError:
            raise TookTooLong(
                f"nobody logged in within {self._seconds:g} s", "run it again"
            ) from None
        except LoginDenied as error:
            raise LoginFails(f"{required.issuer} says: {shorten(str(error))}") from error
        except (IssuerFails, BadProvider) as error:
            raise LoginFails(f"you cannot log in: {error}") from error
