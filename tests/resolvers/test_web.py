"""did:web: which address it means, and what may come from there."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from identity.document import MAX_BYTES
from identity.errors import InvalidDid
from identity.keys import Curve, PrivateKey
from resolvers.guarded import Policy, networks
from resolvers.registry import default_registry
from resolvers.resolver import ErrorType, ResolutionError
from resolvers.web import WebResolver, did_of, url_of
from tests.support.certificates import certify

KEY = PrivateKey.generate(Curve.X25519).public.to_multikey()
Answer = Callable[[str], Any]
Server = Callable[[Answer], Awaitable[tuple[WebResolver, str]]]


@pytest.mark.parametrize(
    ("did", "url"),
    [
        ("did:web:example.com", "https://example.com/.well-known/did.json"),
        ("did:web:Example.com", "https://example.com/.well-known/did.json"),
        ("did:web:example.com:user:alice", "https://example.com/user/alice/did.json"),
        ("did:web:localhost%3A8443", "https://localhost:8443/.well-known/did.json"),
        ("did:web:localhost%3a8443:a", "https://localhost:8443/a/did.json"),
    ],
)
def test_the_did_says_where_its_document_is(did: str, url: str) -> None:
    assert url_of(did) == url


@pytest.mark.parametrize(
    "did",
    [
        "did:web:127.0.0.1",
        "did:web:%31%32%37.0.0.1",
        "did:web:127.1",
        "did:web:2130706433",
        "did:web:0x7f000001",
        "did:web:169.254.169.254%3A80:latest",
        "did:web:%5B::1%5D",
        "did:web:example.com%3A99999",
        "did:web:example.com%3A0",
        "did:web:user%40example.com",
        "did:web:example.com%2Fevil",
        "did:web:example.com%23",
        "did:web:example.com:..:..:secret",
        "did:web:example.com:%2e%2e:secret",
        "did:web:example.com:a%2fb",
        "did:web:example.com:a%5cb",
        "did:web:example.com:a%00",
        "did:web:example.com::a",
        "did:peer:0z6Mk",
    ],
)
async def test_a_did_that_leads_elsewhere_is_refused(did: str) -> None:
    with pytest.raises(InvalidDid):
        url_of(did)
    with pytest.raises(ResolutionError) as caught:
        await WebResolver().resolve(did)
    assert caught.value.type is ErrorType.INVALID_DID


def test_an_address_has_its_did() -> None:
    for host, port, path in (("a.example", None, ""), ("a.example", 8443, "/b/c")):
        did = did_of(host, port, path)
        assert (
            url_of(did)
            .removeprefix("https://")
            .startswith(host + (f":{port}" if port else "") + (path or "/.well-known"))
        )


async def test_a_document_is_fetched_and_read(server: Server) -> None:
    resolver, did = await server(lambda did: web.json_response(document(did)))
    found = await resolver.resolve(did)
    assert found.id == did
    assert [m.id for m in found.keys("keyAgreement")] == [f"{did}#key-1"]


async def test_the_default_registry_resolves_it_and_guards_it() -> None:
    with pytest.raises(ResolutionError) as caught:
        await default_registry().resolve("did:web:localhost")
    assert "not on the open internet" in caught.value.detail


async def test_it_is_asked_for_once_in_five_minutes(server: Server) -> None:
    asked: list[str] = []

    def answer(did: str) -> web.Response:
        asked.append(did)
        return web.json_response(document(did))

    resolver, did = await server(answer)
    registry = default_registry()
    registry._methods["web"] = resolver
    for _ in range(3):
        await registry.resolve(did)
    assert asked == [did]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param(lambda _: web.Response(status=404), ErrorType.NOT_FOUND, id="absent"),
        pytest.param(lambda _: web.Response(status=410), ErrorType.NOT_FOUND, id="gone"),
        pytest.param(lambda _: web.Response(status=500), ErrorType.INTERNAL_ERROR, id="broken"),
        pytest.param(
            lambda _: web.Response(status=302, headers={"Location": "https://x.example/did.json"}),
            ErrorType.INTERNAL_ERROR,
            id="redirected",
        ),
        pytest.param(
            lambda did: web.json_response({**document(did), "x": "y" * MAX_BYTES}),
            ErrorType.INTERNAL_ERROR,
            id="too large",
        ),
        pytest.param(
            lambda _: web.Response(text="<html>"), ErrorType.INVALID_DID_DOCUMENT, id="no JSON"
        ),
        pytest.param(
            lambda _: web.json_response(document("did:web:other.example")),
            ErrorType.INVALID_DID_DOCUMENT,
            id="another's",
        ),
        pytest.param(
            lambda did: web.Response(text=json.dumps(document(did))[:-1] + ',"id":"x"}'),
            ErrorType.INVALID_DID_DOCUMENT,
            id="two ids",
        ),
    ],
)
async def test_anything_else_is_no_document(
    server: Server, answer: Callable[[str], web.Response], kind: ErrorType
) -> None:
    resolver, did = await server(answer)
    with pytest.raises(ResolutionError) as caught:
        await resolver.resolve(did)
    assert caught.value.type is kind


async def test_a_host_without_its_certificate_is_not_believed(server: Server) -> None:
    _, did = await server(lambda did: web.json_response(document(did)))
    with pytest.raises(ResolutionError, match="cannot be reached"):
        await WebResolver(LOOPBACK).resolve(did)


async def test_strangers_do_not_make_us_ask_many_at_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resolvers.web.MAX_FETCHES", 2)
    at_once: list[int] = []
    now = 0

    async def slowly(did: str) -> web.Response:
        nonlocal now
        now += 1
        at_once.append(now)
        await asyncio.sleep(0.02)
        now -= 1
        return web.json_response(document(did))

    resolver, did = await server(slowly)
    await asyncio.gather(*(resolver.resolve(did) for _ in range(6)))
    assert max(at_once) == 2


LOOPBACK = Policy(private=networks(["127.0.0.0/8"]))


def document(did: str) -> dict[str, Any]:
    method = {
        "id": "#key-1",
        "type": "Multikey",
        "controller": did,
        "publicKeyMultibase": KEY,
    }
    return {"id": did, "verificationMethod": [method], "keyAgreement": ["#key-1"]}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """Serves documents by HTTPS on loopback; a resolver that believes it, and the DID."""
    runners = []

    async def start(answer: Answer) -> tuple[WebResolver, str]:
        certificate = certify(tmp_path)
        listener = socket.create_server(("127.0.0.1", 0))
        did = f"did:web:localhost%3A{listener.getsockname()[1]}"

        async def handle(request: web.BaseRequest) -> web.Response:
            assert request.path == "/.well-known/did.json"
            response = answer(did)
            return await response if asyncio.iscoroutine(response) else response

        runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ours.load_cert_chain(certificate)
        await web.SockSite(runner, listener, ssl_context=ours).start()
        theirs = ssl.create_default_context(cafile=certificate)
        return WebResolver(LOOPBACK, tls=theirs), did

    yield start
    for runner in runners:
        await runner.cleanup()
    await asyncio.sleep(0)
