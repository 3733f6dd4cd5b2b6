"""A person logs in at an issuer, and the agent gets the token: over this machine's sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from agent import taking_part
from agent.claims.evidence import Moment
from agent.claims.folder import ClaimFolder
from agent.claims.issuers import KEYS_SECONDS, IssuerFails, Issuers
from agent.claims.logging_in import MAX_HEAD, MAX_REQUESTS, LoggingIn, LoginFails
from agent.claims.login import commitment
from agent.claims.provider import Attempt, BadProvider, NotTheAnswer, Provider
from agent.claims.proving import prove
from agent.claims.wallet import DoesNotHold, NotShown, Wallet
from agent.errors import Exit, TookTooLong
from agent.report import JsonReport
from identity.codec import b64url_encode
from messaging.protocols.lobby import LoginRequired
from resolvers.guarded import Policy
from resolvers.registry import default_registry
from tests.support.openid import CLIENT, LOBBY
from tests.support.openid_server import LOOPBACK, SmallIssuer, answer, get, query
from tests.support.sessions import make_parties

[BEN] = make_parties(1)


@pytest.fixture
async def issuer() -> AsyncIterator[SmallIssuer]:
    async with SmallIssuer().running() as small:
        yield small


def issuers(told: list[str] | None = None, policy: Policy | None = LOOPBACK) -> Issuers:
    return Issuers(default_registry(), (told if told is not None else []).append, policy)


Browse = Callable[[str], Any]


def browser(browse: Browse, tasks: list[asyncio.Task[Any]]) -> Any:
    @contextlib.contextmanager
    def show(url: str) -> Iterator[None]:
        tasks.append(asyncio.ensure_future(browse(url)))
        yield

    return show


async def log_in(issuer: SmallIssuer, browse: Browse, seconds: float = 20.0) -> Any:
    tasks: list[asyncio.Task[Any]] = []
    logging_in = LoggingIn(issuers(), browser(browse, tasks), seconds)
    try:
        claim = await logging_in.claim(LoginRequired(issuer.address, CLIENT), BEN.did, LOBBY)
        return claim, [await task for task in tasks]
    finally:
        for task in tasks:
            task.cancel()


async def test_who_logs_in_has_a_claim_that_everybody_can_verify(issuer: SmallIssuer) -> None:
    claim, [(status, text)] = await log_in(issuer, issuer.returning())
    assert status == 200
    assert "logged in" in text
    required = LoginRequired(issuer.address, CLIENT, "alice@uni.example")
    evidence = await issuers().evidence([required])
    [proof] = prove(BEN.did, (claim,), (required,), evidence, Moment(LOBBY, time.time(), True))
    assert (proof.who, proof.by) == ("alice@uni.example", issuer.address)
    [form] = issuer.tokens
    assert form["client_id"] == CLIENT
    assert form["grant_type"] == "authorization_code"
    assert "client_secret" not in form


async def test_the_browser_is_sent_with_pkce_and_a_nonce_and_the_verifier_stays_here(
    issuer: SmallIssuer,
) -> None:
    seen: list[str] = []

    async def browse(url: str) -> Any:
        seen.append(url)
        return await issuer.returning()(url)

    claim, _ = await log_in(issuer, browse)
    asked = query(seen[0])
    assert asked["tenant"] == "1"
    assert asked["code_challenge_method"] == "S256"
    assert asked["scope"] == "openid email"
    assert asked["nonce"] == commitment(BEN.did, LOBBY, claim.salt)
    assert BEN.did not in seen[0]
    assert LOBBY not in seen[0]
    [form] = issuer.tokens
    assert form["code_verifier"] not in seen[0]
    assert asked["code_challenge"] == b64url_encode(sha256(form["code_verifier"].encode()).digest())
    assert asked["redirect_uri"].startswith("http://127.0.0.1:")


FALSE_ANSWERS: dict[str, Callable[[dict[str, str]], str]] = {
    "another state": lambda asked: answer(asked, state="x"),
    "no state": lambda asked: answer(asked, state=""),
    "no code": lambda asked: answer(asked, code=""),
    "another issuer's": lambda asked: answer(asked, iss="https://evil.example"),
    "two codes": lambda asked: answer(asked) + "&code=mine",
    "another path": lambda asked: answer(asked).replace("/?", "/callback?"),
    "an error that nobody asked for": lambda asked: answer(asked, state="x", error="denied"),
    "too many members": lambda asked: answer(asked) + "&a=1" * 40,
    "no query": lambda asked: asked["redirect_uri"],
}


@pytest.mark.parametrize("name", FALSE_ANSWERS)
async def test_what_is_not_the_answer_is_not_taken_and_ends_nothing(
    issuer: SmallIssuer, name: str
) -> None:
    async def browse(url: str) -> Any:
        asked = query(url)
        status, _ = await get(FALSE_ANSWERS[name](asked))
        assert status == 404
        return await issuer.returning()(url)

    claim, _ = await log_in(issuer, browse)
    assert claim.token
    assert [form["code"] for form in issuer.tokens] == ["the code"]


async def test_the_first_answer_is_the_last_that_counts(issuer: SmallIssuer) -> None:
    async def browse(url: str) -> Any:
        first = await issuer.returning()(url)
        asked = query(url)
        try:
            second = (await get(answer(asked, code="another")))[0]
        except aiohttp.ClientError:
            second = 0  # the port is closed already
        return first[0], second

    _, [(first, second)] = await log_in(issuer, browse)
    assert first == 200
    assert second in (0, 410)
    assert [form["code"] for form in issuer.tokens] == ["the code"]


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /?state=\xff HTTP/1.1\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\n\r\n",
        b"GET /" + b"x" * (2 * MAX_HEAD),
        b"",
    ],
    ids=["TLS", "POST", "one word", "no ASCII", "no URL", "endless", "nothing"],
)
async def test_whatever_else_comes_to_the_port_ends_nothing(
    issuer: SmallIssuer, data: bytes
) -> None:
    async def browse(url: str) -> Any:
        port = urlsplit(query(url)["redirect_uri"]).port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(OSError):
            writer.write(data)
            writer.write_eof()
            await reader.read()
        writer.close()
        return await issuer.returning()(url)

    claim, _ = await log_in(issuer, browse)
    assert claim.token


async def test_who_asks_at_the_port_all_the_time_ends_the_login(issuer: SmallIssuer) -> None:
    async def browse(url: str) -> None:
        asked = query(url)
        for _ in range(MAX_REQUESTS + 1):
            await get(answer(asked, state="guess"))

    with pytest.raises(LoginFails, match="all the time") as caught:
        await log_in(issuer, browse)
    assert caught.value.exit_code == Exit.REFUSED


async def test_what_the_issuer_says_no_with_is_told(issuer: SmallIssuer) -> None:
    refusing = issuer.returning(code="", error="access_denied", error_description="not+today")
    with pytest.raises(LoginFails, match="says: not today"):
        await log_in(issuer, refusing)
    assert issuer.tokens == []


async def test_nobody_is_waited_for_without_end(issuer: SmallIssuer) -> None:
    async def browse(url: str) -> None:
        return None

    with pytest.raises(TookTooLong) as caught:
        await log_in(issuer, browse, seconds=0.1)
    assert caught.value.exit_code == Exit.TIMEOUT


PROVIDERS: dict[str, tuple[dict[str, Any], str]] = {
    "another issuer": ({"issuer": "https://login.evil.example"}, "another issuer"),
    "no issuer": ({"issuer": None}, "another issuer"),
    "no keys": ({"jwks_uri": None}, "no secure `jwks_uri`"),
    "keys without TLS": ({"jwks_uri": "http://uni.example/keys"}, "no secure `jwks_uri`"),
    "a token without TLS": ({"token_endpoint": "http://uni.example/t"}, "no secure `token"),
    "a login without TLS": ({"authorization_endpoint": "http://uni.example"}, "no secure `auth"),
    "a login that runs": ({"authorization_endpoint": "javascript:alert(1)"}, "no secure `auth"),
    "a login at a router": ({"authorization_endpoint": "https://192.168.0.1/"}, "open internet"),
    "keys at a router": ({"jwks_uri": "https://192.168.0.1/"}, "open internet"),
}


@pytest.mark.parametrize("name", PROVIDERS)
async def test_what_an_issuer_says_of_itself_is_not_believed_beyond_itself(
    issuer: SmallIssuer, name: str
) -> None:
    tweak, words = PROVIDERS[name]
    issuer.tweak = tweak
    told: list[str] = []
    evidence = await issuers(told).evidence([LoginRequired(issuer.address, CLIENT)])
    assert evidence.keys == {}
    assert words in told[0]


@pytest.mark.parametrize("status", [302, 500, 404])
async def test_redirects_and_errors_lead_nowhere(issuer: SmallIssuer, status: int) -> None:
    issuer.status = status
    with pytest.raises(IssuerFails):
        await issuers().provider(issuer.address)
    assert issuer.asked == ["/.well-known/openid-configuration"]


@pytest.mark.parametrize(
    "address",
    [
        *("http://login.uni.example", "https://127.0.0.1", "https://10.0.0.1"),
        *("http://127.0.0.1:1", "https://u:p@login.uni.example", "https://login.uni.example/?a"),
        "ftp://login.uni.example",
    ],
)
async def test_a_host_sends_its_guests_into_nobodys_network(address: str) -> None:
    with pytest.raises(IssuerFails):
        await issuers(policy=None).provider(address)


async def test_an_issuer_is_asked_once_a_minute_however_many_knock(
    issuer: SmallIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("agent.claims.issuers.time.monotonic", lambda: now)
    told: list[str] = []
    looking = issuers(told)
    required = [LoginRequired(issuer.address, CLIENT)]
    await asyncio.gather(*(looking.evidence(required) for _ in range(50)))
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]
    now += KEYS_SECONDS
    issuer.status = 500
    for _ in range(10):
        assert (await looking.evidence(required)).keys == {}
    assert len(issuer.asked) == 3
    assert len(told) == 1


async def test_a_wallet_shows_no_login_that_would_be_refused(
    issuer: SmallIssuer, tmp_path: Any
) -> None:
    issuer.email = lambda _: "alice@elsewhere.example"
    tasks: list[asyncio.Task[Any]] = []
    looking = issuers()
    logging_in = LoggingIn(looking, browser(issuer.returning(), tasks))
    wallet = Wallet(BEN.did, LOBBY, ClaimFolder(tmp_path, "default"), (), looking, logging_in)
    required = [LoginRequired(issuer.address, CLIENT, "*@uni.example")]
    with pytest.raises(NotShown, match="nobody is there") as caught:
        await wallet.claims_for(required, None)
    assert caught.value.exit_code == Exit.REFUSED

    async def says(yes: bool) -> bool:
        return yes

    with pytest.raises(NotShown, match="did not want"):
        await wallet.claims_for(required, lambda: says(False))
    assert tasks == [], "no browser before its owner agrees"
    with pytest.raises(DoesNotHold, match=r"is not \*@uni\.example"):
        await wallet.claims_for(required, lambda: says(True))
    issuer.email = lambda _: "alice@uni.example"
    [claim] = await wallet.claims_for(required, lambda: says(True))
    assert claim.KIND == "login"


def test_a_rootless_agent_says_that_no_browser_comes_back_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DIDMESH_OUTSIDE", "1")
    opened: list[Any] = []
    monkeypatch.setattr("agent.taking_part.open_browser", opened.append)
    with (
        pytest.raises(LoginFails, match="rootless") as caught,
        taking_part._shown("https://login.example", JsonReport()),
    ):
        pass
    assert caught.value.exit_code == Exit.REFUSED
    assert opened == []


def test_a_provider_is_asked_for_the_address_in_the_token_where_it_can_be() -> None:
    described = {
        "issuer": "https://a.example",
        "authorization_endpoint": "https://a.example/auth",
        "token_endpoint": "https://a.example/token",
        "jwks_uri": "https://a.example/keys",
        "claims_parameter_supported": True,
    }
    provider = Provider.parse(json.dumps(described).encode(), "https://a.example")
    attempt = Attempt(provider, CLIENT, "http://127.0.0.1:5/", "n")
    assert json.loads(query(attempt.url())["claims"])["id_token"]["email"]
    assert attempt.state not in repr(attempt)
    assert attempt.verifier not in repr(attempt)
    with pytest.raises(NotTheAnswer):
        attempt.code_in("//evil.example/?code=a&state=" + attempt.state)
    with pytest.raises(BadProvider):
        Provider.parse(b'{"issuer": "https://a.example", "issuer": "x"}', "https://a.example")
