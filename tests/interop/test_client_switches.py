"""Without its switch a deviating client is turned away, and nobody else is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import pytest

from mediator.settings.config import Compat
from tests.support.foreign_clients import CLIENTS, Kind, begun, mediator, registered
from tests.support.peers import process
from tests.support.peers.process import PeerError

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def strict() -> Iterator[str]:
    """The DID of a mediator that serves no deviating client."""
    with mediator(*(f"{flag(switch.name)}=false" for switch in fields(Compat))) as facts:
        yield facts["did"]


@pytest.mark.parametrize(
    "name",
    [
        "didcomm-node, mediation 3.0",
        "didcomm-node, mediation 2.0",
        "sicpa, mediation 3.0",
        "identus",
    ],
)
def test_who_does_not_deviate_needs_no_switch(strict: str, name: str) -> None:
    kind = known(name)
    with registered(kind, strict) as client:
        assert client.ask("write", text="strictly") == 200
        assert client.texts() == ["strictly"]


def test_draft_3_authcrypt(strict: str) -> None:
    with begun(known("veramo, mediation 3.0"), strict) as peer, pytest.raises(PeerError):
        peer.ask("register")


def test_missing_apv() -> None:
    kind = known("veramo, mediation 3.0")
    with (
        mediator(f"{flag('missing_apv')}=false") as facts,
        registered(kind, facts["did"]) as client,
    ):
        with pytest.raises(PeerError):
            client.ask("write", text="without apv")
        assert client.ask("count") == 0


def test_recipient_epk(strict: str) -> None:
    with registered(known("didcomm-messaging"), strict) as client:
        with pytest.raises(PeerError, match="400"):
            client.ask("write", text="with an epk beside the kid")
        assert client.ask("count") == 0


def test_legacy_key_ids(strict: str) -> None:
    with begun(known("sicpa, old key ids"), strict) as peer, pytest.raises(PeerError):
        peer.ask("register")


def test_bound_by_request() -> None:
    kind = known("veramo, mediation 2.0")
    with (
        mediator(f"{flag('bound_by_request')}=false") as facts,
        registered(kind, facts["did"]) as client,
    ):
        client.ask("write", text="to a DID that nobody bound")
        assert client.ask("count") == 0


@pytest.mark.parametrize(
    "name", ["veramo, mediation 3.0", "didcomm-node with didcomm-demo's habits"]
)
def test_assumed_return_route(name: str) -> None:
    kind = known(name)  # it asks for mediation without `return_route`
    with (
        mediator(f"{flag('assumed_return_route')}=false") as facts,
        begun(kind, facts["did"]) as peer,
        pytest.raises(PeerError, match="no answer"),
    ):
        peer.ask("register")


def known(name: str) -> Kind:
    kind = CLIENTS[name]
    if reason := process.missing(kind.package):
        pytest.skip(reason)
    return kind


def flag(switch: str) -> str:
    return f"--compat-{switch.replace('_', '-')}"
