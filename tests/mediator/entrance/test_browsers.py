"""Wallets in browsers: any page may talk to a mediator, since no cookie says who talks."""

import io

import aiohttp
import pytest
from aiohttp import hdrs

from messaging.protocols.trust_ping import Ping
from tests.support.mediator_client import Party

ORIGIN = {hdrs.ORIGIN: "https://wallet.example"}


async def test_a_browser_may_ask_before_it_posts(alice: Party) -> None:
    wanted = {
        **ORIGIN,
        hdrs.ACCESS_CONTROL_REQUEST_METHOD: "POST",
        hdrs.ACCESS_CONTROL_REQUEST_HEADERS: "content-type",
    }
    async with alice.http.options(alice.url, headers=wanted) as answer:
        assert answer.status == 204
        assert answer.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] == "*"
        assert "POST" in answer.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS]
        assert answer.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] in {"*", "content-type"}
        assert hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS not in answer.headers


@pytest.mark.parametrize("good", [True, False])
async def test_its_page_may_read_the_answer_whatever_it_is(alice: Party, good: bool) -> None:
    data = await alice.seal(Ping().to_message()) if good else b"{}"
    async with alice.http.post(alice.url, data=data, headers=ORIGIN) as answer:
        assert answer.status == (200 if good else 400)
        assert answer.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] == "*"


async def test_it_may_read_that_a_message_is_too_large(alice: Party) -> None:
    data = io.BytesIO(b" " * (1024 * 1024 + 1))
    async with alice.http.post(alice.url, data=data, headers=ORIGIN) as answer:
        assert answer.status == 413
        assert answer.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] == "*"


async def test_it_may_read_the_invitation(alice: Party) -> None:
    async with alice.http.get(f"{alice.url}/invitation", headers=ORIGIN) as answer:
        assert answer.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] == "*"


async def test_a_socket_opens_from_any_page(alice: Party) -> None:
    async with alice.http.ws_connect(f"{alice.url}/ws", headers=ORIGIN) as socket:
        await socket.send_bytes(await alice.seal(Ping().to_message()))
        assert (await socket.receive(timeout=5)).type is aiohttp.WSMsgType.TEXT
