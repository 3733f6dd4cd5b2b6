"""A login at oidc-provider, which is certified: the code flow as it is, and a token of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

import aiohttp
import pytest

from agent.claims.evidence import Moment, Unproven
from agent.claims.issuers import Issuers
from agent.claims.logging_in import LoggingIn
from agent.claims.proving import prove
from messaging.protocols.lobby import LoginClaim, LoginRequired
from resolvers.guarded import Policy, networks
from resolvers.registry import default_registry
from tests.support.peers import process
from tests.support.sessions import make_parties

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.skipif(
        process.missing("oidc_provider") is not None,
        reason=str(process.missing("oidc_provider")),
    ),
]
BEN, CY = make_parties(2)
LOBBY = "L" * 22
LOOPBACK = Policy(private=networks(["127.0.0.0/8"]))


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    argv = ["node", str(process.HERE / "oidc_provider.mjs"), str(process.INTEROP / "oidc_provider")]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as provider:
        assert provider.stdin is not None
        assert provider.stdout is not None
        yield str(json.loads(provider.stdout.readline())["issuer"])
        provider.stdin.close()
        provider.wait(30)


async def log_in(issuer: str, name: str) -> LoginClaim:
    tasks: list[asyncio.Task[Any]] = []

    @contextlib.contextmanager
    def show(url: str) -> Iterator[None]:
        tasks.append(asyncio.ensure_future(person(url, name)))
        yield

    logging_in = LoggingIn(issuers(), show, seconds=30)
    claim = await logging_in.claim(LoginRequired(issuer, "didmesh"), BEN.did, LOBBY)
    assert "logged in" in await tasks[0]
    return claim


async def person(url: str, name: str) -> str:
    """Goes where the pages lead, fills in the forms, and comes back; the last page."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        answer = await session.get(url)
        for _ in range(4):
            page = await answer.text()
            if "You are logged in" in page:
                return page
            form = re.search(r'<form[^>]*action="([^"]+)"', page)
            assert form is not None, page
            fields = dict(re.findall(r'name="(\w+)" value="(\w*)"', page))
            target = urljoin(str(answer.url), form[1])
            data = {**fields, "login": name, "password": "any"}
            answer = await session.post(target, data=data)
        return await answer.text()


def issuers() -> Issuers:
    return Issuers(default_registry(), print, LOOPBACK)


async def test_a_login_there_is_verified_by_everybody_and_for_nothing_else(issuer: str) -> None:
    claim = await log_in(issuer, "alice")
    required = LoginRequired(issuer, "didmesh", "*@uni.example")
    evidence = await issuers().evidence([required])  # as any other party would
    moment = Moment(LOBBY, time.time(), knocks=True)
    [proof] = prove(BEN.did, (claim,), (required,), evidence, moment)
    assert (proof.who, proof.by) == ("alice@uni.example", issuer)
    for party, wanted, when, words in (
        (CY.did, required, moment, "another DID"),
        (BEN.did, required, Moment("M" * 22, moment.now), "another lobby"),
        (BEN.did, LoginRequired(issuer, "other"), moment, "another application"),
        (BEN.did, LoginRequired(issuer, "didmesh", "*@example"), moment, "is not"),
        (BEN.did, required, Moment(LOBBY, moment.now + 601, knocks=True), "older than"),
    ):
        with pytest.raises(Unproven, match=words):
            prove(party, (claim,), (wanted,), evidence, when)
    assert prove(BEN.did, (claim,), (required,), evidence, Moment(LOBBY, moment.now + 9e6))


async def test_an_address_that_the_issuer_has_not_verified_counts_for_nothing(issuer: str) -> None:
    claim = await log_in(issuer, "new")
    moment = Moment(LOBBY, time.time(), knocks=True)
    required = LoginRequired(issuer, "didmesh", "*@uni.example")
    evidence = await issuers().evidence([required])
    with pytest.raises(Unproven, match="not verified"):
        prove(BEN.did, (claim,), (required,), evidence, moment)
    [proof] = prove(BEN.did, (claim,), (LoginRequired(issuer, "didmesh"),), evidence, moment)
    assert proof.who == "new"
