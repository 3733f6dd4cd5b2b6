"""The mediator's DIDs: one form that every client reads, kept over restarts."""

import re
from pathlib import Path

import pytest

from identity.did_peer import resolve
from identity.keys import Curve
from mediator.app import running
from mediator.identities import MediatorIdentity, create_identity, websocket_url
from mediator.settings.config import Config
from messaging.protocols.out_of_band import Invitation


def test_keys_and_services_come_in_the_order_every_client_reads() -> None:
    identity = create_identity("http://198.51.100.10:8080")
    assert re.fullmatch(r"did:peer:2\.Ez6LS\w+\.Vz6Mk\w+\.S\w+\.S\w+", identity.did)
    document = resolve(identity.did)
    assert [m.key.curve for m in document.keys("keyAgreement") if m.key] == [Curve.X25519]
    assert [m.key.curve for m in document.keys("authentication") if m.key] == [Curve.ED25519]
    endpoints = [service.endpoints[0] for service in document.didcomm_services()]
    assert [e.uri for e in endpoints] == [
        "http://198.51.100.10:8080",
        "ws://198.51.100.10:8080/ws",
    ]
    assert all(e.accept == ("didcomm/v2",) for e in endpoints)
    assert set(identity.secrets) == {m.id for m in document.verification_methods}


def test_the_socket_is_as_secure_as_the_post() -> None:
    assert websocket_url("https://mediator.example") == "wss://mediator.example/ws"
    assert websocket_url("http://mediator.example:8/a/") == "ws://mediator.example:8/a/ws"


def test_a_record_gives_the_identity_back() -> None:
    identity = create_identity("http://localhost")
    assert MediatorIdentity.from_record(identity.to_record()) == identity


def test_secrets_are_not_printed() -> None:
    identity = create_identity("http://localhost")
    for key in identity.secrets.values():
        secret = key.to_jwk()["d"]
        assert secret not in repr(identity) + repr(identity.to_record())


def test_the_invitation_url_carries_the_did() -> None:
    identity = create_identity("http://localhost:1")
    assert identity.invitation_url.startswith("http://localhost:1?_oob=")
    assert Invitation.from_url(identity.invitation_url).frm == identity.did


@pytest.mark.parametrize("urls", [("http://a", "http://b", "http://a")])
async def test_each_public_url_has_its_did_for_good(tmp_path: Path, urls: tuple[str, ...]) -> None:
    dids = []
    for url in urls:
        config = Config(tmp_path / "m.db", "127.0.0.1", 0, public_url=url, stun_ports=(0,))
        async with running(config) as mediator:
            dids.append(mediator.identity.did)
    assert dids[0] == dids[2] != dids[1]
