"""An OpenID issuer at a port of this machine, and a browser whose person logs in at once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
from aiohttp import web

from resolvers.guarded import Policy, networks
from tests.support.openid import content, jwks, key, public, signed

LOOPBACK = Policy(private=networks(["127.0.0.0/8"]))


@dataclass
class SmallIssuer:
    """An issuer at a port of this machine; `tweak` changes what it says of itself."""

    address: str = ""
    tweak: dict[str, Any] = field(default_factory=dict)
    email: Callable[[str], str] = lambda _: "alice@uni.example"  # of whose code this is
    status: int = 200
    nonces: dict[str, str] = field(default_factory=dict)  # by code
    asked: list[str] = field(default_factory=list)  # paths
    tokens: list[dict[str, str]] = field(default_factory=list)  # forms

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self.describe)
        app.router.add_get("/keys", self.keys)
        app.router.add_get("/elsewhere", self.describe)
        app.router.add_post("/token", self.token)
        return app

    async def describe(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if self.status in (301, 302, 307):
            raise web.HTTPFound(f"{self.address}/elsewhere")
        value = {
            "issuer": self.address,
            "authorization_endpoint": f"{self.address}/login?tenant=1",
            "token_endpoint": f"{self.address}/token",
            "jwks_uri": f"{self.address}/keys",
            **self.tweak,
        }
        return web.json_response(value, status=self.status)

    async def keys(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        body = jwks(public(key("ES256"), "ES256"))
        return web.Response(body=body, content_type="application/json")

    async def token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.tokens.append(form)
        nonce = self.nonces.get(form["code"], "")
        now, email = int(time.time()), self.email(form["code"])
        claims = content(
            "",
            iss=self.address,
            nonce=nonce,
            iat=now,
            exp=now + 300,
            email=email,
        )
        return web.json_response({"id_token": signed(claims), "token_type": "Bearer"})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[SmallIssuer]:
        runner = web.AppRunner(self.app())
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    def returning(self, code: str = "the code", **changes: str) -> Callable[[str], Any]:
        """A person who logs in at once."""

        async def browse(url: str) -> tuple[int, str]:
            asked = query(url)
            self.nonces[code] = asked["nonce"]
            return await get(answer(asked, **{"code": code, **changes}))

        return browse


async def get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.text()


def query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def answer(asked: dict[str, str], **changes: str) -> str:
    values = {"code": "the code", "state": asked["state"], **changes}
    return asked["redirect_uri"] + "?" + "&".join(f"{name}={v}" for name, v in values.items() if v)
