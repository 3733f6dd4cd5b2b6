"""Clients that nobody here wrote, through the whole cycle, all at one running mediator."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from messaging.message import Message
from messaging.packing import pack, route
from resolvers.registry import default_registry
from tests.support.foreign_clients import CLIENTS, Client, mediator, registered
from tests.support.peers import process

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def running() -> Iterator[dict[str, Any]]:
    with mediator() as facts:
        yield facts


@pytest.fixture(scope="module", params=CLIENTS)
def client(request: pytest.FixtureRequest, running: dict[str, Any]) -> Iterator[Client]:
    kind = CLIENTS[request.param]
    if reason := process.missing(kind.package):
        pytest.skip(reason)
    with registered(kind, running["did"]) as client:
        yield client


def test_it_is_granted_mediation_and_binds_a_did(client: Client, running: dict[str, Any]) -> None:
    assert client.routing in (running["did"], [running["did"]])
    assert client.bound["result"] in {"success", "no_change"}


def test_mail_that_a_stranger_wrote_with_it_is_counted_and_fetched_in_order(
    client: Client,
) -> None:
    texts = [f"number {number}" for number in range(3)]
    assert [client.ask("write", text=text) for text in texts] == [200] * 3
    assert client.ask("count") == 3
    assert client.texts() == texts
    client.drain()


def test_what_it_fetched_waits_until_it_acknowledges(client: Client) -> None:
    client.ask("write", text="first")
    client.ask("write", text="second")
    first, second = client.ask("fetch", limit=10)
    assert client.ask("acknowledge", ids=[first["id"]]) == 1
    assert client.ask("fetch", limit=10) == [second]
    assert client.ask("acknowledge", ids=[second["id"], first["id"]]) == 0
    assert client.texts() == []


def test_what_comes_while_it_listens_is_pushed_and_waits_until_acknowledged(
    client: Client,
) -> None:
    if not client.kind.listens:
        pytest.skip("it has no WebSocket, or its agent alone decides when to listen")
    client.ask("write", text="before")
    assert client.ask("go_live") == {"count": 1, "live": True}
    client.ask("write", text="while it listens")
    pushed = client.ask("pushed")
    assert pushed["text"] == "while it listens"
    assert client.ask("count") == 2
    assert client.ask("acknowledge", ids=[pushed["id"]]) == 1
    client.drain()


async def test_it_reads_what_a_party_of_ours_writes(client: Client) -> None:
    if client.kind.begin.get("ids") == "legacy":
        pytest.skip("it finds its key by the old name alone, which who writes first cannot know")
    resolver = default_registry()
    message = Message(
        "https://didcomm.org/basicmessage/2.0/message",
        {"content": "from one of ours"},
        frm="did:example:nobody",
        created_time=int(time.time()),
    )
    # Without a proven sender: authcrypt of DIDComm v2.1 is what one of them cannot read.
    envelope = await pack(message, to=client.did, sender=None, secrets={}, resolver=resolver)
    outgoing, *_ = await route(envelope, to=client.did, resolver=resolver)
    async with (
        aiohttp.ClientSession() as http,
        http.post(outgoing.uri, data=outgoing.envelope) as answer,
    ):
        assert answer.status == 200
    assert client.texts() == ["from one of ours"]
    client.drain()
