"""The mediator's second DID: short, with keys on P-256, and answered under its own name."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from identity import did_key
from identity.document import DidDocument
from identity.keys import Curve, PrivateKey
from mediator.app import Mediator, running
from mediator.identities import MediatorIdentity, OwnDocuments, create_identity, web_did
from mediator.settings.config import Config, Limits
from mediator.stores.sqlite import SqliteStore
from messaging.protocols import coordinate_mediation as mediation
from messaging.protocols.trust_ping import Ping, PingResponse
from resolvers.registry import default_registry
from resolvers.resolver import ResolutionError
from resolvers.web import url_of
from tests.support.certificates import certify
from tests.support.mediator_client import Party
from tests.support.mediator_process import facts, folder, process, run_argv
from tests.support.resolvers import FixedResolver

URL = "https://mediator.example"
NEIGHBOURS = ["--private-network", "127.0.0.0/8", "--private-network", "::1"]


@pytest.fixture
async def mediator(tmp_path: Path) -> AsyncIterator[Mediator]:
    async with running(_config(tmp_path)) as mediator:
        yield mediator


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


@pytest.mark.parametrize(
    ("url", "did"),
    [
        ("https://mediator.example", "did:web:mediator.example"),
        ("https://Mediator.Example:8443", "did:web:mediator.example%3A8443"),
        ("https://mediator.example/a/b", "did:web:mediator.example:a:b"),
        ("http://mediator.example", None),  # nobody could check whose it is
        ("https://198.51.100.10", None),
        ("https://[2001:db8::1]:8443", None),
        ("https://mediator.example/ä", None),
    ],
)
def test_a_url_with_a_name_that_others_can_check_has_a_did(url: str, did: str | None) -> None:
    assert web_did(url) == did
    if did is not None:
        assert url_of(did).startswith(url.lower())


@pytest.mark.parametrize(
    ("url", "path"),
    [(URL, "/.well-known/did.json"), (f"{URL}/mail", "/mail/did.json")],
)
async def test_its_document_is_served_where_the_did_says(
    tmp_path: Path, http: aiohttp.ClientSession, url: str, path: str
) -> None:
    async with running(_config(tmp_path, url)) as mediator:
        did = str(mediator.identity.web_did)
        assert url_of(did).endswith(path)
        async with http.get(f"{_address(mediator)}{path}") as answer:
            assert answer.status == 200
            document = DidDocument.from_json(await answer.json(content_type=None), did=did)
    curves = [m.key.curve for m in document.keys("keyAgreement") if m.key]
    assert curves == [Curve.X25519, Curve.P256]
    assert [e.uri for s in document.didcomm_services() for e in s.endpoints] == [
        url,
        f"{url.replace('https', 'wss')}/ws",
    ]


async def test_a_mediator_without_a_name_serves_no_document(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    config = Config(tmp_path / "n.db", "127.0.0.1", 0, stun_ports=(0,), metrics=None)
    async with running(config) as mediator:
        assert "did_web" not in mediator.identity.describe()
        async with http.get(f"{_address(mediator)}/.well-known/did.json") as answer:
            assert answer.status == 404


@pytest.mark.parametrize("curve", [Curve.X25519, Curve.P256])
async def test_it_answers_as_the_did_that_was_addressed(
    mediator: Mediator, http: aiohttp.ClientSession, curve: Curve
) -> None:
    dids = [str(mediator.identity.web_did)]
    dids += [mediator.identity.did] if curve is Curve.X25519 else []
    for did in dids:
        party = _party(http, mediator, did, curve)
        answer = await party.ask(Ping().to_message())
        assert (answer.type, answer.frm) == (PingResponse.TYPE, did)
        grant = await party.ask(mediation.MediateRequest().to_message())
        assert mediation.MediateGrant.from_message(grant).routing_dids == (did,)


async def test_one_account_is_one_whatever_did_it_talks_to(
    mediator: Mediator, http: aiohttp.ClientSession
) -> None:
    alice = _party(http, mediator, mediator.identity.did)
    await alice.register()
    await alice.forward(alice.did, {"n": 1})
    alice.mediator = str(mediator.identity.web_did)
    assert [a.json for a in await alice.fetch()] == [{"n": 1}]


async def test_its_keys_survive_a_restart(tmp_path: Path) -> None:
    documents = []
    for _ in range(2):
        async with running(_config(tmp_path)) as mediator:
            documents.append(mediator.identity.web_document)
    assert documents[0] == documents[1]


async def test_a_file_from_before_there_was_one_gets_it(tmp_path: Path) -> None:
    made = create_identity(URL)
    before = MediatorIdentity(
        made.did,
        made.public_url,
        made.invitation_id,
        {kid: key for kid, key in made.secrets.items() if kid.startswith("did:peer")},
    )
    async with SqliteStore(tmp_path / "m.db", Limits()) as store:
        await store.use_identity(before.to_record(), 1)
    async with running(_config(tmp_path)) as mediator:
        assert mediator.identity.did == made.did
        first = mediator.identity.web_document
    async with running(_config(tmp_path)) as mediator:
        assert mediator.identity.web_document == first


async def test_it_knows_itself_without_asking_the_network() -> None:
    identity = create_identity(URL)
    others = FixedResolver()
    own = OwnDocuments([identity], others)
    assert (await own.resolve("did:web:mediator.example")).id == identity.web_did
    assert others.asked == []
    with pytest.raises(ResolutionError):
        await own.resolve("did:web:other.example")


async def test_nobody_binds_it(mediator: Mediator, http: aiohttp.ClientSession) -> None:
    alice = _party(http, mediator, mediator.identity.did)
    await alice.register()
    web = str(mediator.identity.web_did)
    for spelled in (web, f"{web}#key-1", web.replace("mediator.", "MEDIATOR.")):
        assert await alice.bind(spelled) == "client_error"


@pytest.mark.slow
async def test_mail_finds_the_way_to_a_did_web_by_https(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes: one looks the other up, checks its certificate, and brings mail."""
    with folder() as data:
        certificate = certify(data)
        certificate.chmod(0o644)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        url = f"https://localhost:{port}"
        tls = ["--tls-certificate", str(certificate), "--tls-key", str(certificate)]
        with (
            process([*run_argv(data / "far.db", port), "--public-url", url, *tls]) as far,
            process([*run_argv(data / "near.db"), *NEIGHBOURS]) as near,
        ):
            there, here = facts(far), facts(near)
            assert there["did_web"] == f"did:web:localhost%3A{port}"
            context = ssl.create_default_context(cafile=certificate)
            async with aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context)
            ) as trusting:
                carol = Party(trusting, there["did"], url)
                await carol.register()
                sender = Party(http, here["did"], here["http"])
                inner = orjson.loads(await carol.sealed_forward(carol.did, {"n": 1}))
                reply = await sender.forward(there["did_web"], inner)
                assert reply.status == 200
                async with asyncio.timeout(10):
                    while not (letters := await carol.fetch()):
                        await asyncio.sleep(0.05)
                assert [a.json for a in letters] == [{"n": 1}]


class _Knowing:
    """A client's resolver: it got the document by HTTPS."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.others = default_registry()

    async def resolve(self, did: str) -> DidDocument:
        if did == self.document["id"]:
            return DidDocument.from_json(self.document, did=did)
        return await self.others.resolve(did)


def _party(
    http: aiohttp.ClientSession, mediator: Mediator, did: str, curve: Curve = Curve.X25519
) -> Party:
    party = Party(http, did, _address(mediator))
    party.resolver = _Knowing(mediator.identity.web_document or {})  # type: ignore[assignment]
    if curve is not Curve.X25519:
        key = PrivateKey.generate(curve)
        party.did = did_key.create(key.public)
        party.secrets = {f"{party.did}#{party.did.removeprefix('did:key:')}": key}
    return party


def _config(folder: Path, url: str = URL) -> Config:
    return Config(folder / "m.db", "127.0.0.1", 0, public_url=url, stun_ports=(0,), metrics=None)


def _address(mediator: Mediator) -> str:
    return f"http://127.0.0.1:{mediator.listens[1]}"
